"""At which hours may a rule open?

Knows no rule: local wall time in, yes or no out. A span across midnight belongs to the day on
which it begins. Clocks that are set for daylight saving need no care: what counts is what a clock
on the wall shows, so an hour that comes twice is active twice, and one that is left out is not.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
from typing import Final

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Hours:
    """Days of the week, and the hours from `start` (included) to `end` (not included).

    `zone` None is the machine's own. Raises `ValueError` where no time could ever be within it.
    """

    days: Collection[int] = tuple(range(7))  # 0 is Monday
    start: time = time(0, 0)
    end: time = time(0, 0)  # 00:00 is the end of the day
    zone: tzinfo | None = None

    def __post_init__(self) -> None:
        if not self.days:
            raise ValueError("active hours need at least one day")
        if self.start == self.end != time(0, 0):
            raise ValueError(f"active hours from {self.start:%H:%M} to the same are none")

    def hold(self, wall_time: float) -> bool:
        """Whether `wall_time` (Unix seconds) is within the hours."""
        local = datetime.fromtimestamp(wall_time, self.zone)
        now, today = local.time(), local.weekday()
        begun = today in self.days and now >= self.start
        if self.end == time(0, 0):
            return begun
        if self.start < self.end:
            return begun and now < self.end
        yesterday = (local.date() - timedelta(days=1)).weekday()
        return begun or (yesterday in self.days and now < self.end)

    def __str__(self) -> str:
        """As the configuration says it."""
        parts = []
        if len(self.days) < len(DAYS):
            parts.append(f"days: [{', '.join(DAYS[day] for day in sorted(self.days))}]")
        if self.start != self.end:
            parts.append(f'from: "{self.start:%H:%M}", to: "{self.end:%H:%M}"')
        return f"active: {{{', '.join(parts)}}}"
