"""Which moment, or which span of time, does somebody mean?

Knows no command: `14:02`, `2026-11-22 14:02:30`, ISO 8601 with a zone, or `7d`, `24h`, `5m` ago.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, tzinfo
from typing import Final

from pipelines.errors import SmolwatchError

_AGO: Final = re.compile(r"-?(\d{1,6})\s*([smhd])(?: ago)?")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SPAN: Final = re.compile(r"(\d{1,6}(?:\.\d+)?)\s*([smhd]?)")
_CLOCK: Final = re.compile(r"([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d)?")


class UnknownMoment(SmolwatchError):
    """No time can be read in it."""


def seconds(text: str) -> float:
    """How long `20s`, `1.5m` or `20` (seconds) is. Raises `UnknownMoment`."""
    span = _SPAN.fullmatch(text.strip())
    if span is None:
        raise UnknownMoment(f"'{text}' is no span of time; expected 20s, 5m or 1h")
    return float(span[1]) * _SECONDS[span[2] or "s"]


def moment(text: str, now: float, zone: tzinfo | None = None) -> float:
    """Unix seconds of a time as people write it; a clock's time is the last one before `now`.

    `zone`: of times without one; None is the machine's own. Raises `UnknownMoment`.
    """
    text = text.strip()
    if text == "now":
        return now
    if ago := _AGO.fullmatch(text):
        return now - int(ago[1]) * _SECONDS[ago[2]]
    here = datetime.fromtimestamp(now, zone)
    try:
        if _CLOCK.fullmatch(text):
            parts = [int(part) for part in text.split(":")]
            then = here.replace(hour=parts[0], minute=parts[1], microsecond=0)
            then = then.replace(second=parts[2] if len(parts) > 2 else 0, fold=0)
            return then.timestamp() if then <= here else (then - timedelta(days=1)).timestamp()
        then = datetime.fromisoformat(text)
    except ValueError:
        raise UnknownMoment(
            f"'{text}' is no time; expected 14:02, 2026-11-22 14:02:30 or 24h (ago)"
        ) from None
    return (then if then.tzinfo is not None else then.replace(tzinfo=zone)).timestamp()
