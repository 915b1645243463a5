"""Which frames of a recording, or of a few seconds of a live stream, are shown to the model?

Knows files and streams; no model. A recording of up to a minute is one span, a longer one is cut
into spans; of each span the frames are evenly spaced, first and last included.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Final

import av
import av.error
import numpy as np

from pipelines.capture import scale_to_edge
from pipelines.clock import Clock
from pipelines.errors import NoVideo
from pipelines.mask import Mask
from pipelines.sources import FrameSource, SourceUrl, open_source
from pipelines.sources.url import local_path
from pipelines.types import Image

ONE_SPAN_S: Final = 60.0
SPAN_S: Final = 8.0  # of longer recordings: a frame a second, as the daemon looks by default
_ALL: Final = 1e-4  # a sample interval below any camera's: every frame is wanted


@dataclass(frozen=True, slots=True)
class Manner:
    """As which camera's window frames are chosen, and what of them nobody is to see."""

    num_frames: int = 8
    interval_s: float = 1.0  # of a live stream
    mask: Mask | None = None

    def taken(self, image: Image, edge_px: int) -> Image:
        """`image` masked, and scaled to a long edge of `edge_px`."""
        return scale_to_edge(self.mask.burn(image) if self.mask is not None else image, edge_px)


_USUAL: Final = Manner()


@dataclass(frozen=True, slots=True)
class Span:
    """Frames of one stretch of a recording."""

    start_s: float
    end_s: float
    times_s: tuple[float, ...]  # of the frames, from the recording's start
    images: tuple[Image, ...]  # uint8 RGB [H, W, 3]


def is_live(url: SourceUrl) -> bool:
    """Whether it is a camera: it has no end, so its next seconds are looked at."""
    return url.scheme not in {"", "file"} or url.secret.startswith(("/dev/", "usb:"))


def duration_s(url: SourceUrl, clock: Clock) -> float:
    """Length of a recording in seconds. Raises `SourceError`."""
    source = open_source(url, clock, realtime=False)
    source.open()  # its errors say what is wrong with the file
    source.close()
    with av.open(f"file:{local_path(url)[0]}") as container:
        if container.duration:
            return float(container.duration / av.time_base)
        stream = container.streams.video[0]
        last = max((p.pts or 0 for p in container.demux(stream)), default=0)
        if not last or stream.time_base is None:
            raise NoVideo(f"{url}: the file does not tell its length; remux it with ffmpeg -c copy")
        return float(last * stream.time_base)


def plan_spans(
    total_s: float, span_s: float = SPAN_S, one_s: float = ONE_SPAN_S
) -> list[tuple[float, float]]:
    """Where a recording is cut: (start_s, end_s) of each span, all of equal length.

    One of up to `one_s` is a single span.
    """
    if total_s <= one_s:
        return [(0.0, total_s)]
    edges = np.linspace(0.0, total_s, max(1, round(total_s / span_s)) + 1).tolist()
    return list(pairwise(edges))


def read_spans(
    url: SourceUrl,
    spans: list[tuple[float, float]],
    clock: Clock,
    edge_px: int,
    manner: Manner = _USUAL,
) -> Iterator[Span]:
    """Each span's frames, scaled to a long edge of `edge_px`, in one pass over the file.

    Raises `SourceError`. A span in which the file has no frames is left out.
    """
    source = open_source(url, clock, realtime=False)
    source.open()
    try:
        timed = _timed(source)
        first = next(timed, None)
        second = next(timed, None)
        ahead = [picture for picture in (first, second) if picture is not None]
        frame_s = ahead[1][0] - ahead[0][0] if len(ahead) == 2 else 0.0
        waiting = [_Picker(start_s, end_s, frame_s, edge_px, manner) for start_s, end_s in spans]
        for t, image in chain(ahead, timed):
            while waiting and t >= waiting[0].end_s:
                yield from waiting.pop(0).span()
            if not waiting:
                return
            waiting[0].offer(t, image)
        for picker in waiting:
            yield from picker.span()
    finally:
        source.close()


def _timed(source: FrameSource) -> Iterator[tuple[float, Image]]:
    """All pictures of an open file, with their seconds since the first."""
    stop = threading.Event()
    first_s: float | None = None
    while (picture := source.read(_ALL, stop)) is not None:
        if picture.image is None or picture.damaged:
            continue
        pts_s = picture.pts_s or 0.0
        first_s = pts_s if first_s is None else first_s
        yield pts_s - first_s, picture.image


class _Picker:
    """Keeps, of all frames of a span, those nearest to evenly spaced times; never more of them."""

    def __init__(
        self, start_s: float, end_s: float, frame_s: float, edge_px: int, manner: Manner
    ) -> None:
        num_frames = manner.num_frames
        self.end_s = end_s
        self._start_s = start_s
        self._edge_px = edge_px
        self._manner = manner
        self._wanted = np.linspace(start_s, max(start_s, end_s - frame_s), num_frames)
        # A frame is of use only to the times around it.
        self._reach_s = (end_s - start_s) / num_frames + frame_s
        self._kept: list[tuple[float, Image] | None] = [None] * num_frames

    def offer(self, t: float, image: Image) -> None:
        """Look at one frame; later frames come later."""
        for i in np.flatnonzero(np.abs(self._wanted - t) <= self._reach_s):
            kept = self._kept[i]
            if kept is None or abs(self._wanted[i] - t) < abs(self._wanted[i] - kept[0]):
                self._kept[i] = (t, image)

    def span(self) -> Iterator[Span]:
        """What was kept, each frame once; nothing if there was nothing."""
        kept = {found[0]: found[1] for found in self._kept if found is not None}
        if kept:
            images = tuple(self._manner.taken(image, self._edge_px) for image in kept.values())
            yield Span(self._start_s, self.end_s, tuple(kept), images)


def read_live(url: SourceUrl, clock: Clock, edge_px: int, manner: Manner = _USUAL) -> Span:
    """The next frames of a live stream, by default eight, one a second. Raises `SourceError`."""
    stop = threading.Event()
    source = open_source(url, clock)
    source.open()
    begun_s = clock.monotonic_s()
    times: list[float] = []
    images: list[Image] = []
    try:
        while len(images) < manner.num_frames:
            picture = source.read(manner.interval_s, stop)
            if picture is None:
                break
            if picture.image is not None and not picture.damaged:
                times.append(clock.monotonic_s() - begun_s)
                images.append(manner.taken(picture.image, edge_px))
    finally:
        source.close()
    if not images:
        raise NoVideo(f"{url}: no picture came")
    return Span(times[0], times[-1], tuple(times), tuple(images))
