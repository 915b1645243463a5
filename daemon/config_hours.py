"""In which hours may something happen?

Knows clock times, days and time zones as the configuration writes them.
"""

from __future__ import annotations

import re
from datetime import time
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from daemon.config_errors import Refused
from daemon.config_sections import Section
from pipelines.rules import Hours
from pipelines.rules.hours import DAYS

_CLOCK: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)|24:00")


def _clock(value: object) -> object:
    if not isinstance(value, str) or not _CLOCK.fullmatch(value):
        raise Refused('expected a time of day from "00:00" to "24:00"')
    return "00:00" if value == "24:00" else value


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Refused("is no time zone that is known here; expected one as Europe/Berlin") from None
    return name


def _days(value: object) -> object:
    days = [value] if isinstance(value, str) else value
    if isinstance(days, list) and not days:
        raise Refused("no day is left; leave `days` out for every day")
    return days


ClockTime = Annotated[str, BeforeValidator(_clock)]
TimeZone = Annotated[str, AfterValidator(_zone)]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class ActiveConfig(Section):
    """Hours of local time at which a rule may open."""

    days: Annotated[tuple[Day, ...], BeforeValidator(_days)] = Field(
        default=DAYS, description="days of the week on which the hours begin"
    )
    from_: ClockTime = Field(default="00:00", alias="from", description="from this time on")
    to: ClockTime = Field(
        default="24:00",
        validate_default=True,
        description="up to it; before `from`: the next morning",
    )
    timezone: TimeZone | None = Field(
        default=None, description="left out: the machine's own", examples=["Europe/Berlin"]
    )

    @model_validator(mode="after")
    def _possible(self) -> ActiveConfig:
        if self.from_ == self.to != "00:00":
            raise Refused(f"is never: from and to are both {self.to}; leave them out for all day")
        return self

    def hours(self) -> Hours:
        """Make the hours as the rules judge them."""
        start, end = (time.fromisoformat(clock.zfill(5)) for clock in (self.from_, self.to))
        zone = ZoneInfo(self.timezone) if self.timezone is not None else None
        return Hours(tuple(sorted(DAYS.index(day) for day in self.days)), start, end, zone)
