"""What does the store say about a moment?

Knows the tables, and only reads: each query on a connection of its own, so that nobody who writes
waits for a reader. The figures of tests/bench/bench_store.py hold for ten million observations.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from daemon.store_file import open_reader

Json = dict[str, Any]

AROUND_S: Final = 60.0  # a window that spans a moment ends at most so long after it
_WINDOWS: Final = 50

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
