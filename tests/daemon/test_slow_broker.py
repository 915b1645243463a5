"""Who waits for whom when the way to the broker carries less than there is to say?"""

from __future__ import annotations

import threading
import tracemalloc
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from daemon.mqtt import payloads
from daemon.mqtt.payloads import Message
from daemon.outbox import Caps
from daemon.store import LOG_BYTES
from pipelines.clock import SystemClock
from tests.daemon.test_no_alert_lost import EVENT, Daemon, expected, ids, path, running
from tests.mosquitto import Gate, Mosquitto, Subscriber, wait_until

__all__ = ["path"]  # a fixture

CAPS = Caps(max_bytes=2_000_000)
WORDS = {"summary": "s", "text": "w" * 8000, "ts": "t", "event_id": "e"}
TALK = Message(EVENT, payloads.encode(WORDS), 1, retain=False, kind="description")

MINUTE_S = 60
WARM_S = 15  # by then the outbox is full, and every buffer as large as it gets
USUAL_PER_S = 8  # descriptions: eight busy cameras with one a second each
LINE_BYTES_PER_S = USUAL_PER_S * len(TALK.payload)
TICK_S = 0.1  # of ten times the usual rate: 8 descriptions each, and an alert each other


class Alerts(Subscriber):
    """Keeps the alerts alone: what it keeps is memory of this process, too."""

    def _on_message(self, client: paho.Client, given: object, message: paho.MQTTMessage) -> None:
        if message.topic == EVENT and message.payload != TALK.payload:
            super()._on_message(client, given, message)


def test_a_slow_broker_gets_alerts_first_and_memory_stays_flat(
    broker: Mosquitto, path: Path
) -> None:
    """Twenty times as much as the line carries: descriptions give way, no alert does."""
    with (
        Gate(broker.port, bytes_per_s=150_000) as gate,
        Alerts(broker.port) as subscriber,
        running(gate.port, path, caps=CAPS) as daemon,
    ):
        daemon.wait_for(lambda h: h.connected, "connected")
        tracemalloc.start()
        for n in range(100):
            for _ in range(30):  # 24 MB in all
                daemon.outbox.put(TALK)
            daemon.alert(n)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        daemon.outbox.stats()
        wait_until(lambda: len(ids(subscriber)) == 100, "100 alerts", 60.0)
        health = daemon.publisher.health()
        assert ids(subscriber) == expected(100)
        assert health.dropped > 2000
        assert health.dropped_alerts == 0
        assert peak < 4_000_000  # of 24 MB
        assert health.pending > 100  # they did not wait for the descriptions


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_minute_at_ten_times_the_usual_rate(broker: Mosquitto, path: Path) -> None:
    """The line carries the usual rate: nine of ten descriptions give way, alerts do not wait."""
    with (
        Gate(broker.port, bytes_per_s=LINE_BYTES_PER_S) as gate,
        Alerts(broker.port) as subscriber,
        running(gate.port, path, caps=CAPS) as daemon,
    ):
        daemon.wait_for(lambda h: h.connected, "connected")
        told = tell(daemon, 0, WARM_S)
        resident = resident_bytes()
        told = tell(daemon, told, MINUTE_S - WARM_S)
        late = told - len(ids(subscriber))
        grown = resident_bytes() - resident
        health = daemon.publisher.health()
        descriptions = 2 * told * USUAL_PER_S
        assert health.dropped_alerts == 0
        assert health.dropped > 0.8 * descriptions
        assert late < 0.2 * told  # the line is free for alerts, but for a window of descriptions
        assert grown < 10_000_000  # of 29 MB that were told since
        assert disk_bytes(path) < 4 * LOG_BYTES  # of 350 MB that SQLite wrote
        wait_until(lambda: len(ids(subscriber)) == told, "all alerts", 120.0)
        assert ids(subscriber) == expected(told)


def tell(daemon: Daemon, first: int, seconds: int) -> int:
    """Ten times the usual rate for so long, by the clock; the number of the next alert."""
    clock, never = SystemClock(), threading.Event()
    begun_s, number = clock.monotonic_s(), first
    for tick in range(1, int(seconds / TICK_S) + 1):
        for _ in range(USUAL_PER_S):
            daemon.outbox.put(TALK)
        if tick % 2:
            daemon.alert(number)
            number += 1
        never.wait(max(0.0, begun_s + tick * TICK_S - clock.monotonic_s()))
    return number


def resident_bytes() -> int:
    """What this process holds of the machine's memory; SQLite's share is no object of Python's."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def disk_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.iterdir())
