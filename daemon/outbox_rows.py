"""How do messages that wait for the broker become rows?

Knows the tables; no lock, no transaction and no link: whoever calls has them (`daemon.outbox`).
`sqlite3.Error` goes to the caller. What leaves the outbox and is retained is kept in `retained`,
so that a broker without its memory can be told again.
"""

# ruff: noqa: S608 - only column names and conditions of this file are put into statements

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from daemon.mqtt.payloads import Kind, Message, as_replay

KINDS: Final[tuple[Kind, ...]] = ("alert", "state", "description")  # by rank: who goes first
RANKS: Final[dict[Kind, int]] = {kind: rank for rank, kind in enumerate(KINDS)}
SENT_KEPT: Final = 20  # more are not told once more

_COLUMNS: Final = "id, rank, topic, payload, qos, retain, correlation, at, expires, tries"


class Row(NamedTuple):
    """A message as it is kept. Its columns are those of `outbox`, in their order."""

    id: int
    rank: int
    topic: str
    payload: bytes
    qos: Literal[0, 1]
    retain: bool
    correlation: bytes | None
    at: float
    expires: float | None
    tries: int = 0

    @property
    def message(self) -> Message:
        """The message itself."""
        return Message(
            self.topic, self.payload, self.qos, bool(self.retain), KINDS[self.rank],
            self.correlation,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gone:
    """What left the outbox."""

    kinds: tuple[Kind, ...]
    num_bytes: int


def newest_id(connection: sqlite3.Connection) -> int:
    """The greatest number that was ever given out and can still be found; 0 for none."""
    tables = ("outbox", "dead_letters", "retained", "sent")
    newest = (connection.execute(f"SELECT max(id) FROM {one}").fetchone()[0] for one in tables)
    return max(int(found or 0) for found in newest)


def oldest_at(connection: sqlite3.Connection) -> float | None:
    """Since when the oldest waits."""
    found = connection.execute("SELECT at FROM outbox ORDER BY id LIMIT 1").fetchone()
    return None if found is None else float(found[0])


def insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Append."""
    connection.executemany(
        f"INSERT INTO outbox ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
    )


def among(connection: sqlite3.Connection, ids: Collection[int]) -> set[int]:
    """Which of these ids wait here."""
    find = "SELECT id FROM outbox WHERE id IN (SELECT value FROM json_each(?))"
    return {int(found) for (found,) in connection.execute(find, (_list(ids),))}


def overtaken(connection: sqlite3.Connection, topic: str, flying: Collection[int]) -> Gone:
    """Delete the states of a topic that still wait: a newer one takes their place."""
    which = "rank = 1 AND topic = ? AND id NOT IN (SELECT value FROM json_each(?))"
    return _deleted(connection, which, (topic, _list(flying)))


def take(connection: sqlite3.Connection, most: int, flying: Collection[int]) -> list[Row]:
    """The next to be sent: alerts first, and oldest first among their kind."""
    found = connection.execute(
        f"SELECT {_COLUMNS} FROM outbox WHERE id NOT IN (SELECT value FROM json_each(?))"
        " ORDER BY rank, id LIMIT ?",
        (_list(flying), most),
    )
    return [Row(*row) for row in found]


def accepted(connection: sqlite3.Connection, ids: Collection[int], at: float) -> Gone:
    """The broker has these: delete them, and note what may have to be told once more."""
    these = _list(ids)
    noted = connection.execute(
        "INSERT OR REPLACE INTO sent (id, topic, payload, at)"
        " SELECT id, topic, payload, ? FROM outbox"
        " WHERE rank = 0 AND NOT retain AND id IN (SELECT value FROM json_each(?))",
        (at, these),
    )
    if noted.rowcount:
        connection.execute(
            "DELETE FROM sent WHERE id NOT IN (SELECT id FROM sent ORDER BY id DESC LIMIT ?)",
            (SENT_KEPT,),
        )
    # A refused older one of a retained topic has nothing to say any more.
    connection.execute(
        "DELETE FROM dead_letters WHERE retain AND EXISTS (SELECT 1 FROM outbox o"
        " WHERE o.topic = dead_letters.topic AND o.id > dead_letters.id AND o.retain"
        " AND o.id IN (SELECT value FROM json_each(?)))",
        (these,),
    )
    return forget(connection, ids)


def forget(connection: sqlite3.Connection, ids: Collection[int]) -> Gone:
    """Delete; what is retained is remembered."""
    return _left(connection, "id IN (SELECT value FROM json_each(?))", (_list(ids),))


def bury(connection: sqlite3.Connection, ids: Collection[int]) -> Gone:
    """Delete without a memory: they are kept elsewhere."""
    return _deleted(connection, "id IN (SELECT value FROM json_each(?))", (_list(ids),))


def expire(connection: sqlite3.Connection, now: float, flying: Collection[int]) -> Gone:
    """Delete what nobody wants any more."""
    which = "expires < ? AND id NOT IN (SELECT value FROM json_each(?))"
    return _left(connection, which, (now, _list(flying)))


def give_way(connection: sqlite3.Connection, num_bytes: int, flying: Collection[int]) -> Gone:
    """Delete so many bytes: the oldest descriptions first, then states; alerts never."""
    victims: list[int] = []
    found = connection.execute(
        "SELECT id, length(payload) FROM outbox WHERE rank > 0"
        " AND id NOT IN (SELECT value FROM json_each(?)) ORDER BY rank DESC, id",
        (_list(flying),),
    )
    for victim, size in found:
        if num_bytes <= 0:
            break
        victims.append(victim)
        num_bytes -= size
    return forget(connection, victims)


def retained(connection: sqlite3.Connection) -> list[Message]:
    """The newest retained message of each topic of which none waits, oldest first."""
    found = connection.execute(
        "SELECT topic, payload, qos FROM retained r"
        " WHERE NOT EXISTS (SELECT 1 FROM outbox o WHERE o.topic = r.topic AND o.retain)"
        " ORDER BY id"
    )
    return [Message(topic, payload, qos, True, "state") for topic, payload, qos in found]  # noqa: FBT003 - retain


def retained_topics(connection: sqlite3.Connection) -> list[str]:
    """Where something is, or is about to be, retained."""
    found = connection.execute(
        "SELECT topic FROM retained UNION SELECT topic FROM outbox WHERE retain"
        " UNION SELECT topic FROM dead_letters WHERE retain"
    )
    return [str(topic) for (topic,) in found]


def again(
    connection: sqlite3.Connection, since: float, ids: Iterator[int], now: float
) -> list[Row]:
    """Move the alerts that were sent since then back, marked as told once more."""
    found = connection.execute(
        "SELECT id, topic, payload FROM sent WHERE at >= ? ORDER BY id", (since,)
    ).fetchall()
    rows = [
        Row(next(ids), 0, topic, as_replay(payload), 1, False, None, now, None)  # noqa: FBT003 - retain
        for _, topic, payload in found
    ]
    these = _list([old for old, _, _ in found])
    connection.execute("DELETE FROM sent WHERE id IN (SELECT value FROM json_each(?))", (these,))
    insert(connection, rows)
    return rows


def rescue(source: sqlite3.Connection, into: sqlite3.Connection) -> int:
    """Copy what can be read of a damaged file's outbox, and is not there yet; how many messages."""
    rows: list[Row] = []
    with suppress(sqlite3.Error):  # as far as it goes
        rows.extend(Row(*row) for row in source.execute(f"SELECT {_COLUMNS} FROM outbox"))
    there = {found for (found,) in into.execute("SELECT id FROM outbox")}
    missing = [row for row in rows if row.id not in there]
    with into:
        insert(into, missing)
    return len(missing)


def _left(connection: sqlite3.Connection, which: str, given: tuple[object, ...]) -> Gone:
    # An empty payload says that nothing is retained there (MQTT 5, 3.3.1.3).
    kept = connection.execute(
        "INSERT INTO retained (topic, id, payload, qos) SELECT topic, id, payload, qos FROM outbox"
        f" WHERE retain AND {which} ORDER BY id"
        " ON CONFLICT (topic) DO UPDATE SET id = excluded.id, payload = excluded.payload,"
        " qos = excluded.qos WHERE excluded.id > retained.id",
        given,
    )
    if kept.rowcount:
        connection.execute("DELETE FROM retained WHERE length(payload) = 0")
    return _deleted(connection, which, given)


def _deleted(connection: sqlite3.Connection, which: str, given: tuple[object, ...]) -> Gone:
    gone = connection.execute(
        f"DELETE FROM outbox WHERE {which} RETURNING rank, length(payload)",
        given,
    ).fetchall()
    return Gone(tuple(KINDS[rank] for rank, _ in gone), sum(size for _, size in gone))


def _list(ids: Collection[int]) -> str:
    return json.dumps(list(ids))
