"""How is one camera, and since when?

Knows what the capture thread reports to it; decides nothing but when to call a silence a stall.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import structlog

from pipelines.errors import SourceError, Stalled
from pipelines.sources.url import SourceUrl
from pipelines.types import Frame

CameraState = Literal["connecting", "online", "offline", "ended", "disabled"]

STALL_S = 8.0  # a camera whose newest picture is older than this is away, whatever libraries say
_RATE_PICTURES = 64  # over so many pictures a rate is measured


@dataclass(frozen=True, slots=True)
class CameraHealth:
    """How one camera is, at one moment."""

    camera: str
    url: str  # masked
    state: CameraState
    cause: str | None  # `SourceError.cause` while offline
    message: str | None  # what, where, and what to do about it; while offline
    since_s: float  # monotonic, of the last change of state or cause
    frame_age_s: float | None  # of the newest sound picture; None before the first
    width_px: int  # as the camera sends it; 0 before the first sampled picture
    height_px: int
    fps_in: float
    fps_sampled: float
    frames_in: int  # sound pictures
    frames_damaged: int
    frames_sampled: int
    reconnects: Mapping[str, int] = field(default_factory=dict)  # cause -> how often
    frames_skipped: int = 0  # of the sound ones, those passed over undecoded, to catch up
    lag_s: float | None = None  # how late pictures are read; None where they carry no time stamps
    clock_ahead_s: float | None = None  # the camera's clock before ours, less the way of a picture


class Vitals:
    """The record that a capture thread keeps and any thread may read. Logs changes of state."""

    def __init__(self, camera: str, url: SourceUrl, now_s: float) -> None:
        self._camera = camera
        self._url = url
        self._lock = threading.Lock()
        self._state: CameraState = "connecting"
        self._error: SourceError | None = None
        self._since_s = now_s
        self._newest_s: float | None = None
        self._size_px = (0, 0)  # width, height
        self._lag_s: float | None = None
        self._clock_ahead_s: float | None = None
        self._counts: Counter[str] = Counter()
        self._reconnects: Counter[str] = Counter()
        self._arrived = _Rate()
        self._sampled = _Rate()

    def arrived(self, now_s: float, *, lag_s: float | None = None, skipped: bool = False) -> None:
        """A sound picture came, `lag_s` later than it could have, and perhaps was passed over."""
        with self._lock:
            self._lag_s = lag_s
            self._counts["skipped"] += skipped
            self._newest_s = now_s
            self._arrived.add(now_s)
            self._counts["in"] += 1
            self._turn("online", None, now_s)

    def damaged(self) -> None:
        """A picture came that cannot be used."""
        with self._lock:
            self._counts["damaged"] += 1

    def troubled(self, error: SourceError, now_s: float) -> None:
        """The connection stands, and is no use so far."""
        with self._lock:
            self._turn("offline", error, now_s)

    def sampled(self, frame: Frame, width_px: int, height_px: int) -> None:
        """A frame of this size, as the camera sent it, went into the ring."""
        with self._lock:
            self._size_px = (width_px, height_px)
            self._clock_ahead_s = None
            if frame.camera_time is not None:
                self._clock_ahead_s = frame.camera_time - frame.wall_time
            self._sampled.add(frame.captured_s)
            self._counts["sampled"] += 1

    def lost(self, error: SourceError, now_s: float) -> None:
        """The connection failed or ended, and will be tried again."""
        with self._lock:
            self._reconnects[error.cause] += 1
            self._turn("offline", error, now_s)

    def ended(self, now_s: float) -> None:
        """A file is over."""
        with self._lock:
            self._turn("ended", None, now_s)

    def disabled(self, now_s: float) -> None:
        """The camera is left alone, as somebody wished."""
        with self._lock:
            self._turn("disabled", None, now_s)

    def enabled(self, now_s: float) -> None:
        """It is not any more; what was seen before says nothing of how it is now."""
        with self._lock:
            self._newest_s = None
            self._turn("connecting", None, now_s)

    def health(self, now_s: float) -> CameraHealth:
        """The record as of now. A silent camera is offline even while its thread still waits."""
        with self._lock:
            age_s = None if self._newest_s is None else now_s - self._newest_s
            state, error, since_s = self._state, self._error, self._since_s
            # Since the newest picture, or where there was none yet, since the first attempt.
            silent_s = now_s - since_s if age_s is None else age_s
            if state in {"online", "connecting"} and silent_s > STALL_S:
                state, since_s = "offline", now_s - silent_s + STALL_S
                error = Stalled(f"{self._url}: no picture for {silent_s:.0f} s.")
            return CameraHealth(
                camera=self._camera,
                url=str(self._url),
                state=state,
                cause=error.cause if error else None,
                message=str(error) if error else None,
                since_s=since_s,
                frame_age_s=age_s,
                width_px=self._size_px[0],
                height_px=self._size_px[1],
                fps_in=self._arrived.per_s(now_s),
                fps_sampled=self._sampled.per_s(now_s),
                frames_in=self._counts["in"],
                frames_damaged=self._counts["damaged"],
                frames_sampled=self._counts["sampled"],
                reconnects=MappingProxyType(dict(self._reconnects)),
                frames_skipped=self._counts["skipped"],
                lag_s=self._lag_s,
                clock_ahead_s=self._clock_ahead_s,
            )

    def _turn(self, state: CameraState, error: SourceError | None, now_s: float) -> None:
        cause = error.cause if error else None
        if state == self._state and cause == (self._error.cause if self._error else None):
            return
        lasted_s = round(now_s - self._since_s, 1)
        self._state, self._error, self._since_s = state, error, now_s
        log = structlog.get_logger().bind(camera=self._camera, url=str(self._url))
        if error is None:
            log.info("camera", state=state, after_s=lasted_s)
        else:
            log.warning("camera", state=state, after_s=lasted_s, cause=cause, message=str(error))


class _Rate:
    """How often something happens, over its last few times. Falls while nothing happens."""

    def __init__(self) -> None:
        self._times_s: deque[float] = deque(maxlen=_RATE_PICTURES)

    def add(self, now_s: float) -> None:
        self._times_s.append(now_s)

    def per_s(self, now_s: float) -> float:
        if len(self._times_s) < 2:
            return 0.0
        passed_s = max(now_s, self._times_s[-1]) - self._times_s[0]
        return (len(self._times_s) - 1) / passed_s if passed_s > 0 else 0.0
