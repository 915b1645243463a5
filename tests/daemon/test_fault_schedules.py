"""Is no alert lost, out of order or deleted unaccepted, whatever goes wrong and when?

A thousand random schedules over the real store, outbox, sink and delivery. Only the transport is a
fake: links end, answers are lost with them, brokers refuse, hang up and set other limits, the
process crashes, clocks jump, the disk is full for a while.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from daemon.delivery import Delivery
from daemon.mqtt.link_events import Accepted, Acknowledged
from daemon.mqtt.options import MqttOptions
from daemon.mqtt.payloads import Message
from daemon.mqtt.topics import Topics
from daemon.outbox import IN_FLIGHT, Caps, Outbox
from daemon.sink import EventSink
from daemon.store import Limits, Store
from pipelines.types import Outcome
from tests.daemon.events import match
from tests.fakes import FakeClock

EVENT = "smolwatch/porch/event"
OK, DENIED, QUOTA, UNSAID = 0x00, 0x87, 0x97, 0x80
CAPS = Caps(max_bytes=40_000, max_age_s=600.0)


@dataclass
class FakeLine:
    """A link: what was sent over it, and not answered yet, in order."""

    most: int
    max_packet: int | None
    unanswered: list[tuple[int, Message]] = field(default_factory=list)
    mid: int = 0

    def send(self, message: Message, left_s: float | None = None) -> int:
        assert left_s is None or message.kind != "alert"
        assert (message.topic, message.payload) not in {
            (other.topic, other.payload) for _, other in self.unanswered if message.kind == "alert"
        }, "two copies of an alert in flight"
        self.mid += 1
        self.unanswered.append((self.mid, message))
        assert len(self.unanswered) <= min(IN_FLIGHT, self.most)
        return self.mid

    def subscribe(self, topic: str) -> int:
        raise AssertionError(topic)

    def unsubscribe(self, topic: str) -> None:
        raise AssertionError(topic)


class World:
    """A daemon, its disk and its broker."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = FakeClock()
        self.told: list[str] = []  # event ids, in their order
        self.accepted: list[str] = []  # by the broker, in its order
        self.refused: set[str] = set()  # and came later, out of their order
        self.line: FakeLine | None = None
        self.full = False
        self._number = 0
        self._stores: list[Store] = []
        self._live()

    def _live(self) -> None:
        self._stores.append(Store(self.path, Limits(), self.clock))
        self.outbox = Outbox(self.clock, self._stores[-1], CAPS)
        self.sink = EventSink(self.clock, Topics(), None, self.outbox, self._stores[-1])
        self.delivery = Delivery(self.outbox, MqttOptions("h"), self.clock)
        self.line = None

    def alert(self, count: int) -> None:
        for _ in range(count):
            self._number += 1
            event = match(self._number, incident_id=f"incident-{self._number}")
            self.sink.publish(Outcome("porch", None, {}, (event,), None))
            self.told.append(event.event_id)

    def talk(self, count: int) -> None:
        for n in range(count):
            topic = f"smolwatch/porch/{n % 3}"
            self.outbox.put(Message(topic, b"s" * 100, 1, retain=True, kind="state"))
            self.outbox.put(Message(topic, b"d" * 1000, 1, retain=False, kind="description"))

    def connect(self, most: int, max_packet: int | None) -> None:
        self.lose(False)
        self.line = FakeLine(most, max_packet)
        self.delivery.begin(Accepted(most, max_packet), self.line)
        self.delivery.fill(self.line)

    def lose(self, hung_up: bool) -> None:
        if self.line is not None:
            self.line = None
            self.delivery.end(hung_up=hung_up)

    def answer(self, codes: list[int], lost: bool) -> None:
        """The broker takes in so many messages; its answers may never arrive."""
        if self.line is None:
            return
        events = []
        for code in codes[: len(self.line.unanswered)]:
            mid, message = self.line.unanswered.pop(0)
            event_id = _event_id(message)
            if event_id is not None and code < 0x80:
                self.accepted.append(event_id)
            if event_id is not None and code >= 0x80:
                self.refused.add(event_id)
            events.append(Acknowledged(mid, ReasonCode(PacketTypes.PUBACK, identifier=code)))
        if lost:
            self.lose(True)
            return
        self.delivery.hear(events)
        self.delivery.fill(self.line)

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        if self.line is not None:
            self.delivery.fill(self.line)

    def step(self, seconds: float) -> None:
        self.clock.step_wall(seconds)

    def disk(self, full: bool) -> None:
        self.full = full
        pages = 1 if full else 1_000_000
        self._stores[-1]._connection.execute(f"PRAGMA max_page_count = {pages}")

    def crash(self) -> None:
        if self.outbox.stats().in_memory:
            return  # what only memory holds is lost in a crash, and health says so before
        self._stores[-1]._connection.close()
        self._live()

    def kept(self, table: str) -> set[str]:
        """The alerts that are there, on disk and in memory."""
        query = f"SELECT payload FROM {table} WHERE topic = ? AND rank = 0"
        found = self.outbox._books.ask(lambda c: c.execute(query, (EVENT,)).fetchall())
        return {json.loads(payload)["event_id"] for rows in found for (payload,) in rows}

    def check(self) -> None:
        self.refused |= self.kept("dead_letters")
        gone = set(self.told) - self.kept("outbox") - self.kept("dead_letters")
        assert gone <= set(self.accepted), "deleted, and nobody has accepted it"

    def drain(self) -> None:
        """All is well again, for a few hours."""
        self.disk(False)
        for _ in range(6):
            self.connect(65_535, None)
            while self.line is not None and self.line.unanswered:
                self.answer([OK] * 20, False)
            self.clock.advance(6 * 3600.0)

    def end(self) -> None:
        for store in self._stores:
            store._connection.close()


def _event_id(message: Message) -> str | None:
    if message.topic != EVENT or message.kind != "alert":
        return None
    found: str = json.loads(message.payload)["event_id"]
    return found


@contextmanager
def world() -> Iterator[World]:
    memory = Path("/dev/shm")  # syncing to a disk would be all that takes time here
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        made = World(Path(folder) / "s.db")
        try:
            yield made
        finally:
            made.end()


codes = st.lists(st.sampled_from([OK] * 8 + [DENIED, QUOTA, UNSAID]), min_size=5, max_size=25)
alerts = st.tuples(st.just("alert"), st.integers(1, 12))
connects = st.tuples(st.just("connect"), st.integers(1, 30), st.sampled_from([None, None, 500]))
answers = st.tuples(st.just("answer"), codes, st.sampled_from([False, False, False, True]))
troubles = st.one_of(
    st.tuples(st.just("talk"), st.integers(1, 15)),
    st.tuples(st.just("lose"), st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 5.0, 61.0, 700.0, 90_000.0])),
    st.tuples(st.just("step"), st.sampled_from([-1e8, -3600.0, 3600.0, 1e9])),
    st.tuples(st.just("disk"), st.sampled_from([True, False])),
    st.tuples(st.just("crash")),
)
rounds = st.tuples(alerts, connects, answers, troubles, answers)
# Flat, and in any order: a round only sees to it that there is something to go wrong.
schedules = st.lists(
    st.one_of(rounds, st.tuples(troubles, alerts, troubles, answers)), min_size=2, max_size=12
).map(lambda chosen: [step for steps in chosen for step in steps])


def play(schedule: list[tuple[Any, ...]]) -> tuple[set[Any], set[Any]]:
    """Alerts that were told, and that arrived; raises where any was told out of order."""
    with world() as it:
        for step, *given in schedule:
            getattr(it, step)(*given)
            it.check()
        it.drain()
        first = list(dict.fromkeys(it.accepted))
        assert it.outbox.stats().pending == 0
        assert it.outbox.stats().dropped["alert"] == 0
        straight = [event for event in first if event not in it.refused]
        assert straight == sorted(straight), "out of order"
        return set(it.told), set(first)


some = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@settings(some, max_examples=150)
@given(schedules)
def test_schedules_of_faults(schedule: list[tuple[Any, ...]]) -> None:
    with structlog.testing.capture_logs():
        told, arrived = play(schedule)
    assert arrived == told, "lost"


@pytest.mark.slow
@settings(some, max_examples=1000, derandomize=False)
@given(schedules)
def test_a_thousand_schedules_of_faults(schedule: list[tuple[Any, ...]]) -> None:
    with structlog.testing.capture_logs():
        told, arrived = play(schedule)
    assert arrived == told, "lost"
