"""How does an opened container become pictures?

Knows no address and no connection: network streams and files share it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

import av
import av.container
import av.error
import av.packet
import av.video.frame
import av.video.stream
import numpy as np

from pipelines.clock import Clock
from pipelines.errors import NoVideo
from pipelines.sources.base import Picture, SampleGrid
from pipelines.sources.url import SourceUrl
from pipelines.types import Image

_SILENCE_S = 2.0  # packets that give no picture for so long are reported, so that `read` returns
_UNTIMED_PICTURES = 25  # so many in a row without a time stamp, and there will be none
_SLIP_S = 1.0  # a reader that is later than this does not try to catch up
_LONGEST_PAUSE_S = 5.0  # a longer gap between two pictures is a clock jump, and is not waited for


class VideoReader:
    """The pictures of a container's first video stream, in the order they are shown.

    `shift_s` is added to every time stamp; where the container is not `timed`, its time stamps are
    made up, and the clock is used instead. Every picture is decoded, because each needs the one
    before it; only those due are converted: RGB at 1080p costs as much as half the decoding.
    Raises `NoVideo` if there is no video stream; FFmpeg's own errors pass through, for the source
    to translate.
    """

    def __init__(
        self,
        url: SourceUrl,
        container: av.container.InputContainer,
        clock: Clock,
        grid: SampleGrid,
        *,
        shift_s: float = 0.0,
        timed: bool = True,
    ) -> None:
        # A bad SDP opens well and then has no streams at all.
        if not container.streams.video:
            raise NoVideo(f"{url}: it answers, but with no video stream. Check the address's path.")
        self._stream = container.streams.video[0]
        self._stream.codec_context.thread_count = 1  # cameras run beside each other already
        self._packets: Iterator[av.packet.Packet[av.video.stream.VideoStream]] = container.demux(
            self._stream
        )
        self._clock = clock
        self._grid = grid
        self._shift_s = shift_s
        self._unstamped = 0 if timed else _UNTIMED_PICTURES  # pictures in a row without a stamp
        self._decoded: deque[av.video.frame.VideoFrame] = deque()
        # A stream may be joined in its middle, where pictures lack what they refer to.
        self._tainted = True

    @property
    def frame_s(self) -> float:
        """Seconds between two pictures, as the container states them; 0.04 if it does not."""
        rate = self._stream.average_rate
        return float(1 / rate) if rate else 0.04

    def read(self, sample_interval_s: float) -> Picture | None:
        """The next picture; None at the container's end. See `FrameSource.read`."""
        give_up_s = self._clock.monotonic_s() + _SILENCE_S
        while not self._decoded:
            packet = next(self._packets, None)
            if packet is None:
                return None
            if not self._decode(packet) or self._clock.monotonic_s() > give_up_s:
                return Picture(None, damaged=True)
        return self._picture(self._decoded.popleft(), sample_interval_s)

    def _decode(self, packet: av.packet.Packet[av.video.stream.VideoStream]) -> bool:
        try:
            self._decoded.extend(packet.decode())
        except av.error.FFmpegError:
            # Garbage in one packet; the connection is sound. What follows refers to it.
            self._tainted = True
            return False
        self._tainted = self._tainted or packet.is_corrupt
        return True

    def _picture(self, frame: av.video.frame.VideoFrame, sample_interval_s: float) -> Picture:
        pts_s = self._stamp_s(frame)
        self._tainted = frame.is_corrupt or (self._tainted and not frame.key_frame)
        if self._tainted:
            return Picture(None, pts_s, damaged=True)
        at_s = self._clock.monotonic_s() if self._unstamped >= _UNTIMED_PICTURES else pts_s
        due = at_s is not None and self._grid.due(at_s, sample_interval_s)
        return Picture(_rgb(frame) if due else None, pts_s)

    def _stamp_s(self, frame: av.video.frame.VideoFrame) -> float | None:
        if self._unstamped >= _UNTIMED_PICTURES:
            return None
        if frame.pts is None:  # RTSP's first picture may lack it, and two clocks must not mix
            self._unstamped += 1
            return None
        self._unstamped = 0
        return float(frame.time) + self._shift_s


class Pacer:
    """Holds pictures back until their time has come, at the speed their time stamps tell."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._base_s: float | None = None  # monotonic time of time stamp 0

    def wait(self, pts_s: float, stop: threading.Event) -> bool:
        """Wait until the picture of `pts_s` is due; False if `stop` was set."""
        now_s = self._clock.monotonic_s()
        if self._base_s is None or not (-_SLIP_S < self._base_s + pts_s - now_s < _LONGEST_PAUSE_S):
            self._base_s = now_s - pts_s
        left_s = self._base_s + pts_s - now_s
        if left_s <= 0:
            return not stop.is_set()
        return not self._clock.wait(stop, left_s)


def _rgb(frame: av.video.frame.VideoFrame) -> Image:
    image = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)  # [H, W, 3]
    # Phones film sideways and say so; `rotation` is degrees counter-clockwise, and so is rot90.
    return np.ascontiguousarray(np.rot90(image, frame.rotation // 90)) if frame.rotation else image
