"""What is deleted, and in which order?

Knows the tables and the limits' meaning; no lock and no thread. Every function does a small step,
so that whoever waits for the connection waits for milliseconds (tests/bench/bench_store.py).
"""

from __future__ import annotations

import math
import sqlite3
from typing import Final

STEP_ROWS: Final = 200  # deleted at once
_PAGES: Final = 256  # given back to the file system at once

# In the order in which they are given up where there is too much. Rows come in the order of their
# time, so only the oldest need be looked at. An open incident has no end and stays.
_DELETIONS: Final = (
    """DELETE FROM observations WHERE ended < ? AND id IN
       (SELECT id FROM observations ORDER BY id LIMIT ?)""",
    "DELETE FROM spans WHERE ended < ? AND id IN (SELECT id FROM spans ORDER BY id LIMIT ?)",
    """DELETE FROM descriptions WHERE ended < ? AND id IN
       (SELECT id FROM descriptions ORDER BY id LIMIT ?)""",
    "DELETE FROM digests WHERE until < ? AND id IN (SELECT id FROM digests ORDER BY id LIMIT ?)",
    "DELETE FROM events WHERE at < ? AND id IN (SELECT id FROM events ORDER BY id LIMIT ?)",
    """DELETE FROM incidents WHERE closed < ? AND incident_id IN
       (SELECT incident_id FROM incidents ORDER BY opened LIMIT ?)""",
)


def delete_old(connection: sqlite3.Connection, before: float) -> int:
    """Delete up to `STEP_ROWS` rows of each table from before then (Unix seconds); how many."""
    return sum(connection.execute(one, (before, STEP_ROWS)).rowcount for one in _DELETIONS)


def delete_oldest(connection: sqlite3.Connection) -> int:
    """Delete the oldest rows of the first table that has any; events come last."""
    for one in _DELETIONS:
        gone = connection.execute(one, (math.inf, STEP_ROWS)).rowcount
        if gone:
            return gone
    return 0


def used_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the file that hold something."""
    pages, free, size = _sizes(connection)
    return (pages - free) * size


def shrink(connection: sqlite3.Connection, max_bytes: int) -> bool:
    """Give a few free pages back where the file is bigger than that; whether it did.

    Not within a transaction. Below the limit free pages stay, to be written again.
    """
    pages, free, size = _sizes(connection)
    if not free or pages * size <= max_bytes:
        return False
    connection.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
    return True


def _sizes(connection: sqlite3.Connection) -> tuple[int, int, int]:
    names = ("page_count", "freelist_count", "page_size")
    pages, free, size = (connection.execute(f"PRAGMA {n}").fetchone()[0] for n in names)
    return int(pages), int(free), int(size)
