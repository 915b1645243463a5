"""What is remembered, and how is it written down?

Knows the tables and no question about them (`daemon.store_queries`). One connection and one lock
for all that is written.

The inference thread writes by itself: measured by tests/bench/bench_store.py, an observation costs
it a quarter of a millisecond, and handing it to another thread would cost no less; only an event,
which is rare and must not be lost, waits for the disk (`synchronous=FULL`). What takes longer,
copying the log into the file and deleting what is old, is done by a thread of its own (`keep`), in
steps that hold the lock for a few milliseconds.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import structlog

from daemon.disk_reserve import DiskReserve
from daemon.disk_trouble import in_words, why_not
from daemon.store_file import (
    checkpoint,
    is_damage,
    is_full,
    log_bytes,
    open_anew,
    open_writer,
)
from daemon.store_place import Place
from daemon.store_pruning import Pruning, shrink
from daemon.store_rows import Content, Rows
from daemon.store_turns import Turns
from pipelines.clock import Clock
from pipelines.types import Outcome

__all__ = ["Limits", "Store"]

log = structlog.get_logger(__name__)
T = TypeVar("T")

KEEP_EVERY_S: Final = 5.0
LOG_BYTES: Final = 16_000_000  # beyond it, the log is begun anew even if somebody has to wait
_PAUSE_S: Final = 0.02  # between steps, for those who wait for the lock
STEP_S: Final = 0.002  # of deleting at once; writing it down takes as long again


@dataclass(frozen=True, slots=True)
class Limits:
    """What is deleted: what is older, and the oldest while there is more."""

    max_age_s: float = 30 * 86_400.0
    max_bytes: int = 1_000_000_000


class Store:
    """The daemon's memory. Any thread may call; nothing but the constructor raises.

    A write that fails is counted in `lost` and logged once, as is the end of it: whoever watches
    wants the alert, stored or not. A file found damaged while running is set aside at once.
    On a full disk the `reserve` is given up for what must be stored, and nothing else is.
    Raises `StoreError` where the file cannot be opened. `instead_of`: why it is not the file that
    was meant, in words.
    """

    def __init__(
        self,
        path: Path,
        limits: Limits,
        clock: Clock,
        reserve: DiskReserve | None = None,
        instead_of: str | None = None,
    ) -> None:
        self.path = path
        self.lost = 0
        self._limits = limits
        self._clock = clock
        self._reserve = reserve
        self._lock = Turns()
        self._pruning = Pruning()
        self._failing: str | None = None  # why
        self._instead_of = instead_of
        self._connection = open_writer(path)
        self._rows = Rows(self._connection)
        self._place = Place(path)

    @property
    def trouble(self) -> str | None:
        """What keeps it from remembering all, in words. From any thread."""
        if self._failing is not None:
            return f"nothing can be stored: {self._place.problem or self._failing}"
        if self._reserve is not None and self._reserve.released:
            return "only alerts are stored: the disk is full: free disk space"
        return self._instead_of

    def record(
        self,
        told: Outcome,
        contents: Sequence[Content],
        also: Callable[[sqlite3.Connection], object] | None = None,
    ) -> bool:
        """Write down one look, with its events as they are published; whether that worked.

        With an event in it, it is on the disk when this returns; without, the newest few seconds
        may be lost when the power is. `also` is done in the same transaction.
        """
        at = self._clock.wall_time()

        def write(connection: sqlite3.Connection) -> bool:
            self._rows.record(told, contents, at)
            if also is not None:
                also(connection)
            return True

        return bool(self.write(write, durable=bool(told.events), spare=not told.events))

    def write(
        self, work: Callable[[sqlite3.Connection], T], *, durable: bool, spare: bool = False
    ) -> T | None:
        """Do something in one transaction; None if that failed.

        `durable`: it is on the disk when this returns. `spare`: a disk that is nearly full has no
        room for it.
        """
        with self._lock:
            if spare and self._reserve is not None and self._reserve.released:
                self.lost += 1
                return None
            before = self._connection.total_changes
            try:
                done = self._tried(work, durable=durable, spare=spare)
            except sqlite3.Error as error:
                self._failed(error)
                return None
            changes = self._connection.total_changes - before
        if self._failing is not None and changes:  # without any the disk was not asked
            self._failing = None
            log.warning("store.recovered", path=str(self.path), lost=self.lost)
        return done

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Ask something on the connection that writes; None if that failed."""
        with self._lock:
            try:
                return work(self._connection)
            except sqlite3.Error as error:
                self._failed(error)
                return None

    def close_others(self, still_open: Sequence[str], at: float) -> None:
        """Close the incidents that no rule goes on with: of rules and cameras that are gone."""
        self.write(
            lambda c: c.execute(
                "UPDATE incidents SET closed = ? WHERE closed IS NULL"
                " AND incident_id NOT IN (SELECT value FROM json_each(?))",
                (at, json.dumps(list(still_open))),
            ),
            durable=True,
        )

    def span(self, camera: str, cause: str, detail: str, since: float, until: float) -> int | None:
        """Begin a stretch without windows; its number for `lengthen`."""
        return self.write(
            lambda c: (
                c.execute(
                    "INSERT INTO spans (camera, cause, detail, started, ended, windows)"
                    " VALUES (?, ?, ?, ?, ?, 0)",
                    (camera, cause, detail, since, until),
                ).lastrowid
            ),
            durable=False,
            spare=True,
        )

    def lengthen(self, span: int, until: float, windows: int) -> None:
        """A stretch goes on until then, and holds so many windows that were not run."""
        self.write(
            lambda c: c.execute(
                "UPDATE spans SET ended = ?, windows = ? WHERE id = ?", (until, windows, span)
            ),
            durable=False,
            spare=True,
        )

    def remember(self, key: str, value: str, *, durable: bool = True) -> None:
        """Keep a switch, or what else is to outlive the process."""
        at = self._clock.wall_time()
        self.write(lambda _: self._rows.remember(key, value, at), durable=durable)

    def recall(self, key: str) -> tuple[str, float] | None:
        """What was remembered, and when; None for what never was."""
        find = "SELECT value, at FROM runtime WHERE key = ?"
        row = self.read(lambda c: c.execute(find, (key,)).fetchone())
        return None if row is None else (str(row[0]), float(row[1]))

    def keep(self, stop: threading.Event) -> None:
        """Delete what is old or too much, and copy the log into the file, until `stop`.

        And see whether a disk that took nothing does so again.
        """
        while not stop.is_set():
            until_s = self._clock.monotonic_s() + KEEP_EVERY_S
            while self.prune_step() and self._clock.monotonic_s() < until_s:
                if self._clock.wait(stop, _PAUSE_S):
                    break
            self.keep_log()
            self.keep_place()
            self.keep_reserve()
            if self._failing is not None:
                self.remember("store/tried", "")  # whether it still does
            self._clock.wait(stop, max(_PAUSE_S, until_s - self._clock.monotonic_s()))

    def prune_step(self) -> bool:
        """Delete a little; whether there was something to delete.

        Whoever writes waits for `STEP_S` and the commit at most: it ends when somebody waits.
        """
        until_s = self._clock.monotonic_s() + STEP_S

        def go_on() -> bool:
            return not self._lock.wanted and self._clock.monotonic_s() < until_s

        def prune(connection: sqlite3.Connection) -> bool:
            before = self._clock.wall_time() - self._limits.max_age_s
            texts_gone = self._pruning.texts_gone
            pruned = self._pruning.step(connection, before, self._limits.max_bytes, go_on)
            if self._pruning.texts_gone > texts_gone:
                self._rows.forget_texts()
            return pruned

        return bool(self.write(prune, durable=False)) or bool(
            self.read(lambda connection: shrink(connection, self._limits.max_bytes, go_on))
        )

    def keep_log(self) -> None:
        """Copy the log into the file, and begin it anew where it has grown long.

        SQLite does that by itself only when a write finds everything copied, which never comes
        while messages are put all the time: 350 MB in a minute (tests/daemon/test_slow_broker.py).
        """
        checkpoint(self.path)
        if log_bytes(self.path) > LOG_BYTES:
            with self._lock:  # what came since is little: whoever writes does not wait long
                checkpoint(self.path, "TRUNCATE")

    def keep_place(self) -> None:
        """Go on in the file system that is mounted there now, if it is another one."""
        with self._lock:
            opened = self._place.opened_anew(self._connection)
            if opened is not None:
                self._connection.close()
                self._use(opened)

    def keep_reserve(self) -> None:
        """Take the disk's reserve again, if there is room now."""
        if self._reserve is not None:
            with self._lock:
                self._reserve.restore()

    def close(self) -> None:
        """Leave a file that is whole without its log. Nothing may be called after this."""
        with self._lock:
            try:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                self._failed(error)
            self._connection.close()

    # Below: with the lock held.

    def _tried(self, work: Callable[[sqlite3.Connection], T], *, durable: bool, spare: bool) -> T:
        try:
            with self._transaction(durable=durable):
                return work(self._connection)
        except sqlite3.Error as error:
            room = self._reserve
            if spare or room is None or not is_full(error) or not room.release():
                raise
        with self._transaction(durable=durable):
            return work(self._connection)

    @contextmanager
    def _transaction(self, *, durable: bool) -> Iterator[None]:
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._rows.forget_texts()
            raise
        self._connection.execute("COMMIT")

    def _failed(self, error: sqlite3.Error) -> None:
        self.lost += 1
        if is_damage(error):
            self._connection.close()
            self._use(open_anew(self.path))
        elif self._failing is None:
            refused = why_not(self.path.parent)
            self._failing = (
                in_words(refused, "see store.path") if refused else f"{error}: look at the disk"
            )
            log.error(
                "store.failing",
                path=str(self.path),
                error=str(error),
                hint=f"events are still published; {self._failing}",
            )

    def _use(self, connection: sqlite3.Connection) -> None:
        self._connection, self._rows = connection, Rows(connection)
        self._place = Place(self.path)
