"""What does the store know of a camera's hour or day, and how is what was told of it kept?

Knows the tables. Reads on a connection of its own, and writes through the caller's.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from daemon.store_file import open_reader
from pipelines.summary import Note

MOST_NOTES: Final = 5000  # a description every 17 s of a day; more are thinned out evenly

_INCIDENTS: Final = """
SELECT rule, opened, closed FROM incidents
WHERE opened >= :since AND opened < :until AND camera = :camera ORDER BY opened
"""
_HOW_MANY: Final = """
SELECT count(*) FROM descriptions WHERE camera = :camera AND ended >= :since AND ended < :until
"""
_WORDS: Final = """
SELECT ended, text FROM
  (SELECT ended, text, row_number() OVER (ORDER BY ended) AS number FROM descriptions
   WHERE camera = :camera AND ended >= :since AND ended < :until)
WHERE number % :nth = 0 ORDER BY ended
"""
_BLIND: Final = """
SELECT total(min(ended, :until) - max(started, :since)) FROM spans
WHERE camera = :camera AND ended > :since AND started < :until AND cause NOT IN ('quiet', 'busy')
"""
_NEWEST: Final = "SELECT content FROM digests WHERE camera = ? ORDER BY until DESC LIMIT 1"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is stored of one camera from `since` to `until` (Unix seconds)."""

    camera: str
    since: float
    until: float
    incidents: Mapping[str, int]  # by rule: how many opened
    words: tuple[Note, ...]  # descriptions, oldest first
    alerts: tuple[Note, ...]  # incidents in words, oldest first
    descriptions: int
    blind_s: float  # in which nobody looked


def facts(path: Path, camera: str, since: float, until: float) -> Facts:
    """Read them. Raises `sqlite3.Error`."""
    asked = {"camera": camera, "since": since, "until": until}
    with closing(open_reader(path)) as reader:
        incidents = reader.execute(_INCIDENTS, asked).fetchall()
        described = int(reader.execute(_HOW_MANY, asked).fetchone()[0])
        nth = -(-described // MOST_NOTES) or 1
        words = reader.execute(_WORDS, {**asked, "nth": nth}).fetchall()
        blind_s = float(reader.execute(_BLIND, asked).fetchone()[0])
    counts: dict[str, int] = {}
    for rule, _, _ in incidents:
        counts[rule] = counts.get(rule, 0) + 1
    alerts = tuple(
        Note(opened, min(until, closed or opened), f"Alert: {rule.replace('_', ' ')}.")
        for rule, opened, closed in incidents[:MOST_NOTES]
    )
    told = tuple(Note(ended, ended, text) for ended, text in words)
    return Facts(camera, since, until, counts, told, alerts, described, blind_s)


def keep_digest(
    connection: sqlite3.Connection,
    camera: str,
    stretch: tuple[float, float],
    content: Mapping[str, object],
    at: float,
) -> None:
    """Keep a digest as it is told, and until when it has been (`told_key`). `at`: Unix seconds."""
    connection.execute(
        "INSERT INTO digests (camera, since, until, content) VALUES (?, ?, ?, ?)",
        (camera, *stretch, json.dumps(content, ensure_ascii=False)),
    )
    connection.execute(
        "INSERT OR REPLACE INTO runtime (key, value, at) VALUES (?, ?, ?)",
        (told_key(camera), repr(stretch[1]), at),
    )


def told_key(camera: str) -> str:
    """Under which the end of the newest digest's time is remembered."""
    return f"digest/{camera}"


def newest_digest(path: Path, camera: str) -> dict[str, Any] | None:
    """The last one that was told on schedule, as it was told. Raises `sqlite3.Error`."""
    with closing(open_reader(path)) as reader:
        row: sqlite3.Row | None = reader.execute(_NEWEST, (camera,)).fetchone()
    return None if row is None else json.loads(row[0])
