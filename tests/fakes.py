"""What stands in for the edges: clock, cameras, model, broker?

Knows no test. Only edges are faked; everything between them is real in the tests.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from pipelines.errors import SourceError
from pipelines.sources.base import Picture
from pipelines.sources.url import SourceUrl


class FakeClock:
    """Time that passes only when told: by `advance`, or by a `wait` that runs to its end."""

    def __init__(self, start_s: float = 1000.0, wall_time: float = 1_700_000_000.0) -> None:
        self._now_s = start_s
        self._wall_offset_s = wall_time - start_s
        self._lock = threading.Lock()
        self.waits: list[float] = []  # every time-out asked for, in order

    def monotonic_s(self) -> float:
        return self._now_s

    def wall_time(self) -> float:
        return self._now_s + self._wall_offset_s

    def wait(self, stop: threading.Event, timeout_s: float) -> bool:
        self.waits.append(timeout_s)
        if not stop.is_set():
            self.advance(timeout_s)
        return stop.is_set()

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._now_s += seconds

    def step_wall(self, seconds: float) -> None:
        """The host's clock is set: wall time jumps, monotonic time does not."""
        self._wall_offset_s += seconds


class FakeSource:
    """A camera that plays a script: pictures are returned, errors raised, and then it ends.

    With a `clock`, `frame_s` pass before each picture. The script may set `stop` by itself: an
    `Event` in it is set when its turn comes, and the read returns None.
    """

    def __init__(
        self,
        script: Iterable[Picture | SourceError | threading.Event],
        clock: FakeClock | None = None,
        frame_s: float = 1.0,
        open_error: SourceError | None = None,
    ) -> None:
        self.url = SourceUrl("rtsp://user:hunter2@camera.test/stream")
        self.opened = 0
        self.closed = 0
        self._script = iter(script)
        self._clock = clock
        self._frame_s = frame_s
        self._open_error = open_error

    def open(self) -> None:
        self.opened += 1
        if self._open_error is not None:
            raise self._open_error

    def read(self, sample_interval_s: float, stop: threading.Event) -> Picture | None:
        if self._clock is not None:
            self._clock.advance(self._frame_s)
        step = next(self._script, None)
        if isinstance(step, SourceError):
            raise step
        if isinstance(step, threading.Event):
            step.set()
            return None
        return step

    def close(self) -> None:
        self.closed += 1
