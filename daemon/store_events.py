"""Which events and incidents were there?

Knows the tables, and only reads: each query on a connection of its own, so that nobody who writes
waits for a reader. The figures of tests/bench/bench_store.py hold for ten million observations.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from daemon.store_file import open_reader
from pipelines.errors import SmolwatchError
from pipelines.types import Severity

Json = dict[str, Any]

EVENTS_LIMIT: Final = 10_000
SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)  # from the least to the most


class NoWords(SmolwatchError):
    """There is nothing in it that could be searched for."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events or incidents are wanted; None for any."""

    camera: str | None = None
    rule: str | None = None
    search: str | None = None  # words that the event's text holds, all of them; not of incidents
    severity: Severity | None = None  # this or worse
    since: float = 0.0  # Unix seconds; of incidents that end, or still go on, after it
    until: float | None = None
    after: int = 0  # only events that were stored after this one
    before: int | None = None  # only events that were stored before this one
    limit: int = 100  # the newest ones


def events(path: Path, wanted: EventFilter) -> Iterator[tuple[int, Json]]:
    """The newest events that are wanted, oldest first, each with its number.

    Raises `sqlite3.Error`, and `NoWords`.
    """
    query, found = _events_query(wanted)
    with closing(open_reader(path)) as reader:
        rows = reader.execute(query, found).fetchall()
    for number, content in reversed(rows):
        yield int(number), json.loads(content)


def newest_event(path: Path) -> int:
    """The number of the newest event; 0 if there is none. Raises `sqlite3.Error`."""
    with closing(open_reader(path)) as reader:
        return int(reader.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0])


def incidents(path: Path, wanted: EventFilter) -> list[Json]:
    """The newest incidents that are wanted, oldest first. Raises `sqlite3.Error`."""
    conditions, found = ["coalesce(closed, :since) >= :since"], _asked(wanted)
    if wanted.until is not None:
        conditions.append("opened < :until")
    conditions += [f"{key} = :{key}" for key in ("camera", "rule") if found[key] is not None]
    if wanted.severity is not None:
        conditions.append(f"severity IN ({_this_or_worse(wanted.severity)})")
    columns = "incident_id, camera, rule, severity, opened, closed, score"
    query = f"SELECT {columns} FROM incidents WHERE {' AND '.join(conditions)}"  # noqa: S608
    query += " ORDER BY opened DESC LIMIT :limit"
    with closing(open_reader(path)) as reader:
        reader.row_factory = sqlite3.Row
        return [dict(row) for row in reversed(reader.execute(query, found).fetchall())]


def _events_query(wanted: EventFilter) -> tuple[str, Json]:
    """Only conditions that are wanted, so that SQLite sees which index helps."""
    found = _asked(wanted)
    tables, order, conditions = "events e", "e.id", ["e.id > :after"]
    if wanted.search is not None:
        tables = "descriptions_text JOIN events e ON e.description = descriptions_text.rowid"
        order = "descriptions_text.rowid"
        conditions.append("descriptions_text MATCH :search")
        found["search"] = _words(wanted.search)
    conditions += [f"e.{key} = :{key}" for key in ("camera", "rule") if found[key] is not None]
    if wanted.severity is not None:
        worse = _this_or_worse(wanted.severity)
        conditions.append(f"json_extract(e.content, '$.severity') IN ({worse})")
    if wanted.before is not None:
        conditions.append("e.id < :before")
    if wanted.since > 0:
        conditions.append("e.at >= :since")
    if wanted.until is not None:
        conditions.append("e.at < :until")
    query = f"SELECT e.id, e.content FROM {tables} WHERE {' AND '.join(conditions)}"  # noqa: S608
    return f"{query} ORDER BY {order} DESC LIMIT :limit", found


def _asked(wanted: EventFilter) -> Json:
    return {
        "camera": wanted.camera, "rule": wanted.rule, "since": wanted.since, "until": wanted.until,
        "after": wanted.after, "before": wanted.before, "limit": min(wanted.limit, EVENTS_LIMIT),
    }  # fmt: skip


def _this_or_worse(severity: Severity) -> str:
    """For SQL; the words are our own."""
    return ", ".join(f"'{worse}'" for worse in SEVERITIES[SEVERITIES.index(severity) :])


def _words(search: str) -> str:
    """In quotes, so that no word is taken for one of FTS5's operators."""
    words = [word for word in search.replace("\0", " ").split() if any(map(str.isalnum, word))]
    if not words:
        raise NoWords(f"there is no word in '{search}': search for one that a description holds")
    return " ".join('"' + word.replace('"', '""') + '"' for word in words)
