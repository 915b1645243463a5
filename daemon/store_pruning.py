"""What is deleted, and in which order?

Knows the tables and the limits' meaning; no lock and no thread. Every step is short, however slow
the disk is: it deletes a few rows at a time and asks before each few whether it may go on.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from typing import Final

FEW_ROWS: Final = 20  # of one statement: under a millisecond where the pages are in memory
_MOST_STATEMENTS: Final = 50  # of one step
_FEW_PAGES: Final = 16  # given back to the file system at once

# A text says in `last` which observation used it, as of the last time that somebody looked, which
# is at most so many observations ago (`daemon.store_rows`).
TEXT_GRAIN: Final = 1000

# In the order in which they are given up where there is too much. Rows come in the order of their
# time, so only the oldest need be looked at. An open incident has no end and stays.
_DELETIONS: Final = (
    """DELETE FROM texts WHERE id IN
       (SELECT id FROM texts WHERE last < (SELECT min(id) FROM observations) - :grain
        ORDER BY last LIMIT :few)""",
    """DELETE FROM observations WHERE ended < :before AND id IN
       (SELECT id FROM observations ORDER BY id LIMIT :few)""",
    """DELETE FROM spans WHERE ended < :before AND id IN
       (SELECT id FROM spans ORDER BY id LIMIT :few)""",
    """DELETE FROM descriptions WHERE ended < :before AND id IN
       (SELECT id FROM descriptions ORDER BY id LIMIT :few)""",
    """DELETE FROM digests WHERE until < :before AND id IN
       (SELECT id FROM digests ORDER BY id LIMIT :few)""",
    """DELETE FROM events WHERE at < :before AND id IN
       (SELECT id FROM events ORDER BY id LIMIT :few)""",
    """DELETE FROM incidents WHERE closed < :before AND incident_id IN
       (SELECT incident_id FROM incidents WHERE closed IS NOT NULL ORDER BY opened LIMIT :few)""",
)

GoOn = Callable[[], bool]


class Pruning:
    """Remembers whose turn it is, so that no table waits for another one's rows.

    `texts_gone` counts rows of `texts`, which others remember by their numbers.
    """

    def __init__(self) -> None:
        self.texts_gone = 0
        self._turn = 0

    def step(
        self, connection: sqlite3.Connection, before: float, max_bytes: int, go_on: GoOn
    ) -> bool:
        """Delete rows of one table: those from before then (Unix seconds); False if there are none.

        Where nothing is old and there is more than `max_bytes`, the oldest go, events last.
        """
        for _ in _DELETIONS:
            turn, self._turn = self._turn, (self._turn + 1) % len(_DELETIONS)
            gone = _delete(connection, _DELETIONS[turn], before, go_on)
            self.texts_gone += gone if turn == 0 else 0
            if gone:
                return True
        if used_bytes(connection) <= max_bytes:
            return False
        return any(_delete(connection, one, math.inf, go_on) for one in _DELETIONS[1:])


def _delete(connection: sqlite3.Connection, statement: str, before: float, go_on: GoOn) -> int:
    asked = {"before": before, "few": FEW_ROWS, "grain": TEXT_GRAIN}
    gone = 0
    for _ in range(_MOST_STATEMENTS):
        few = connection.execute(statement, asked).rowcount
        gone += few
        if few < FEW_ROWS or not go_on():
            break
    return gone


def used_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the file that hold something."""
    pages, free, size = _sizes(connection)
    return (pages - free) * size


def shrink(connection: sqlite3.Connection, max_bytes: int, go_on: GoOn) -> bool:
    """Give a few free pages back where the file is bigger than that; whether it did.

    Not within a transaction. Below the limit free pages stay, to be written again.
    """
    for given in range(_MOST_STATEMENTS):
        pages, free, size = _sizes(connection)
        if not free or pages * size <= max_bytes:
            return given > 0
        connection.execute(f"PRAGMA incremental_vacuum({_FEW_PAGES})").fetchall()
        if not go_on():
            break
    return True


def _sizes(connection: sqlite3.Connection) -> tuple[int, int, int]:
    names = ("page_count", "freelist_count", "page_size")
    pages, free, size = (connection.execute(f"PRAGMA {n}").fetchone()[0] for n in names)
    return int(pages), int(free), int(size)
