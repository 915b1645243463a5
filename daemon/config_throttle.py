"""How much of the machine may smolwatch take?

Knows two limits; what they lead to is `daemon.throttling`'s.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from daemon.config_sections import Section
from pipelines.throttle import Limits


class ThrottleConfig(Section):
    """Limits beyond which windows come less often, before any camera is skipped."""

    cpu_share: Annotated[float, Field(strict=True, ge=0.05, le=1.0)] | None = Field(
        default=None,
        description="of all cores that smolwatch may use, capture included; left out: no limit",
    )
    max_temperature_c: Annotated[float, Field(strict=True, ge=30, le=120)] | None = Field(
        default=None,
        description="of the machine's hottest sensor (/sys/class/thermal); left out: no limit",
    )

    def limits(self) -> Limits:
        """For `pipelines.throttle`."""
        return Limits(self.cpu_share, self.max_temperature_c)
