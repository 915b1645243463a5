"""Where do messages wait for the broker?

Knows no broker. In memory and bounded; what gives way when it is full is decided here alone.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import structlog

from daemon.mqtt.payloads import Kind, Message
from pipelines.clock import Clock

log = structlog.get_logger(__name__)

IN_FLIGHT = 20  # Mosquitto's default for max_inflight_messages: more would only wait in the broker
_GIVES_WAY: dict[Kind, int] = {"description": 0, "state": 1, "alert": 2}  # lowest goes first


@dataclass(frozen=True, slots=True)
class Queued:
    """A message in the outbox. Ids grow with the order of `put`."""

    id: int
    message: Message
    put_s: float  # monotonic


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """Counts at one moment; `dropped` by kind."""

    pending: int
    oldest_s: float
    dropped: dict[Kind, int]


class Outbox:
    """An ordered queue of at most `capacity` messages, for any number of threads.

    A message leaves it by `acknowledge` or `refuse` only, so what a lost link had in flight is
    sent again after `release`. A state that still waits is replaced by a newer one of its topic.
    When full, the oldest description gives way, then the oldest state, and an alert only when
    nothing but alerts is left; what is in flight stays. `changed` is set whenever something new
    waits: the publisher waits on it.
    """

    def __init__(self, clock: Clock, capacity: int = 1000) -> None:
        if capacity <= IN_FLIGHT:
            raise ValueError(f"outbox capacity {capacity}: take more than {IN_FLIGHT}")
        self.changed = threading.Event()
        self._clock = clock
        self._capacity = capacity
        self._lock = threading.Lock()
        self._queue: dict[int, Queued] = {}  # by id, in order
        self._in_flight: set[int] = set()
        self._retained: dict[str, Queued] = {}
        self._dropped: dict[Kind, int] = {"description": 0, "state": 0, "alert": 0}
        self._next_id = 1
        self._full = False

    def put(self, message: Message) -> int:
        """Append, and make room if need be; returns the id. Never blocks, never raises."""
        with self._lock:
            queued = Queued(self._next_id, message, self._clock.monotonic_s())
            self._next_id += 1
            if message.kind == "state":
                self._coalesce(message.topic)
            self._queue[queued.id] = queued
            if len(self._queue) > self._capacity:
                self._make_room()
        self.changed.set()
        return queued.id

    def next(self) -> Queued | None:
        """The oldest message that is not in flight, which it now is; None if there is none."""
        with self._lock:
            for queued in self._queue.values():
                if queued.id not in self._in_flight:
                    self._in_flight.add(queued.id)
                    return queued
        return None

    def acknowledge(self, queued_id: int) -> None:
        """The broker has it: it may be forgotten. Unknown ids are ignored (sent twice)."""
        with self._lock:
            queued = self._queue.pop(queued_id, None)
            self._in_flight.discard(queued_id)
            if queued is not None:
                self._remember(queued)
            if self._full and len(self._queue) <= self._capacity // 2:
                self._full = False
                log.info("outbox.drained", pending=len(self._queue), dropped=dict(self._dropped))

    def refuse(self, queued_id: int) -> None:
        """The broker will not have it: it is given up, so that it does not block all behind it."""
        with self._lock:
            self._queue.pop(queued_id, None)
            self._in_flight.discard(queued_id)

    def release(self) -> None:
        """The link is lost: what was in flight waits again, in its old place."""
        with self._lock:
            self._in_flight.clear()

    def retained(self) -> tuple[Message, ...]:
        """The newest retained message of each topic that has left the outbox, oldest first.

        A broker that lost its memory needs them again; newer ones of a topic are still queued.
        """
        with self._lock:
            ordered = sorted(self._retained.values(), key=lambda queued: queued.id)
        return tuple(queued.message for queued in ordered)

    def stats(self) -> OutboxStats:
        """What health shows."""
        with self._lock:
            oldest = next(iter(self._queue.values()), None)
            age_s = 0.0 if oldest is None else self._clock.monotonic_s() - oldest.put_s
            return OutboxStats(len(self._queue), age_s, dict(self._dropped))

    def _coalesce(self, topic: str) -> None:
        for queued in self._waiting():
            if queued.message.kind == "state" and queued.message.topic == topic:
                del self._queue[queued.id]  # at most one can be there
                return

    def _make_room(self) -> None:
        victim = min(self._waiting(), key=lambda q: (_GIVES_WAY[q.message.kind], q.id))
        del self._queue[victim.id]
        self._remember(victim)  # its topic shows it after the next connect all the same
        self._dropped[victim.message.kind] += 1
        if not self._full:
            self._full = True
            log.warning(
                "outbox.full",
                capacity=self._capacity,
                first_dropped=victim.message.kind,
                hint="descriptions give way first, then states, alerts last; see the broker link",
            )

    def _waiting(self) -> list[Queued]:
        return [queued for queued in self._queue.values() if queued.id not in self._in_flight]

    def _remember(self, queued: Queued) -> None:
        topic = queued.message.topic
        known = self._retained.get(topic)
        if queued.message.retain and (known is None or known.id < queued.id):
            self._retained[topic] = queued
