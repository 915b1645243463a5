"""Where do messages wait for the broker?

Knows no broker. What gives way when there is too much, and what is told once more, is decided here
alone; the rows themselves are in the store, beside the events that they tell of, and so outlive the
process. Without a store, and while its disk takes nothing, they are in memory.
"""

from __future__ import annotations

import itertools
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from daemon import dead_letters, outbox_rows
from daemon.dead_letters import DeadLetter
from daemon.mqtt.payloads import Kind, Message
from daemon.mqtt.refusals import Refusal
from daemon.outbox_books import Book, Books
from daemon.outbox_rows import KINDS, RANKS, Gone, Row
from pipelines.clock import Clock

log = structlog.get_logger(__name__)
Work = Callable[[sqlite3.Connection], bool]

IN_FLIGHT: Final = 20  # Mosquitto's default for max_inflight_messages: more would only wait there
_TEND_EVERY_S: Final = 10.0
_PATIENCE_S: Final = 0.2  # for figures: who asks for them must not wait for a slow disk


@dataclass(frozen=True, slots=True)
class Caps:
    """How much may wait. Alerts wait for ever, and no cap evicts them; the disk is their end."""

    max_bytes: int = 32_000_000  # of all; beyond it descriptions go, then states
    max_age_s: float = 3600.0  # of all but alerts
    memory_bytes: int = 64_000_000  # the end for alerts, too, where there is no disk


@dataclass(frozen=True, slots=True)
class Queued:
    """A message in the outbox. Ids grow with the order of `put`, also across restarts."""

    id: int
    message: Message
    put_s: float  # monotonic; of an earlier run, by the wall clock
    left_s: float | None = None  # until nobody wants it any more
    tries: int = 0  # how often it was refused


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """Counts at one moment; `dropped` by kind."""

    pending: int = 0
    oldest_s: float = 0.0
    dropped: dict[Kind, int] = field(default_factory=dict)
    dead_letters: int = 0
    in_memory: int = 0  # messages that a crash would lose
    on_disk: bool = False  # whether there is a disk for them at all


class Outbox:
    """An ordered queue, for any number of threads: alerts first, and oldest first among a kind.

    A message leaves it by `acknowledge` or `refuse` only, so what a lost link had in flight is
    sent again after `release`. A state that still waits is replaced by a newer one of its topic.
    `changed` is set whenever something new waits: the publisher waits on it.
    """

    def __init__(self, clock: Clock, store: Book | None = None, caps: Caps | None = None) -> None:
        self.changed = threading.Event()
        self._clock = clock
        self._caps = caps or Caps()
        # Rows hold Unix seconds, so that they mean something after a restart; within a life they
        # follow the monotonic clock, so that a clock that is set makes nothing old.
        self._epoch = clock.wall_time() - clock.monotonic_s()
        self._lock = threading.Lock()
        self._books = Books(store, self._caps.memory_bytes)
        self._ids = itertools.count(max(self._books.ask(outbox_rows.newest_id), default=0) + 1)
        self._flying: set[int] = set()
        self._settled: set[int] = set()  # acknowledged, but the disk would not delete them yet
        self._dropped: Counter[Kind] = Counter(dict.fromkeys(KINDS, 0))
        self._full = False
        self._tended_s = clock.monotonic_s()
        self._stats = OutboxStats(on_disk=store is not None)
        self._again_at: float | None = None  # when a dead letter is due
        self._note_again()

    def put(self, message: Message) -> None:
        """Append; see `put_all`."""
        self.put_all((message,))

    def put_all(
        self, messages: Sequence[Message], record: Callable[[Work], bool] | None = None
    ) -> None:
        """Append, and make room if need be. Never waits for a broker, never raises.

        `record` writes down in the store, in one transaction with the messages, what they tell
        of. With an alert among them they are on the disk when this returns, if there is one.
        """
        with self._lock:
            now = self._now()
            rows = [self._row(message, now) for message in messages]
            overtaken: list[Gone] = []

            def write(connection: sqlite3.Connection) -> bool:
                states = [row.topic for row in rows if row.rank == RANKS["state"]]
                overtaken[:] = [
                    outbox_rows.overtaken(connection, topic, self._flying) for topic in states
                ]
                outbox_rows.insert(connection, rows)
                return True

            if record is not None and self._books.on_disk and record(write):
                self._books.count_in(rows)
            elif not self._books.put(rows, write):
                self._lose(rows)
                return
            for gone in overtaken:
                self._books.count_out(gone)
            self._keep_caps()
        self.changed.set()

    def take(self, most: int) -> list[Queued]:
        """Up to so many messages that are not in flight, which they now are; first to go first."""
        with self._lock:
            self._tend()
            away = self._flying | self._settled
            found = self._books.ask(lambda c: outbox_rows.take(c, most, away))
            rows = sorted(itertools.chain(*found), key=lambda row: (row.rank, row.id))[:most]
            self._flying.update(row.id for row in rows)
            return [self._queued(row) for row in rows]

    def acknowledge(self, ids: Collection[int]) -> None:
        """The broker has them: they may be forgotten. Unknown ids are ignored (sent twice)."""
        if not ids:
            return
        with self._lock:
            self._flying.difference_update(ids)
            self._settled.update(ids)
            done, now = frozenset(self._settled), self._now()
            in_memory = self._books.in_memory_of(done)
            if self._books.delete(lambda c: outbox_rows.accepted(c, done, now))[1]:
                self._settled.clear()
            self._settled -= in_memory - self._books.in_memory_of(done)  # whatever the disk does
            if self._full and self._books.num_bytes <= self._caps.max_bytes // 2:
                self._full = False
                log.info("outbox.drained", pending=self._books.pending, dropped=dict(self._dropped))

    def refuse(self, queued_id: int, why: Refusal) -> None:
        """The broker will not have it: it is set aside, so that it does not block all behind it."""
        with self._lock:
            now = self._now()
            if self._books.delete(lambda c: dead_letters.add(c, queued_id, why, now))[1]:
                self._flying.discard(queued_id)  # else it is not tried again before the next link
            self._dropped["alert"] += self._books.change(dead_letters.trim)
            self._note_again()

    def release(self) -> None:
        """The link is lost: what was in flight waits again, in its old place."""
        with self._lock:
            self._flying.clear()

    def retained(self) -> tuple[Message, ...]:
        """The newest retained message of each topic that has left the outbox, oldest first.

        A broker that lost its memory needs them again. Not those of which a newer one waits.
        """
        with self._lock:
            found = itertools.chain(*self._books.ask(outbox_rows.retained))
            return tuple({message.topic: message for message in found}.values())

    def withdraw(self, known: Callable[[str], bool]) -> None:
        """Have the broker forget the retained topics that are not known (any more)."""
        with self._lock:
            topics = set(itertools.chain(*self._books.ask(outbox_rows.retained_topics)))
        for topic in sorted(topic for topic in topics if not known(topic)):
            self.put(Message(topic, b"", 1, retain=True, kind="state"))

    def replay(self, since_s: float) -> int:
        """Tell the newest alerts once more that were sent since then (monotonic); how many."""
        with self._lock:
            since, now = self._epoch + since_s, self._now()
            return self._bring(lambda c: outbox_rows.again(c, since, self._ids, now))

    def retry(self) -> int:
        """Let those dead letters try again whose time has come; how many."""
        with self._lock:
            now = self._now()
            if self._again_at is None or now < self._again_at:
                return 0
            return self._bring(lambda c: dead_letters.due(c, now))

    def retry_connected(self, max_packet: int | None) -> int:
        """Let those try again that a new link may take, with packets of so many bytes."""
        with self._lock:
            return self._bring(lambda c: dead_letters.on_connect(c, max_packet))

    def retry_all(self) -> int:
        """Let all dead letters try again; how many."""
        with self._lock:
            return self._bring(dead_letters.everything)

    def dead_letters(self) -> list[DeadLetter]:
        """What was refused."""
        with self._lock:
            return list(itertools.chain(*self._books.ask(dead_letters.listed)))

    def drop_dead_letters(self) -> int:
        """Delete what was refused; how many."""
        with self._lock:
            dropped = self._books.change(dead_letters.drop)
            self._note_again()
            return dropped

    def stats(self) -> OutboxStats:
        """What health shows; the last figures while the disk keeps everybody waiting."""
        if self._lock.acquire(timeout=_PATIENCE_S):
            try:
                now, oldest = self._now(), self._books.ask(outbox_rows.oldest_at)
                self._stats = OutboxStats(
                    pending=self._books.pending - len(self._settled),
                    oldest_s=max((now - at for at in oldest), default=0.0),
                    dropped=dict(self._dropped),
                    dead_letters=sum(self._books.ask(dead_letters.count)),
                    in_memory=self._books.in_memory,
                    on_disk=self._books.on_disk,
                )
            finally:
                self._lock.release()
        return self._stats

    # Below: with the lock held.

    def _now(self) -> float:
        return self._epoch + self._clock.monotonic_s()

    def _row(self, message: Message, now: float) -> Row:
        rank, expires = RANKS[message.kind], None
        if rank != RANKS["alert"]:
            age_s = self._caps.max_age_s
            expires = now + (age_s if message.expires_s is None else min(age_s, message.expires_s))
        return Row(
            next(self._ids), rank, message.topic, message.payload, message.qos, message.retain,
            message.correlation, now, expires,
        )  # fmt: skip

    def _queued(self, row: Row) -> Queued:
        # A retained message that expired would be gone from the broker, too.
        left_s = None if row.expires is None or row.retain else row.expires - self._now()
        return Queued(row.id, row.message, row.at - self._epoch, left_s, row.tries)

    def _lose(self, rows: Sequence[Row]) -> None:
        self._dropped.update(KINDS[row.rank] for row in rows)
        log.error(
            "outbox.lost",
            topic=rows[0].topic,
            hint="neither disk nor memory takes any more: free disk space, look at the broker",
        )

    def _keep_caps(self) -> None:
        over = self._books.num_bytes - self._caps.max_bytes
        if over <= 0:
            return
        waiting = self._books.num_bytes
        gone, _ = self._books.delete(lambda c: outbox_rows.give_way(c, over, self._flying))
        kinds = [kind for one in gone for kind in one.kinds]
        self._dropped.update(kinds)
        if kinds and not self._full:
            self._full = True
            hint = "descriptions give way first, then states, alerts never: see the broker link"
            log.warning("outbox.full", num_bytes=waiting, first_dropped=kinds[0], hint=hint)

    def _tend(self) -> None:
        """Drop what nobody wants any more, and move home what can be. A few seconds are soon."""
        if self._clock.monotonic_s() - self._tended_s >= _TEND_EVERY_S:
            self._tended_s, now = self._clock.monotonic_s(), self._now()
            gone, _ = self._books.delete(lambda c: outbox_rows.expire(c, now, self._flying))
            self._dropped.update(kind for one in gone for kind in one.kinds)
            self._books.bring_home()

    def _bring(self, work: Callable[[sqlite3.Connection], list[Row]]) -> int:
        brought = self._books.bring(work)
        self._note_again()
        if brought:
            self.changed.set()
        return brought

    def _note_again(self) -> None:
        self._again_at = min(self._books.ask(dead_letters.next_at), default=None)
