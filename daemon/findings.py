"""What did a check find, and what is to be done about it?

Knows no check: a line for people, a line of JSON for programs.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `fix` says how it is mended, where it is not ok."""

    level: Level
    what: str  # a word or two: the topic, the camera, the part
    text: str
    fix: str | None = None


def finding_line(found: Finding) -> str:
    """`ok    broker  connected ...`, with the fix on a line of its own."""
    line = f"{found.level:<5} {found.what:<14} {found.text}"
    return line if found.fix is None else f"{line}\n{'':<21}-> {found.fix}"


def finding_json(found: Finding) -> str:
    """One JSON object on one line."""
    return json.dumps(asdict(found), ensure_ascii=False)
