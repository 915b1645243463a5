"""Which of many moments are shown, where there is time for some only?

Pure: knows no file and no camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from pipelines.types import Severity

_WORST_FIRST: Final[tuple[Severity, ...]] = ("alert", "warning", "info")


@dataclass(frozen=True, slots=True)
class Moment:
    """An alert whose clip is there."""

    clip: str  # its file
    at: float  # Unix seconds of the alert
    rules: tuple[str, ...]
    severity: Severity
    score: float | None
    words: str | None
    duration_s: float  # of the clip


def joined(moments: Sequence[Moment]) -> list[Moment]:
    """Oldest first; those that show mostly the same seconds become one, of the weightier's clip."""
    found: list[Moment] = []
    for moment in sorted(moments, key=lambda one: one.at):
        last = found[-1] if found else None
        if last is None or moment.at - last.at >= min(last.duration_s, moment.duration_s) / 2:
            found.append(moment)
            continue
        kept = min((last, moment), key=_weight)
        rules = tuple(dict.fromkeys((*last.rules, *moment.rules)))
        found[-1] = replace(kept, rules=rules, words=kept.words or last.words or moment.words)
    return found


def chosen(moments: Sequence[Moment], most_s: float, gap_s: float) -> list[Moment]:
    """As many as fit, the weightiest first; then oldest first. At least one, however long it is."""
    left_s = most_s + gap_s
    kept: list[Moment] = []
    for moment in sorted(moments, key=_weight):
        if moment.duration_s + gap_s <= left_s or not kept:
            kept.append(moment)
            left_s -= moment.duration_s + gap_s
    return sorted(kept, key=lambda one: one.at)


def _weight(moment: Moment) -> tuple[int, float, float]:
    """Less is weightier: by severity, then by score, then the newer."""
    return _WORST_FIRST.index(moment.severity), -(moment.score or 0.0), -moment.at
