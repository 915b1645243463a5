"""What did the model answer about a camera's past?

Knows the tables, and only reads, a page at a time: a week is hundreds of thousands of rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from daemon.reporter import AWAY_S
from daemon.store_file import open_reader

Json = dict[str, Any]
PAGE: Final = 5000  # 40 ms of reading and half a megabyte of answer

_LOOKS: Final = """
SELECT o.id, o.started, o.ended, q.text, o.answers, d.text, m.text
FROM observations o JOIN texts q ON q.id = o.questions JOIN texts m ON m.id = o.model
LEFT JOIN descriptions d ON d.id = o.description
WHERE o.camera = ? AND o.ended >= ? AND (o.ended, o.id) > (?, ?)
ORDER BY o.ended, o.id LIMIT ?
"""
_BREAKS: Final = """
SELECT cause, detail, started, ended FROM spans
WHERE camera = ? AND ended >= ? AND cause IN ('away', 'not running', 'disabled') ORDER BY ended
"""


@dataclass(frozen=True, slots=True)
class Page:
    """Where to read on; `after` is the last row that was read: its end and its number."""

    camera: str
    since: float  # Unix seconds
    questions: Sequence[str]
    after: tuple[float, int] = (0.0, 0)


def looks(path: Path, page: Page) -> Iterator[Json]:
    """Rows as `{"look": [id, started, ended, [p_yes or None], description, model]}`.

    Answers are in the order of `questions`. Fewer than `PAGE` rows are the last ones. Raises
    `sqlite3.Error`.
    """
    with closing(open_reader(path)) as reader:
        for row in reader.execute(_LOOKS, (page.camera, page.since, *page.after, PAGE)):
            number, started, ended, questions, answers, description, model = row
            given = dict(zip(json.loads(questions), json.loads(answers), strict=True))
            asked = [given.get(question) for question in page.questions]
            yield {"look": [number, started, ended, asked, description, model]}


def breaks(path: Path, camera: str, since: float) -> Iterator[Json]:
    """Times (Unix seconds) at which open incidents were closed, since nobody could see.

    A camera that is away closes them after a while. Raises `sqlite3.Error`.
    """
    with closing(open_reader(path)) as reader:
        for cause, detail, started, ended in reader.execute(_BREAKS, (camera, since)):
            if cause == "away" and ended - started < AWAY_S:
                continue
            at = started + AWAY_S if cause == "away" else started
            yield {"break": [at, f"{cause}: {detail}"]}
