"""Does every part of the daemon make progress?

Knows heartbeats and bounds; not what the parts do. The main thread notes them once a second, any
thread may ask; so a main thread that hangs is found as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from daemon.systemd import Heartbeat
from pipelines.clock import Clock

MAIN_BOUND_S: Final = 30.0  # one tick: it asks each part for its figures


class Pulse:
    """The newest heartbeats of all parts, those of the main thread included."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._beats: tuple[Heartbeat, ...] = ()

    def note(self, beats: Iterable[Heartbeat]) -> tuple[Heartbeat, ...]:
        """Keep them, and the caller's own; what is kept."""
        main = Heartbeat("main", self._clock.monotonic_s(), MAIN_BOUND_S)
        self._beats = (main, *beats)
        return self._beats

    @property
    def beats(self) -> tuple[Heartbeat, ...]:
        """As they were noted; none before the daemon runs."""
        return self._beats

    def late(self) -> tuple[str, ...]:
        """The names of the parts that are stuck."""
        now_s = self._clock.monotonic_s()
        return tuple(beat.name for beat in self._beats if beat.is_late(now_s))
