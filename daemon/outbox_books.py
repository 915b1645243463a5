"""On disk or in memory: where are the messages that wait, and how much is there of them?

Knows the tables' migrations, and no table. Two books with the same tables: the store's, and one in
memory for what a full or broken disk will not take, or for a daemon without a store.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol, TypeVar

from daemon.outbox_rows import RANKS, Gone, Row, among, bury, insert, take
from daemon.store_schema import migrate

T = TypeVar("T")

_AT_ONCE: Final = 500  # messages that are moved in one go
_FEWEST_PAGES: Final = 64  # that the empty tables and a message fit into


class Book(Protocol):
    """What keeps the tables. None: it could not."""

    def write(
        self, work: Callable[[sqlite3.Connection], T], *, durable: bool, spare: bool = False
    ) -> T | None:
        """Do it whole or not at all. `spare`: not if the disk is about to be full."""
        ...

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Ask."""
        ...


class MemoryBook:
    """Tables of at most `max_bytes`, gone with the process. For one thread at a time."""

    def __init__(self, max_bytes: int) -> None:
        self._connection = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False
        )
        migrate(self._connection)
        page_bytes = int(self._connection.execute("PRAGMA page_size").fetchone()[0])
        pages = max(_FEWEST_PAGES, max_bytes // page_bytes)
        self._connection.execute(f"PRAGMA max_page_count = {pages}")

    def write(
        self,
        work: Callable[[sqlite3.Connection], T],
        *,
        durable: bool,  # noqa: ARG002 - no disk
        spare: bool = False,  # noqa: ARG002
    ) -> T | None:
        """Do it whole or not at all; None where there is no room."""
        self._connection.execute("BEGIN")
        try:
            done = work(self._connection)
        except sqlite3.OperationalError:  # full
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            return None
        self._connection.execute("COMMIT")
        return done

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Ask."""
        return work(self._connection)


class Books:
    """The store's book, if there is one, and memory's; and what waits in both together.

    For one thread at a time. `pending` and `num_bytes` are of the payloads that wait.
    """

    def __init__(self, store: Book | None, memory_bytes: int) -> None:
        self._memory = MemoryBook(memory_bytes)
        self._all: tuple[Book, ...] = (self._memory,) if store is None else (store, self._memory)
        self._used: tuple[Book, ...] = self._all[
            :1
        ]  # memory beside a store only once it was needed
        self.on_disk = store is not None
        totals = self.ask(_total)
        self.pending = sum(count for count, _ in totals)
        self.num_bytes = sum(size for _, size in totals)

    @property
    def in_memory(self) -> int:
        """How many messages, dead letters among them, a crash would lose."""
        return 0 if self._memory not in self._used else (self._memory.read(_held) or 0)

    def in_memory_of(self, ids: Collection[int]) -> set[int]:
        """Which of these messages wait in memory."""
        if self._memory not in self._used:
            return set()
        return self._memory.read(lambda c: among(c, ids)) or set()

    def put(self, rows: Sequence[Row], write: Callable[[sqlite3.Connection], T]) -> bool:
        """Have the first book that can `write` them."""
        urgent = any(row.rank == RANKS["alert"] for row in rows)
        for number, book in enumerate(self._all, start=1):
            if book.write(write, durable=urgent, spare=not urgent) is not None:
                self._used = self._all[: max(number, len(self._used))]
                self.count_in(rows)
                return True
        return False

    def bring_home(self) -> None:
        """Move some of what the disk would not take before to the disk, if it takes it now."""
        if not self.on_disk or self._memory not in self._used:
            return
        rows = self._memory.read(lambda c: take(c, _AT_ONCE, ())) or []

        def move(connection: sqlite3.Connection) -> list[Row]:
            insert(connection, rows)
            return rows

        if rows and self._all[0].write(move, durable=True):
            ids = [row.id for row in rows]
            self._memory.write(lambda c: bury(c, ids), durable=False)

    def ask(self, work: Callable[[sqlite3.Connection], T | None]) -> list[T]:
        """What each book says, but for None."""
        return [said for book in self._used if (said := book.read(work)) is not None]

    def delete(self, work: Callable[[sqlite3.Connection], Gone]) -> tuple[list[Gone], bool]:
        """Have rows leave each book; what did, and whether all books could."""
        gone = [book.write(work, durable=False) for book in self._used]
        left = [one for one in gone if one is not None]
        for one in left:
            self.count_out(one)
        return left, len(left) == len(gone)

    def bring(self, work: Callable[[sqlite3.Connection], list[Row]]) -> int:
        """Have rows of other tables join those that wait; how many did."""
        brought = 0
        for book in self._used:
            rows = book.write(work, durable=True) or []
            self.count_in(rows)
            brought += len(rows)
        return brought

    def change(self, work: Callable[[sqlite3.Connection], int]) -> int:
        """Change other tables; the sum of what each book says."""
        return sum(book.write(work, durable=True) or 0 for book in self._used)

    def count_in(self, rows: Sequence[Row]) -> None:
        """These wait now."""
        self.pending += len(rows)
        self.num_bytes += sum(len(row.payload) for row in rows)

    def count_out(self, gone: Gone) -> None:
        """These do not any more."""
        self.pending -= len(gone.kinds)
        self.num_bytes -= gone.num_bytes


def _held(connection: sqlite3.Connection) -> int:
    tables = "(SELECT count(*) FROM outbox) + (SELECT count(*) FROM dead_letters)"
    return int(connection.execute(f"SELECT {tables}").fetchone()[0])


def _total(connection: sqlite3.Connection) -> tuple[int, int]:
    count, size = connection.execute(
        "SELECT count(*), coalesce(sum(length(payload)), 0) FROM outbox"
    ).fetchone()
    return int(count), int(size)
