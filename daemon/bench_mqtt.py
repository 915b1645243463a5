"""How long does an alert take from event to subscriber, and how many go through in a second?

Knows the daemon's own store, outbox, sink and publisher, a broker on loopback, and paho's bare
publish beside them: the same payloads, the same broker, the same run. Figures differ from disk to
disk, as an alert is on it before it is sent; ratios are what may be compared.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from daemon.mqtt.embedded import EmbeddedBroker
from daemon.mqtt.options import MqttOptions
from daemon.mqtt.payloads import encode, event_content
from daemon.mqtt.reasons import BrokerError
from daemon.mqtt.topics import Topics
from daemon.outbox import Outbox
from daemon.publisher import Publisher
from daemon.sink import EventSink
from daemon.store import Limits, Store
from pipelines.clock import SystemClock
from pipelines.ids import new_ulid
from pipelines.types import Event, Outcome, Timings

PATIENCE_S: Final = 60.0
_TOPIC: Final = "smolwatch/porch/event"


@dataclass(frozen=True, slots=True)
class Measured:
    """One way to publish. Milliseconds from event to subscriber, one at a time; and a rate."""

    what: str
    p50_ms: float
    p99_ms: float
    events_per_s: float


@dataclass(frozen=True, slots=True)
class MqttBench:
    """What was measured; `broker` says which."""

    broker: str
    events: int
    fsync_ms_p50: float  # of the disk alone: append a kilobyte, and wait for it
    smolwatch: Measured
    bare: Measured


class _Ear:
    """A subscriber that counts events and wakes who waits for one."""

    def __init__(self, port: int, protocol: MQTTProtocolVersion) -> None:
        self.heard = 0
        self._news = threading.Condition()
        self._ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=protocol)
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe(_TOPIC, qos=1)
        if not self._ready.wait(PATIENCE_S):
            raise BrokerError("the broker does not confirm a subscription")

    def wait_for(self, count: int) -> None:
        """Until so many were heard. Raises `BrokerError`."""
        with self._news:
            if not self._news.wait_for(lambda: self.heard >= count, PATIENCE_S):
                raise BrokerError(f"{self.heard} of {count} events arrived: is the broker busy?")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, *_: object) -> None:
        with self._news:
            self.heard += 1
            self._news.notify_all()


def bench_mqtt(events: int) -> MqttBench:
    """Measure in a folder for temporary files. Raises `BrokerError`."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        broker, port = _broker(folder, stack)
        protocol = paho.MQTTv5 if broker == "mosquitto" else paho.MQTTv311
        ear = _Ear(port, protocol)
        stack.callback(ear.close)
        with _bare(port, protocol) as tell:
            bare = _measure("paho", tell, ear, events)
        with _daemon(port, folder, embedded=broker != "mosquitto") as tell:
            ours = _measure("smolwatch", tell, ear, events)
        return MqttBench(broker, events, _fsync_ms(folder), ours, bare)


def _measure(what: str, tell: Callable[[Event], None], ear: _Ear, events: int) -> Measured:
    taken = []
    for _ in range(max(20, events // 10)):
        event, heard = _event(), ear.heard
        began = time.perf_counter()
        tell(event)
        ear.wait_for(heard + 1)
        taken.append((time.perf_counter() - began) * 1000)
    many, heard = [_event() for _ in range(events)], ear.heard
    began = time.perf_counter()
    for event in many:
        tell(event)
    ear.wait_for(heard + events)
    rate = events / (time.perf_counter() - began)
    cuts = statistics.quantiles(taken, n=100)
    return Measured(what, statistics.median(taken), cuts[98], rate)


@contextlib.contextmanager
def _daemon(port: int, folder: Path, *, embedded: bool) -> Iterator[Callable[[Event], None]]:
    """As the daemon does it: event, incident, state and messages on the disk, then sent."""
    clock = SystemClock()
    store = Store(folder / "bench.db", Limits(), clock)
    outbox = Outbox(clock, store)
    options = MqttOptions("127.0.0.1", port, protocol="3.1.1" if embedded else "auto")
    sink = EventSink(clock, Topics(), None, outbox, store)
    publisher = Publisher(outbox, options, clock)
    stop = threading.Event()
    threads = [threading.Thread(target=work, args=(stop,)) for work in (publisher.run, store.keep)]
    for thread in threads:
        thread.start()
    try:
        until = time.monotonic() + PATIENCE_S
        while not publisher.health().connected and time.monotonic() < until:
            stop.wait(0.01)
        yield lambda event: sink.publish(Outcome(event.camera, None, {}, (event,), None))
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_S)
        store.close()


@contextlib.contextmanager
def _bare(port: int, protocol: MQTTProtocolVersion) -> Iterator[Callable[[Event], None]]:
    """As a script would do it: nothing is kept, and nothing survives."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=protocol)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        yield lambda event: _publish(client, event)
    finally:
        client.disconnect()
        client.loop_stop()


def _publish(client: paho.Client, event: Event) -> None:
    client.publish(_TOPIC, encode(event_content(event, 1.0)), qos=1)


def _event() -> Event:
    return Event(
        event_id=new_ulid(), incident_id=new_ulid(), event_type="rule_match", camera="porch",
        rule="package", severity="alert", score=0.83, wall_time=time.time(),
        captured_s=time.monotonic(), text=None, timings=Timings(), model_id="bench",
        prompt_sha256="0" * 64,
    )  # fmt: skip


def _fsync_ms(folder: Path) -> float:
    taken = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(50):
            began = time.perf_counter()
            file.write(bytes(1024))
            os.fsync(file.fileno())
            taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


def _broker(folder: Path, stack: contextlib.ExitStack) -> tuple[str, int]:
    """A Mosquitto of our own, or else the embedded broker; its name and port."""
    places = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    program = shutil.which("mosquitto", path=places)
    if program is None:
        return "embedded", stack.enter_context(EmbeddedBroker()).port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings = folder / "mosquitto.conf"
    # Enough in its queues that the bare publisher, which waits for nobody, loses nothing there.
    settings.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nlog_dest none\nmax_queued_messages 0\n"
    )
    process = subprocess.Popen([program, "-c", str(settings)])  # noqa: S603 - found above
    stack.callback(process.wait, 5.0)
    stack.callback(process.terminate)
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return "mosquitto", port
        time.sleep(0.02)
    raise BrokerError(f"{program} does not listen within {PATIENCE_S:.0f} s")
