"""How does what was told become rows?

Knows the tables, and no transaction: the caller begins and ends it (`daemon.store`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

from daemon.store_pruning import TEXT_GRAIN
from pipelines.types import Event, Observation, Outcome

Content = Mapping[str, object]

_TEXTS_KEPT: Final = 4096


class Rows:
    """Writes rows through one connection. `sqlite3.Error` goes to the caller."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._texts: dict[str, tuple[int, int]] = {}  # row, and what it says in `last`
        newest = connection.execute("SELECT max(id) FROM observations").fetchone()[0]
        self._observation: int = newest or 0  # the newest one's row

    def forget_texts(self) -> None:
        """After a rollback, which may have taken some back with it, or after some were deleted."""
        self._texts.clear()

    def record(self, told: Outcome, contents: Sequence[Content], at: float) -> None:
        """Write one look's observation, events, incidents and memory; `at` is Unix time.

        `contents`: the events as they are published, in their order.
        """
        description = None
        if told.observation is not None:
            description = self._insert_observation(told.observation, told.verdicts)
        for event, content in zip(told.events, contents, strict=True):
            self._insert_event(event, content, description)
        if told.memory is not None:
            self.remember(f"rules/{told.camera}", told.memory, at)

    def _insert_observation(self, seen: Observation, verdicts: Mapping[str, str]) -> int | None:
        description = None
        if seen.description is not None:
            description = self.connection.execute(
                "INSERT INTO descriptions (camera, ended, text) VALUES (?, ?, ?)",
                (seen.camera, seen.wall_time, seen.description),
            ).lastrowid
        spent = seen.timings
        parts = (spent.queue_ms, spent.encode_ms, spent.prefill_ms, spent.decode_ms)
        written = self.connection.execute(
            "INSERT INTO observations (camera, started, ended, questions, answers, verdicts,"
            " timings, model, description) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                seen.camera,
                seen.wall_time - (seen.end_s - seen.start_s),
                seen.wall_time,
                self._text(_json(list(seen.answers))),
                _json([round(p_yes, 4) for p_yes in seen.answers.values()]),
                self._text(_json(dict(verdicts))),
                _json([round(part, 1) for part in parts]),
                self._text(seen.model_id),
                description,
            ),
        )
        self._observation = written.lastrowid or 0
        return description

    def _insert_event(self, event: Event, content: Content, description: int | None) -> None:
        told = self.connection.execute
        told(
            "INSERT INTO events (event_id, incident_id, event_type, camera, rule, at, description,"
            " content) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                event.event_id, event.incident_id, event.event_type, event.camera, event.rule,
                event.wall_time, None if event.text is None else description, _json(content),
            ),
        )  # fmt: skip
        if event.event_type == "rule_match":
            told(
                "INSERT INTO incidents (incident_id, camera, rule, severity, opened, score)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (
                    event.incident_id, event.camera, event.rule, event.severity, event.wall_time,
                    event.score,
                ),
            )  # fmt: skip
        elif event.event_type == "rule_clear":
            told(
                "UPDATE incidents SET closed = ? WHERE incident_id = ?",
                (event.wall_time, event.incident_id),
            )

    def remember(self, key: str, value: str, at: float) -> None:
        """Put a value in the place of an older one."""
        self.connection.execute(
            "INSERT OR REPLACE INTO runtime (key, value, at) VALUES (?, ?, ?)",
            (key, value, at),
        )

    def _text(self, text: str) -> int:
        """The row of a text that comes again and again, for the observation that comes next."""
        now = self._observation + 1
        known = self._texts.get(text)
        if known is not None and 0 <= now - known[1] < TEXT_GRAIN:
            return known[0]
        row = int(
            self.connection.execute(
                "INSERT INTO texts (text, last) VALUES (?, ?)"
                " ON CONFLICT (text) DO UPDATE SET last = excluded.last RETURNING id",
                (text, now),
            ).fetchone()[0]
        )
        if len(self._texts) >= _TEXTS_KEPT:
            self._texts.clear()
        self._texts[text] = row, now
        return row


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
