"""Does every alert reach a real broker, whatever becomes of broker, daemon and disk?"""

from __future__ import annotations

import ctypes
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.typing import EventDict

from daemon.disk_reserve import DiskReserve
from daemon.mqtt import homeassistant, payloads
from daemon.mqtt.discovery import Site
from daemon.mqtt.homeassistant import STATUS_TOPIC, HomeAssistant
from daemon.mqtt.options import MqttOptions
from daemon.mqtt.payloads import Message
from daemon.mqtt.records import PublisherHealth
from daemon.mqtt.retry import Retry
from daemon.mqtt.tls import TlsFiles
from daemon.mqtt.topics import Topics
from daemon.outbox import Caps, Outbox
from daemon.publisher import Publisher
from daemon.sink import EventSink
from daemon.store import Limits, Store
from pipelines.clock import SystemClock
from pipelines.types import Outcome
from tests.certificates import Authority
from tests.daemon.alerting import alerting
from tests.daemon.events import match
from tests.daemon.test_homeassistant import say
from tests.mosquitto import WAIT_S, Gate, Mosquitto, Subscriber, mosquitto, wait_until

TOPICS = Topics()
EVENT = "smolwatch/porch/event"
RULE = "smolwatch/porch/rule/package_delivered"
QUICK = Retry(first_s=0.05, cap_s=0.2, slow_cap_s=0.2)


class Daemon:
    """Store, outbox, sink and publisher, joined as the daemon joins them."""

    def __init__(
        self,
        port: int,
        path: Path,
        *,
        caps: Caps | None = None,
        home: HomeAssistant | None = None,
        reserve: DiskReserve | None = None,
        **options: Any,
    ) -> None:
        clock = SystemClock()
        self.store = Store(path, Limits(), clock, reserve)
        self.outbox = Outbox(clock, self.store, caps)
        self.sink = EventSink(clock, TOPICS, None, self.outbox, self.store)
        mqtt = MqttOptions("127.0.0.1", port, **options)
        self.publisher = Publisher(self.outbox, mqtt, clock, QUICK, home)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=run, args=(self._stop,))
            for run in (self.publisher.run, self.store.keep)
        ]
        for thread in self._threads:
            thread.start()

    def alert(self, number: int, camera: str = "porch") -> None:
        event = match(number, incident_id=f"incident-{number}", camera=camera)
        self.sink.publish(Outcome(camera, None, {}, (event,), None))

    def wait_for(self, condition: Callable[[PublisherHealth], object], what: str) -> None:
        wait_until(lambda: condition(self.publisher.health()), what)

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()
        self.store.close()


@contextmanager
def running(port: int, path: Path, **options: Any) -> Iterator[Daemon]:
    daemon = Daemon(port, path, **options)
    try:
        yield daemon
    finally:
        daemon.end()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "s.db"


def ids(subscriber: Subscriber, topic: str = EVENT) -> list[object]:
    """The event ids received, each at its first arrival."""
    return list(dict.fromkeys(m.content["event_id"] for m in subscriber.on(topic)))


def expected(count: int) -> list[object]:
    return [match(n).event_id for n in range(count)]


# --- broker and daemon come and go


def test_a_broker_frozen_with_200_alerts_and_the_daemon_killed(
    broker: Mosquitto, path: Path
) -> None:
    with Subscriber(broker.port) as subscriber:
        with alerting(broker.port, path):
            subscriber.wait_for("smolwatch/bridge/state")
            broker.freeze()
        with alerting(broker.port, path, 0, 200):
            pass
        broker.thaw()
        with alerting(broker.port, path):
            wait_until(lambda: len(ids(subscriber)) >= 200, "200 alerts", 60.0)
        assert ids(subscriber) == expected(200)


def test_a_broker_frozen_in_the_middle_and_the_daemon_killed_there(
    broker: Mosquitto, path: Path
) -> None:
    """Some are accepted, some are on the way, and some still wait."""
    with Subscriber(broker.port) as subscriber:
        with alerting(broker.port, path, 0, 50):
            subscriber.wait_for(EVENT, 20)
            broker.freeze()
        with alerting(broker.port, path, 50, 150):
            pass
        broker.thaw()
        with alerting(broker.port, path):
            wait_until(lambda: len(ids(subscriber)) >= 200, "200 alerts", 60.0)
        assert ids(subscriber) == expected(200)


def test_a_line_that_breaks_with_alerts_on_the_way_and_the_daemon_killed_there(
    broker: Mosquitto, path: Path
) -> None:
    """What was sent and not accepted is gone with the line: it has to be sent again.

    A broker that is only frozen finds it in its socket when it wakes.
    """
    with (
        Gate(broker.port, bytes_per_s=10_000) as gate,
        Subscriber(broker.port) as subscriber,
    ):
        with alerting(gate.port, path, 0, 50):
            subscriber.wait_for(EVENT, 10)
            gate.cut()
        with alerting(broker.port, path):
            wait_until(lambda: len(ids(subscriber)) >= 50, "50 alerts", 60.0)
        assert ids(subscriber) == expected(50)


def test_no_broker_at_the_start_and_the_daemon_killed_thrice(tmp_path: Path, path: Path) -> None:
    broker = Mosquitto(tmp_path)
    for life in range(3):
        with alerting(broker.port, path, 20 * life, 20):
            pass
    broker.start()
    try:
        with Subscriber(broker.port) as subscriber, alerting(broker.port, path):
            wait_until(lambda: len(ids(subscriber)) >= 60, "60 alerts", 60.0)
            assert ids(subscriber) == expected(60)
    finally:
        broker.stop()


def test_a_new_daemon_tells_a_new_broker_all_that_was_retained(
    broker: Mosquitto, path: Path
) -> None:
    with running(broker.port, path) as first:
        first.alert(1)
        first.outbox.put(payloads.snapshot(TOPICS, "porch", b"\xff\xd8 a picture"))
        first.wait_for(lambda h: h.pending == 0, "all sent")
    broker.stop()
    broker.start()
    with Subscriber(broker.port) as subscriber, running(broker.port, path):
        assert subscriber.wait_for(RULE)[0].content["state"] == "ON"
        assert subscriber.wait_for("smolwatch/porch/snapshot")[0].payload == b"\xff\xd8 a picture"
        assert subscriber.on(EVENT) == []  # what was accepted is no news


# --- refusals


def test_an_alert_that_the_access_list_forbids_waits_until_it_may(
    tmp_path: Path, path: Path, logs: list[EventDict]
) -> None:
    users = {"smolwatch": "pw", "reader": "r"}
    reader = "user reader\ntopic read #\n"
    shut = (
        f"user smolwatch\ntopic write smolwatch/bridge/#\ntopic write smolwatch/attic/#\n{reader}"
    )
    with (
        mosquitto(tmp_path, users, shut) as broker,
        Subscriber(broker.port, login=("reader", "r")) as subscriber,
        running(broker.port, path, username="smolwatch", password="pw") as daemon,
    ):
        daemon.alert(1)
        daemon.alert(2, camera="attic")
        subscriber.wait_for("smolwatch/attic/event")  # it blocks nothing behind it
        daemon.wait_for(lambda h: h.dead_letters == 2, "event and state are set aside")
        (letter, _) = daemon.outbox.dead_letters()
        assert (letter.topic, letter.code, letter.tries) == (EVENT, 0x87, 1)
        assert letter.again == pytest.approx(letter.refused + 60)
        assert subscriber.on(EVENT) == []
        broker.allow(f"user smolwatch\ntopic write smolwatch/#\n{reader}")

        def retried() -> bool:  # as it does by itself after a minute, and ever more slowly
            daemon.outbox.retry_all()
            return daemon.publisher.health().dead_letters == 0

        wait_until(retried, "nothing is left")
        subscriber.wait_for(EVENT)
        assert ids(subscriber) == [match(1).event_id]
    assert [e["topic"] for e in logs if e["event"] == "mqtt.publish_refused"] == [EVENT, RULE]


def test_a_wrong_password_loses_nothing(tmp_path: Path, path: Path) -> None:
    users = {"smolwatch": "right", "reader": "r"}
    with mosquitto(tmp_path, users) as broker:
        with running(broker.port, path, username="smolwatch", password="wrong") as daemon:
            daemon.alert(0)
            daemon.wait_for(lambda h: h.problem, "the problem shows")
            assert "mqtt.password_file" in str(daemon.publisher.health().problem)
        with (
            Subscriber(broker.port, login=("reader", "r")) as subscriber,
            running(broker.port, path, username="smolwatch", password="right"),
        ):
            subscriber.wait_for(EVENT)
            assert ids(subscriber) == expected(1)


@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
def test_an_expired_certificate_is_named_and_loses_nothing(tmp_path: Path, path: Path) -> None:
    authority = Authority(tmp_path)
    certificate = authority.issue("127.0.0.1", days=-1.0)
    with (
        mosquitto(tmp_path, certificate=certificate) as broker,
        running(broker.port, path, tls=TlsFiles(authority.file)) as daemon,
    ):
        daemon.alert(1)
        daemon.wait_for(lambda h: h.problem, "the problem shows")
        health = daemon.publisher.health()
        assert "certificate has expired" in str(health.problem)
        assert (health.connected, health.pending) == (False, 2)


@pytest.mark.parametrize("protocol", ["auto", "3.1.1"])
def test_one_that_is_too_large_between_two_good_ones(
    tmp_path: Path, path: Path, protocol: str, logs: list[EventDict]
) -> None:
    """MQTT 5 tells the limit at the start; 3.1.1 hangs up, again and again."""
    big = Message(EVENT, b'{"event_id":"big","x":"' + b"." * 5000 + b'"}', 1, False, "alert")
    with (
        mosquitto(tmp_path, settings=["max_packet_size 2000"]) as broker,
        Subscriber(broker.port, garbage=True) as subscriber,
        running(broker.port, path, protocol=protocol) as daemon,
    ):
        daemon.alert(0)
        daemon.outbox.put(big)
        daemon.alert(1)
        wait_until(lambda: len(ids(subscriber)) == 2, "the good ones", 60.0)
        daemon.wait_for(lambda h: h.pending == 0, "nothing waits behind it")
        assert ids(subscriber) == expected(2)
        (letter,) = daemon.outbox.dead_letters()
        assert (letter.topic, letter.num_bytes) == (EVENT, len(big.payload))
        assert ("the broker takes 2000" in letter.reason) == (protocol == "auto")
        assert ("hangs up" in letter.reason) == (protocol == "3.1.1")
        lost = [entry for entry in logs if entry["event"] == "mqtt.unavailable"]
        assert bool(lost) == (protocol == "3.1.1")


# --- Home Assistant


def test_what_home_assistant_missed_is_told_once_more(
    broker: Mosquitto, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(homeassistant, "SETTLE_S", 0.0)
    monkeypatch.setattr(homeassistant, "AGAIN_S", 0.0)
    home = HomeAssistant(Site(TOPICS, "homeassistant", "1"), [])
    with (
        Subscriber(broker.port) as subscriber,
        running(broker.port, path, home=home) as daemon,
    ):
        daemon.wait_for(lambda h: h.connected, "connected")
        daemon.alert(0)
        subscriber.wait_for(EVENT)
        daemon.wait_for(lambda h: h.pending == 0, "accepted")
        say(broker.port, (STATUS_TOPIC, b"offline"))
        wait_until(lambda: home._offline_s is not None, "it is heard that it went")
        for n in range(1, 31):
            daemon.alert(n)
        subscriber.wait_for(EVENT, 31)
        daemon.wait_for(lambda h: h.pending == 0, "accepted")
        say(broker.port, (STATUS_TOPIC, b"online"))
        again = subscriber.wait_for(EVENT, 51)[31:]
        assert [m.content["event_id"] for m in again] == [match(n).event_id for n in range(11, 31)]
        assert [m.content["replay"] for m in again] == [True] * 20
        assert {m.content["replay"] for m in subscriber.on(EVENT)[:31]} == {False}


# --- disks


def test_a_full_disk_gives_its_reserve_to_alerts_and_then_they_go_on_in_memory(
    tmp_path: Path, logs: list[EventDict]
) -> None:
    """A real file system of 8 MiB that becomes full (tmpfs; elsewhere this is skipped)."""
    with small_disk(tmp_path / "disk", 8) as disk:
        path = disk / "s.db"
        port = Mosquitto(tmp_path).port  # nobody listens there: all must wait
        reserve = DiskReserve(disk / "reserve", 2_000_000)
        with running(port, path, reserve=reserve) as daemon:
            daemon.alert(0)
            fill(disk / "film")
            count = 1
            while not reserve.released:
                daemon.alert(count)
                count += 1
            assert daemon.outbox.stats().in_memory == 0
            for _ in range(20):
                daemon.alert(count)
                count += 1
            assert daemon.outbox.stats().in_memory == 0  # the reserve holds them
            assert daemon.store.span("porch", "away", "", 0.0, 1.0) is None  # and nothing else
            fill(disk / "film 2")
            while not daemon.outbox.stats().in_memory:
                daemon.alert(count)
                count += 1
            assert "free disk space" in str(problem(daemon.publisher.health()))
            (disk / "film").unlink()
            (disk / "film 2").unlink()
            daemon.alert(count)
            assert daemon.outbox.stats().pending == 2 * (count + 1)
            order = [q.message.topic for q in daemon.outbox.take(10_000)].count(EVENT)
            assert order == count + 1
            reserve.restore()
            assert not reserve.released
    said = [entry["event"] for entry in logs if entry["event"].startswith("store.")]
    assert said[:2] == ["store.reserve_released", "store.failing"]
    assert "store.recovered" in said


def problem(health: PublisherHealth) -> object:
    bridge = payloads.BridgeHealth(0.0, 0.0, "ready", 0, 0)
    return json.loads(payloads.bridge_health(TOPICS, bridge, health).payload)["problem"]


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as film, suppress(OSError):
        while film.write(bytes(4096)):
            pass


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", str(folder).encode(), b"tmpfs", 0, f"size={mebibytes}m".encode()) != 0:
        pytest.skip("only root may mount a small disk")
    try:
        yield folder
    finally:
        assert libc.umount2(str(folder).encode(), 2) == 0  # MNT_DETACH
