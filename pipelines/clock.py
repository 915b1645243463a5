"""What time is it, and how does a thread wait?

Knows no frames. Decisions use `monotonic_s`; `wall_time` is only ever shown to people.
Tests pass `tests.fakes.FakeClock` instead.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """The two clocks and the one way to wait."""

    def monotonic_s(self) -> float:
        """Seconds that never jump, from an arbitrary start."""
        ...

    def wall_time(self) -> float:
        """Unix seconds, UTC. May jump; never used for a decision."""
        ...

    def wait(self, stop: threading.Event, timeout_s: float) -> bool:
        """Wait until `stop` is set or `timeout_s` has passed; True if it was set."""
        ...


class SystemClock:
    """The machine's clocks."""

    def monotonic_s(self) -> float:
        """See `Clock.monotonic_s`."""
        return time.monotonic()

    def wall_time(self) -> float:
        """See `Clock.wall_time`."""
        return time.time()

    def wait(self, stop: threading.Event, timeout_s: float) -> bool:
        """See `Clock.wait`."""
        return stop.wait(timeout_s)
