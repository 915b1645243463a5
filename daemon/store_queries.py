"""What does the store say about a moment, and which events were there?

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
from typing import Any, Final

from daemon.store_file import open_reader

Json = dict[str, Any]

AROUND_S: Final = 60.0  # a window that spans a moment ends at most so long after it
_WINDOWS: Final = 50
EVENTS_LIMIT: Final = 10_000

_OBSERVATION: Final = """
SELECT o.id, o.started, o.ended, q.text, o.answers, v.text, m.text, d.text
FROM observations o JOIN texts q ON q.id = o.questions JOIN texts v ON v.id = o.verdicts
JOIN texts m ON m.id = o.model LEFT JOIN descriptions d ON d.id = o.description
"""
_SPANNING: Final = (
    _OBSERVATION
    + "WHERE o.camera = ? AND o.ended BETWEEN ? AND ? AND o.started <= ? ORDER BY o.ended LIMIT ?"
)
_BEFORE: Final = _OBSERVATION + "WHERE o.camera = ? AND o.ended < ? ORDER BY o.ended DESC LIMIT 1"
_AFTER: Final = _OBSERVATION + "WHERE o.camera = ? AND o.ended > ? ORDER BY o.ended LIMIT 1"
# A stretch may be long, and those of one camera do not overlap by more than a life of the daemon:
# the few that end first after the moment are enough.
_SPANS: Final = """
SELECT cause, detail, started, ended, windows FROM
  (SELECT * FROM spans WHERE camera = ? AND ended >= ? ORDER BY ended LIMIT 4)
WHERE started <= ?
"""
_INCIDENTS: Final = """
SELECT incident_id, rule, severity, opened, closed, score FROM incidents
WHERE camera = ? AND opened <= ? AND (closed IS NULL OR closed >= ?) ORDER BY opened
"""
_EVENTS: Final = """
SELECT id, content FROM events
WHERE (:camera IS NULL OR camera = :camera) AND (:rule IS NULL OR rule = :rule)
  AND at >= :since AND id > :after ORDER BY id DESC LIMIT :limit
"""
_SEARCH: Final = """
SELECT e.id, e.content
FROM descriptions_text JOIN events e ON e.description = descriptions_text.rowid
WHERE descriptions_text MATCH :search
  AND (:camera IS NULL OR e.camera = :camera) AND (:rule IS NULL OR e.rule = :rule)
  AND e.at >= :since AND e.id > :after ORDER BY descriptions_text.rowid DESC LIMIT :limit
"""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are wanted; None for any."""

    camera: str | None = None
    rule: str | None = None
    search: str | None = None  # words that the event's text holds, all of them
    since: float = 0.0  # Unix seconds
    after: int = 0  # only events that were stored after this one
    limit: int = 100  # the newest ones


def why(path: Path, camera: str, at: float) -> Json:
    """All that is known of a camera's moment (Unix seconds).

    Keys: `windows` that span it, oldest first; `spans` without windows; `incidents` that were
    open; and, where no window spans it, those `before` and `after`. Raises `sqlite3.Error`.
    """
    with closing(open_reader(path)) as reader:
        rows = reader.execute(_SPANNING, (camera, at, at + AROUND_S, at, _WINDOWS)).fetchall()
        keys = ("cause", "detail", "started", "ended", "windows")
        spans = reader.execute(_SPANS, (camera, at, at)).fetchall()
        opened = ("incident_id", "rule", "severity", "opened", "closed", "score")
        incidents = reader.execute(_INCIDENTS, (camera, at + 1.0, at)).fetchall()
        return {
            "camera": camera,
            "at": at,
            "windows": [_window(row) for row in rows],
            "spans": [dict(zip(keys, span, strict=True)) for span in spans],
            "incidents": [dict(zip(opened, incident, strict=True)) for incident in incidents],
            "before": None if rows else _one(reader, _BEFORE, camera, at),
            "after": None if rows else _one(reader, _AFTER, camera, at),
        }


def events(path: Path, wanted: EventFilter) -> Iterator[tuple[int, Json]]:
    """The newest events that are wanted, oldest first, each with its number.

    Raises `sqlite3.Error`.
    """
    found = {
        "camera": wanted.camera, "rule": wanted.rule, "since": wanted.since,
        "after": wanted.after, "limit": min(wanted.limit, EVENTS_LIMIT),
    }  # fmt: skip
    with closing(open_reader(path)) as reader:
        if wanted.search is None:
            rows = reader.execute(_EVENTS, found).fetchall()
        else:
            # In quotes, so that no word is taken for one of FTS5's operators.
            words = ['"' + word.replace('"', '""') + '"' for word in wanted.search.split()]
            rows = reader.execute(_SEARCH, {**found, "search": " ".join(words)}).fetchall()
    for number, content in reversed(rows):
        yield int(number), json.loads(content)


def _one(reader: sqlite3.Connection, query: str, camera: str, at: float) -> Json | None:
    row = reader.execute(query, (camera, at)).fetchone()
    return None if row is None else _window(row)


def _window(row: tuple[Any, ...]) -> Json:
    _, started, ended, questions, answers, verdicts, model, description = row
    return {
        "started": started,
        "ended": ended,
        "answers": dict(zip(json.loads(questions), json.loads(answers), strict=True)),
        "rules": json.loads(verdicts),
        "description": description,
        "model": model,
    }
