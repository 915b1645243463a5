"""How much longer must strides be, so that the machine stays cool and has time for others?

Knows two figures and their limits; no clock, no thermometer and no camera. Strides double at most
every `LENGTHEN_S`, and halve again only after `SHORTEN_S` in which both figures were well below
their limits, so that they do not swing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

LENGTHEN_S: Final = 15.0  # a longer stride shows in a temperature after about so long
SHORTEN_S: Final = 120.0
COOLER_C: Final = 5.0  # below its limit a temperature must be before strides are shorter again
SPARE: Final = 0.9  # of its limit that a share may be with half the stride, by what is expected
MOST: Final = 8  # times the configured stride


@dataclass(frozen=True, slots=True)
class Limits:
    """What must not be passed; None: no limit."""

    cpu_share: float | None = None  # of all cores that the process may use, 0..1
    max_temperature_c: float | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What was measured; None where the machine does not tell."""

    cpu_share: float | None
    temperature_c: float | None


class Throttle:
    """By what factor strides are lengthened, and why. Pure: times are passed in."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._changed_s = -math.inf
        self._easy_since_s: float | None = None
        self.factor = 1  # 1, 2, 4, 8
        self.reason: str | None = None  # `82 C (limit 80)`; None while strides are as configured

    def update(self, now_s: float, reading: Reading) -> int:
        """The factor from now on. To be called every second or so."""
        over = self._over(reading)
        if over is not None:
            self._easy_since_s = None
            if now_s - self._changed_s >= LENGTHEN_S and self.factor < MOST:
                self.factor, self._changed_s, self.reason = self.factor * 2, now_s, over
            return self.factor
        if self.factor == 1 or not self._is_easy(reading):
            self._easy_since_s = None
            return self.factor
        if self._easy_since_s is None:
            self._easy_since_s = now_s
        if now_s - self._easy_since_s >= SHORTEN_S:
            self.factor, self._changed_s, self._easy_since_s = self.factor // 2, now_s, now_s
            self.reason = self.reason if self.factor > 1 else None
        return self.factor

    def _over(self, reading: Reading) -> str | None:
        limits = self._limits
        if _above(reading.temperature_c, limits.max_temperature_c):
            return f"{reading.temperature_c:.0f} C (limit {limits.max_temperature_c:g})"
        if _above(reading.cpu_share, limits.cpu_share):
            return f"{reading.cpu_share:.0%} of the CPU (limit {limits.cpu_share:.0%})"
        return None

    def _is_easy(self, reading: Reading) -> bool:
        """Whether half the stride would not bring it over a limit at once."""
        limits = self._limits
        hot = limits.max_temperature_c is not None and _above(
            reading.temperature_c, limits.max_temperature_c - COOLER_C
        )
        busy = limits.cpu_share is not None and _above(
            reading.cpu_share, limits.cpu_share * SPARE / 2
        )
        return not hot and not busy


def _above(figure: float | None, limit: float | None) -> bool:
    return figure is not None and limit is not None and figure > limit
