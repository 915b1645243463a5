"""What does every source of pictures offer?

Knows no kind of camera. Each source is used by one thread only, its capture thread: closing a
capture from another thread while a read is stuck has crashed libraries half a minute later.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal, Protocol

from pipelines.sources.coded import Coded
from pipelines.sources.url import SourceUrl
from pipelines.types import Image

# auto: what sampled pictures need; all: everything; keyframes: keyframes, and sample only those.
DecodeMode = Literal["auto", "all", "keyframes"]

_GRID_TOLERANCE_S = 0.01  # time stamps are rounded to 1/90000 s or to whole milliseconds
_GRID_RESTART = 2  # intervals; a larger gap, either way, is a jump and not a late frame


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture that a source delivered.

    `image` is there only if the picture was due for sampling: converting a picture that nobody
    looks at is wasted work. It is uint8 RGB `[H, W, 3]` at the camera's full resolution.
    """

    image: Image | None
    pts_s: float | None = None  # the source's own time stamp, from any start
    damaged: bool = False  # decoded from broken or missing packets: never sampled
    camera_time: float | None = None  # Unix seconds by the camera's own clock, where it sends it
    lag_s: float | None = None  # how much later it was read than it could have been, if known
    skipped: bool = False  # passed over undecoded, to catch up
    coded: Coded | None = None  # as it came, where that can be kept for clips


class FrameSource(Protocol):
    """Where pictures come from: opened, read until it ends or fails, closed; and opened again."""

    @property
    def url(self) -> SourceUrl:
        """The address; prints masked."""
        ...

    def open(self) -> None:
        """Connect. Raises a `SourceError`, within a few seconds."""
        ...

    def read(self, sample_interval_s: float, stop: threading.Event) -> Picture | None:
        """The next picture, with its `image` if it is due.

        That is where `sample_interval_s` have passed since the last one that was due. A source
        may leave out the pictures between, where making them would cost something.

        Returns or raises within a few seconds, sooner once `stop` is set. None is a clean end
        (a file is over) or `stop`. A live stream never ends cleanly: it raises `EndOfStream`.
        Raises a `SourceError`.
        """
        ...

    def close(self) -> None:
        """Let go of everything. May be called at any time by the reading thread, also twice."""
        ...


class SampleGrid:
    """Which pictures are due, at one in `interval_s`? Keeps to a grid, so that it never drifts.

    A keyframe that costs less to decode than its neighbours may be taken up to `early_s` before
    its time; the grid goes on from there.
    """

    def __init__(self) -> None:
        self._next_s: float | None = None

    def reached(self, at_s: float, interval_s: float, early_s: float = 0.0) -> bool:
        """Whether a picture of `at_s` (the source's time, seconds) would be due."""
        return (
            self._restarts(at_s, interval_s)
            or self._next_s is None
            or at_s >= self._next_s - max(early_s, _GRID_TOLERANCE_S)
        )

    def due(self, at_s: float, interval_s: float, early_s: float = 0.0) -> bool:
        """Whether the picture of `at_s` is to be sampled. If so, the next is an interval away."""
        if not self.reached(at_s, interval_s, early_s):
            return False
        if self._next_s is None or early_s > 0.0 or self._restarts(at_s, interval_s):
            self._next_s = at_s
        self._next_s += interval_s
        return True

    def _restarts(self, at_s: float, interval_s: float) -> bool:
        return self._next_s is None or abs(at_s - self._next_s) > _GRID_RESTART * interval_s
