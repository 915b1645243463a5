"""Which frames of a recording, or of a few seconds of a live stream, are shown to the model?

Knows files and streams; no model. A recording of up to a minute is one span, a longer one is cut
into spans; of each span the frames are evenly spaced, first and last included.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import av
import av.error
import numpy as np

from pipelines.capture import scale_to_edge
from pipelines.clock import Clock
from pipelines.errors import NoVideo
from pipelines.sources import SourceUrl, open_source
from pipelines.sources.url import local_path
from pipelines.types import Image

ONE_SPAN_S: Final = 60.0
SPAN_S: Final = 8.0  # of longer recordings: a frame a second, as the daemon looks by default
NUM_FRAMES: Final = 8
LIVE_INTERVAL_S: Final = 1.0
_ALL: Final = 1e-4  # a sample interval below any camera's: every frame is wanted


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


def plan_spans(total_s: float, span_s: float = SPAN_S) -> list[tuple[float, float]]:
    """Where a recording is cut: (start_s, end_s) of each span, all of equal length."""
    if total_s <= ONE_SPAN_S:
        return [(0.0, total_s)]
    edges = np.linspace(0.0, total_s, max(1, round(total_s / span_s)) + 1).tolist()
    return list(pairwise(edges))


def read_spans(
    url: SourceUrl, spans: list[tuple[float, float]], clock: Clock, edge_px: int
) -> Iterator[Span]:
    """Each span's frames, scaled to a long edge of `edge_px`, in one pass over the file.

    Raises `SourceError`. A span in which the file has no frames is left out.
    """
    stop = threading.Event()
    source = open_source(url, clock, realtime=False)
    source.open()
    try:
        kept: list[tuple[float, Image]] = []
        waiting = list(spans)
        first_pts_s: float | None = None
        while waiting:
            picture = source.read(_ALL, stop)
            t = None
            if picture is not None:
                first_pts_s = picture.pts_s if first_pts_s is None else first_pts_s
                t = (picture.pts_s or 0.0) - (first_pts_s or 0.0)
            if t is None or t >= waiting[0][1]:
                yield from _span(*waiting.pop(0), kept)
                kept = []
                if t is None:
                    return
            if picture is not None and picture.image is not None and t is not None:
                kept.append((t, scale_to_edge(picture.image, edge_px)))
    finally:
        source.close()


def _span(start_s: float, end_s: float, kept: list[tuple[float, Image]]) -> Iterator[Span]:
    if not kept:
        return
    count = min(NUM_FRAMES, len(kept))
    chosen = [kept[int(i)] for i in np.linspace(0, len(kept) - 1, count).round()]
    yield Span(start_s, end_s, tuple(t for t, _ in chosen), tuple(image for _, image in chosen))


def read_live(url: SourceUrl, clock: Clock, edge_px: int) -> Span:
    """The next `NUM_FRAMES` frames of a live stream, one a second. Raises `SourceError`."""
    stop = threading.Event()
    source = open_source(url, clock)
    source.open()
    begun_s = clock.monotonic_s()
    times: list[float] = []
    images: list[Image] = []
    try:
        while len(images) < NUM_FRAMES:
            picture = source.read(LIVE_INTERVAL_S, stop)
            if picture is None:
                break
            if picture.image is not None and not picture.damaged:
                times.append(clock.monotonic_s() - begun_s)
                images.append(scale_to_edge(picture.image, edge_px))
    finally:
        source.close()
    if not images:
        raise NoVideo(f"{url}: no picture came")
    return Span(times[0], times[-1], tuple(times), tuple(images))
