"""When is a digest due, and of which time?

Pure: knows wall time and the configuration's words, no clock and no camera. Times of day are what
a clock on the wall shows, so the day on which clocks are set for daylight saving has 23 or 25
hours, and a digest at an hour that is left out comes with the hour after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
from typing import Final, Literal

Every = Literal["hour", "day"]

_HOUR_S: Final = 3600.0
_MADE_UP_S: Final = {"hour": _HOUR_S / 2, "day": 12 * _HOUR_S}  # how late a digest is of use


@dataclass(frozen=True, slots=True)
class Schedule:
    """Every full hour, or every day `at` a time. `zone` None is the machine's own."""

    every: Every = "day"
    at: time = time(7, 0)
    zone: tzinfo | None = None

    def newest(self, now: float) -> tuple[float, float]:
        """The newest stretch that is over: from and until, in Unix seconds."""
        second = int(now)  # so that the answer is the same number whenever it is asked
        local = datetime.fromtimestamp(second, self.zone)
        if self.every == "hour":
            until = float(second - local.minute * 60 - local.second)
            return until - _HOUR_S, until
        days = (local.date() + timedelta(days=back) for back in (0, -1, -2))
        today, yesterday, before = (
            datetime.combine(day, self.at, self.zone).timestamp() for day in days
        )
        return (yesterday, today) if today <= now else (before, yesterday)

    def due(self, now: float, told_until: float) -> tuple[float, float] | None:
        """What is to be told now, where all up to `told_until` has been; None for nothing.

        What was missed is made up once, unless it is too long ago to be of use.
        """
        since, until = self.newest(now)
        if until <= told_until or now - until > _MADE_UP_S[self.every]:
            return None
        return since, until
