"""How is what the broker will not have kept, and tried again?

Knows the tables; no lock, no transaction and no link (`daemon.outbox` has them). `sqlite3.Error`
goes to the caller. Of all but alerts only the newest of a topic is kept.
"""

# ruff: noqa: S608 - only column names and conditions of this file are put into statements

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

from daemon.mqtt.refusals import TOO_LARGE, Refusal
from daemon.outbox_rows import KINDS, Gone, Row, bury, insert

MOST: Final = 10_000  # then the oldest is given up, and counted as dropped

_COLUMNS: Final = "id, rank, topic, payload, qos, retain, correlation, at, expires, tries"
_PACKET: Final = 32  # bytes of a packet besides topic and payload


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message that was set aside. Times are Unix seconds."""

    id: int
    kind: str
    topic: str
    num_bytes: int
    reason: str
    code: int | None
    tries: int
    refused: float
    again: float | None  # None: when somebody says so


def add(connection: sqlite3.Connection, queued_id: int, why: Refusal, now: float) -> Gone:
    """Move a message of the outbox here; what left the outbox."""
    found = connection.execute(
        "SELECT rank, topic, tries FROM outbox WHERE id = ?", (queued_id,)
    ).fetchone()
    if found is None:
        return Gone((), 0)
    rank, topic, tries = found
    if rank > 0:
        connection.execute("DELETE FROM dead_letters WHERE rank > 0 AND topic = ?", (topic,))
    again_s = why.again_s(tries + 1)
    connection.execute(
        f"INSERT INTO dead_letters ({_COLUMNS}, reason, code, refused, again)"
        " SELECT id, rank, topic, payload, qos, retain, correlation, at, expires, tries + 1,"
        " ?, ?, ?, CASE WHEN rank = 0 OR retain THEN ? END FROM outbox WHERE id = ?",
        (why.reason, why.code, now, None if again_s is None else now + again_s, queued_id),
    )
    return bury(connection, [queued_id])


def trim(connection: sqlite3.Connection) -> int:
    """Give up the oldest alerts where there are too many; how many."""
    cut = "SELECT id FROM dead_letters ORDER BY id DESC LIMIT -1 OFFSET ?"
    gone = connection.execute(f"DELETE FROM dead_letters WHERE id IN ({cut})", (MOST,))
    return gone.rowcount


def due(connection: sqlite3.Connection, now: float) -> list[Row]:
    """Move back to the outbox what is to be tried again by now."""
    return _back(connection, "again <= ?", now)


def on_connect(connection: sqlite3.Connection, max_packet: int | None) -> list[Row]:
    """Move back what a new link may take: rights and limits may have changed with it.

    Not what ends links: that waits for its time.
    """
    fits = f"code = {TOO_LARGE} AND length(topic) + length(payload) + {_PACKET} <= ?"
    which = f"code IS NOT NULL AND (again IS NOT NULL OR ({fits}))"
    return _back(connection, which, 2**31 if max_packet is None else max_packet)


def everything(connection: sqlite3.Connection) -> list[Row]:
    """Move all of them back."""
    return _back(connection, "? = 0", 0)


def drop(connection: sqlite3.Connection) -> int:
    """Delete all of them; how many."""
    return connection.execute("DELETE FROM dead_letters").rowcount


def listed(connection: sqlite3.Connection) -> list[DeadLetter]:
    """All of them, oldest first."""
    found = connection.execute(
        "SELECT id, rank, topic, length(payload), reason, code, tries, refused, again"
        " FROM dead_letters ORDER BY id"
    )
    return [DeadLetter(row[0], KINDS[row[1]], *row[2:]) for row in found]


def count(connection: sqlite3.Connection) -> int:
    """How many there are, those that are just being tried again included."""
    kept = connection.execute("SELECT count(*) FROM dead_letters").fetchone()[0]
    trying = connection.execute("SELECT count(*) FROM outbox WHERE tries > 0").fetchone()[0]
    return int(kept) + int(trying)


def next_at(connection: sqlite3.Connection) -> float | None:
    """When the next one is to be tried again."""
    found = connection.execute("SELECT min(again) FROM dead_letters").fetchone()[0]
    return None if found is None else float(found)


def _back(connection: sqlite3.Connection, which: str, given: float) -> list[Row]:
    found = connection.execute(
        f"SELECT {_COLUMNS} FROM dead_letters WHERE {which} ORDER BY id",
        (given,),
    ).fetchall()
    connection.execute(f"DELETE FROM dead_letters WHERE {which}", (given,))
    rows = [Row(*row) for row in found]
    insert(connection, rows)
    return rows
