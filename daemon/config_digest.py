"""When is a digest of a camera made?

Knows one section of the configuration; what a digest holds is `daemon.digest`'s affair.
"""

from __future__ import annotations

from datetime import time
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, ValidationInfo

from daemon.config_errors import Refused
from daemon.config_hours import ClockTime, TimeZone
from daemon.config_sections import CameraNames, Section
from daemon.digest_times import Every, Schedule


def _of_a_day(at: str | None, info: ValidationInfo) -> str | None:
    if at is not None and info.data.get("every") == "hour":
        raise Refused("belongs to `every: day`; an hour's digest comes at the full hour: leave out")
    return at


class DigestConfig(Section):
    """What happened, in a few sentences and with counts, on a schedule."""

    every: Every = Field(default="day", description="hour: at every full hour")
    at: Annotated[ClockTime | None, AfterValidator(_of_a_day)] = Field(
        default=None,
        description='with `every: day`, the time of day; left out: "07:00"',
        examples=["07:00"],
    )
    timezone: TimeZone | None = Field(
        default=None, description="left out: the machine's own", examples=["Europe/Berlin"]
    )
    cameras: CameraNames = Field(
        default=("all",),
        validate_default=True,
        description="all, or the names of cameras",
    )

    def schedule(self) -> Schedule:
        """Make the schedule."""
        zone = ZoneInfo(self.timezone) if self.timezone is not None else None
        return Schedule(self.every, time.fromisoformat((self.at or "07:00").zfill(5)), zone)
