"""How does an opened container become pictures?

Knows no address and no connection: network streams and files share it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

import av
import av.container
import av.error
import numpy as np
from av.video.frame import VideoFrame

from pipelines.clock import Clock
from pipelines.errors import NoVideo
from pipelines.sources.base import DecodeMode, Picture, SampleGrid
from pipelines.sources.camera_clock import CameraClock
from pipelines.sources.coded import PLAYABLE, Coded, StreamLayout
from pipelines.sources.frame_num import LOOK_BYTES, FrameNumbers
from pipelines.sources.gop import GopDecoder, VideoPacket
from pipelines.sources.lag import Lag
from pipelines.sources.url import SourceUrl
from pipelines.types import Image

_SILENCE_S = 2.0  # packets that give no picture for so long are damaged, though nobody says so
_UNTIMED_PICTURES = 25  # so many in a row without a time stamp, and there will be none
_EARLY = 0.25  # of the sample interval: a keyframe may be taken so much before its time
_EARLY_GOP = 0.9  # of the time between keyframes, which jitters
_SLIP_S = 1.0  # a reader that is later than this does not try to catch up
_LONGEST_PAUSE_S = 5.0  # a longer gap between two pictures is a clock jump, and is not waited for


class VideoReader:
    """The pictures of a container's first video stream: one for each packet, in their order.

    `shift_s` is added to every time stamp; where the container is not `timed`, its time stamps are
    made up, and the clock is used instead. `mode` says what is decoded: with `auto`, of each group
    of pictures as much as those due need, and a keyframe is taken in place of a picture up to a
    quarter interval later, because it alone needs no other. Only what is due is converted: RGB at
    1080p costs as much as half the decoding. Where decoding would be wasted, a picture's time
    stamp is when its packet was due at the decoder, which is never after it is shown. What is
    `live` and read too late is passed over undecoded, up to the newest keyframe.
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
        mode: DecodeMode = "auto",
        shift_s: float = 0.0,
        timed: bool = True,
        live: bool = False,
    ) -> None:
        # A bad SDP opens well and then has no streams at all.
        if not container.streams.video:
            raise NoVideo(f"{url}: it answers, but with no video stream. Check the address's path.")
        self._stream = container.streams.video[0]
        self._stream.codec_context.thread_count = 1  # cameras run beside each other already
        packets: Iterator[VideoPacket] = container.demux(self._stream)
        self._packets = self._stamped(packets) if timed else packets
        self._decoder = GopDecoder(self._stream.codec_context)
        self._clock = clock
        self._grid = grid
        self._mode = mode
        self._shift_s = shift_s
        self._live = live
        self._lag = Lag()
        self._camera_clock = CameraClock()
        codec = self._stream.codec_context
        self._numbers = FrameNumbers(codec.extradata or b"") if codec.name == "h264" else None
        self._layout = StreamLayout(self._stream) if codec.name in PLAYABLE else None
        self._unstamped = 0 if timed else _UNTIMED_PICTURES  # packets in a row without a stamp
        self._ready: deque[Picture] = deque()  # came out of the decoder together
        self._seeking_since_s: float | None = None  # a picture is due, and not out yet
        self._last_key_s: float | None = None
        self._gop_s = 0.0  # between the last two keyframes; 0 while not known
        # A stream may be joined in its middle, where pictures lack what they refer to.
        self._tainted = True

    @property
    def frame_s(self) -> float:
        """Seconds between two pictures, as the container states them; 0.04 if it does not."""
        rate = self._stream.average_rate
        return float(1 / rate) if rate else 0.04

    def read(self, sample_interval_s: float) -> Picture | None:
        """The next picture; None at the container's end. See `FrameSource.read`."""
        while not self._ready:
            packet = next(self._packets, None)
            if packet is None:
                return None
            taken = self._take(packet, sample_interval_s)
            if taken and not taken[0].damaged:
                taken[0] = replace(taken[0], coded=self._coded(packet))
            self._ready.extend(taken)
        picture = self._ready.popleft()
        return replace(
            picture,
            camera_time=self._camera_clock.at(picture.pts_s),
            lag_s=self._lag.behind_s,
            skipped=self._lag.catching_up and picture.image is None,
        )

    def _stamped(self, packets: Iterator[VideoPacket]) -> Iterator[VideoPacket]:
        """Give the first packets, if they lack a time stamp, those just before the first one.

        RTSP's first packet may lack it, and that is the first keyframe: without it a camera with
        a keyframe every 25 s had no clip of its first 25 s.
        """
        early: list[VideoPacket] = []
        stamps: list[int] = []
        for packet in packets:
            early.append(packet)
            stamp = packet.pts if packet.dts is None else packet.dts
            if stamp is not None:
                stamps.append(stamp)
            # Two stamps tell the pace; a stream that was stamped from the start waits for none.
            if (
                packet.size == 0
                or len(stamps) in (2, len(early))
                or len(early) >= _UNTIMED_PICTURES
            ):
                break
        if len(stamps) == 2:
            for before, unknown in enumerate(reversed(early[:-2]), 1):
                unknown.pts = unknown.dts = stamps[0] - before * max(1, stamps[1] - stamps[0])
        yield from early
        yield from packets

    def _coded(self, packet: VideoPacket) -> Coded | None:
        if self._layout is None or packet.size == 0 or not self._is_timed:
            return None
        dts_s = self._seconds(packet.pts if packet.dts is None else packet.dts)
        pts_s = self._seconds(packet.dts if packet.pts is None else packet.pts)
        if pts_s is None or dts_s is None:
            return None
        return Coded(bytes(packet), pts_s, dts_s, packet.is_keyframe, self._layout)

    def _take(self, packet: VideoPacket, interval_s: float) -> list[Picture]:
        """The packet's picture, or those due that came out with it."""
        if packet.size == 0:  # FFmpeg's mark of the end
            return self._decoded(lambda: self._decoder.decode_rest(packet), interval_s)
        stamp_s = self._stamp_s(packet)
        self._camera_clock.note(packet, self._seconds(packet.pts))
        if self._live:
            self._lag.arrived(stamp_s, self._clock.monotonic_s())
        lost = self._numbers is not None and self._numbers.follow(
            bytes(memoryview(packet)[:LOOK_BYTES])
        )
        self._tainted = packet.is_corrupt or lost or (self._tainted and not packet.is_keyframe)
        if self._tainted:
            self._decoder.forget()
            return [Picture(None, stamp_s, damaged=True)]
        if packet.is_keyframe:
            self._measure_gop(packet)
        if not self._wanted(packet, stamp_s, interval_s):
            return [Picture(None, stamp_s)]
        found = self._decoded(lambda: self._decode(packet, interval_s), interval_s)
        return found or [Picture(None, stamp_s, damaged=self._sought_too_long())]

    def _wanted(self, packet: VideoPacket, stamp_s: float | None, interval_s: float) -> bool:
        """Whether the packet is to be decoded now; else it is kept, or let go."""
        if self._lag.catching_up:
            # Up to the newest keyframe, that is: each one takes the place of all that is kept.
            self._decoder.keep(packet)
            return False
        if self._mode == "all":
            self._seeking_since_s = self._seeking_since_s or self._clock.monotonic_s()
            return True
        if self._mode == "keyframes" and not packet.is_keyframe:
            return False
        if self._seeking_since_s is None:
            # A keyframe is shown later than it is sent where pictures are sent out of order.
            at_s = self._at_s(self._seconds(packet.pts) if packet.is_keyframe else stamp_s)
            early_s = self._early_s(interval_s) if packet.is_keyframe else 0.0
            if at_s is not None and self._grid.reached(at_s, interval_s, early_s):
                self._seeking_since_s = self._clock.monotonic_s()
            elif self._mode == "auto":
                self._decoder.keep(packet)
        return self._seeking_since_s is not None

    def _decode(self, packet: VideoPacket, interval_s: float) -> list[VideoFrame]:
        if self._mode == "keyframes":
            return self._decoder.decode_alone(packet)
        pts_s = self._seconds(packet.pts)
        before_is_due = (
            pts_s is not None
            and packet.pts != packet.dts
            and self._grid.reached(pts_s - self._early_s(interval_s), interval_s)
        )
        return self._decoder.decode(packet, afresh=packet.is_keyframe and not before_is_due)

    def _decoded(self, decode: Callable[[], list[VideoFrame]], interval_s: float) -> list[Picture]:
        """The pictures due of what `decode` gives."""
        try:
            frames = decode()
        except av.error.FFmpegError:
            # Garbage in one packet; the connection is sound. What follows refers to it.
            self._tainted = True
            return [Picture(None, damaged=True)]
        pictures: list[Picture] = []
        for frame in frames:
            if frame.is_corrupt:
                self._tainted = True
                return [*pictures, Picture(None, damaged=True)]
            pts_s = self._seconds(frame.pts) if self._is_timed else None
            at_s = self._at_s(pts_s)
            early_s = self._early_s(interval_s) if frame.key_frame else 0.0
            due = at_s is not None and self._grid.due(at_s, interval_s, early_s)
            if due or self._mode == "all":
                self._seeking_since_s = None
            if due:
                pictures.append(Picture(_rgb(frame), pts_s))
        return pictures

    def _measure_gop(self, packet: VideoPacket) -> None:
        pts_s, last_s = self._seconds(packet.pts), self._last_key_s
        self._gop_s = pts_s - last_s if pts_s is not None and last_s is not None else 0.0
        self._last_key_s = pts_s

    def _early_s(self, interval_s: float) -> float:
        """How early a keyframe may be taken. Not if the next one will be in time, too."""
        if self._mode == "all":
            return 0.0
        return min(max(0.0, _EARLY_GOP * self._gop_s), _EARLY * interval_s)

    def _sought_too_long(self) -> bool:
        since_s = self._seeking_since_s
        return since_s is not None and self._clock.monotonic_s() - since_s > _SILENCE_S

    @property
    def _is_timed(self) -> bool:
        return self._unstamped < _UNTIMED_PICTURES

    def _stamp_s(self, packet: VideoPacket) -> float | None:
        stamp_s = self._seconds(packet.pts if packet.dts is None else packet.dts)
        if not self._is_timed:
            return None
        # RTSP's first packet may lack it, and two clocks must not mix.
        self._unstamped = 0 if stamp_s is not None else self._unstamped + 1
        return stamp_s

    def _at_s(self, pts_s: float | None) -> float | None:
        """The time by which pictures are sampled."""
        return pts_s if self._is_timed else self._clock.monotonic_s()

    def _seconds(self, ticks: int | None) -> float | None:
        if ticks is None or self._stream.time_base is None:
            return None
        return float(ticks * self._stream.time_base) + self._shift_s


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


def _rgb(frame: VideoFrame) -> Image:
    image = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)  # [H, W, 3]
    # Phones film sideways and say so; `rotation` is degrees counter-clockwise, and so is rot90.
    return np.ascontiguousarray(np.rot90(image, frame.rotation // 90)) if frame.rotation else image
