"""Is the machine too hot or too busy, and who is told that strides are longer for it?

Knows the kernel's figures, the scheduler and the store. Called once a second by the main thread.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import structlog

from daemon.store import Store
from pipelines.clock import Clock
from pipelines.throttle import Limits, Reading, Throttle
from pipelines.windows import WindowScheduler

THERMAL: Final = Path("/sys/class/thermal")  # kernel: Documentation/driver-api/thermal/sysfs-api
_OVER_S: Final = 10.0  # time over which the share of CPU is taken
_WRITE_EVERY_S: Final = 10.0
_SENSIBLE_C: Final = (1.0, 150.0)  # zones without a sensor show 0, or less

Meter = Callable[[], float | None]


def temperature_c(folder: Path = THERMAL) -> float | None:
    """The hottest of the machine's thermal zones; None where it has none, as in most guests."""
    found = [_zone_c(path) for path in folder.glob("thermal_zone*/temp")]
    sensible = [c for c in found if c is not None and _SENSIBLE_C[0] <= c <= _SENSIBLE_C[1]]
    return max(sensible, default=None)


def _zone_c(path: Path) -> float | None:
    try:
        return int(path.read_text(encoding="ascii")) / 1000
    except (OSError, ValueError):  # a sensor that sleeps gives EAGAIN or ENODATA
        return None


class Throttling:
    """Lengthens strides as `Throttle` says, and says so."""

    def __init__(
        self,
        limits: Limits,
        scheduler: WindowScheduler,
        strides_s: Mapping[str, float],
        clock: Clock,
        store: Store | None,
        *,
        thermometer: Meter = temperature_c,
        cpu_s: Callable[[], float] = time.process_time,
        cores: int | None = None,
    ) -> None:
        """`strides_s`: as configured, by camera. `cpu_s`: CPU seconds of this process so far."""
        self._throttle = Throttle(limits)
        self._limits = limits
        self._scheduler = scheduler
        self._strides_s = dict(strides_s)
        self._clock = clock
        self._store = store
        self._thermometer = thermometer
        self._cpu_s = cpu_s
        self._cores = cores or len(os.sched_getaffinity(0))
        self._spent: deque[tuple[float, float]] = deque()  # times and CPU seconds until then
        self._rows: dict[str, int | None] = {}
        self._written_s = -math.inf
        if limits.max_temperature_c is not None and thermometer() is None:
            structlog.get_logger(__name__).warning(
                "throttle.no_thermometer", said=f"{THERMAL} shows no temperature: it is not limited"
            )

    def tick(self) -> None:
        """Measure, and lengthen or shorten strides."""
        now_s = self._clock.monotonic_s()
        before = self._throttle.factor
        factor = self._throttle.update(now_s, self._read(now_s))
        self._scheduler.lengthen(factor)
        if factor != before:
            structlog.get_logger(__name__).warning(
                "throttle", strides=f"x{factor}", reason=self._throttle.reason or "all is well"
            )
            self.end()
        if factor > 1 and self._store is not None:
            self._write(now_s)

    def note(self, camera: str) -> str | None:
        """What is to be told of a camera: `stride lengthened to 4 s: 82 C (limit 80)`."""
        if self._throttle.factor == 1:
            return None
        stride_s = self._strides_s[camera] * self._throttle.factor
        return f"stride lengthened to {stride_s:g} s: {self._throttle.reason}"

    @property
    def factor(self) -> int:
        """By which strides are longer than configured."""
        return self._throttle.factor

    @property
    def summary(self) -> str | None:
        """The same for all cameras together."""
        factor, reason = self._throttle.factor, self._throttle.reason
        return None if factor == 1 else f"all strides are {factor} times as long: {reason}"

    def end(self) -> None:
        """Write the ends of what still goes on; before the store is closed."""
        if self._store is not None:
            for row in self._rows.values():
                if row is not None:
                    self._store.lengthen(row, self._clock.wall_time(), 0)
        self._rows.clear()

    def _read(self, now_s: float) -> Reading:
        hot = self._thermometer() if self._limits.max_temperature_c is not None else None
        self._spent.append((now_s, self._cpu_s()))
        while len(self._spent) > 2 and now_s - self._spent[1][0] >= _OVER_S:
            self._spent.popleft()
        (since_s, spent_s), (_, all_s) = self._spent[0], self._spent[-1]
        passed_s = now_s - since_s
        share = (all_s - spent_s) / (passed_s * self._cores) if passed_s >= _OVER_S else None
        return Reading(share, hot)

    def _write(self, now_s: float) -> None:
        assert self._store is not None  # noqa: S101 - asked before
        if now_s - self._written_s < _WRITE_EVERY_S and self._rows:
            return
        self._written_s, now = now_s, self._clock.wall_time()
        for camera in self._strides_s:
            row = self._rows.get(camera)
            if row is not None:
                self._store.lengthen(row, now, 0)
            elif camera not in self._rows:
                note = self.note(camera) or ""
                self._rows[camera] = self._store.span(camera, "throttled", note, now, now)
