"""What does a camera send?

Knows streams and what can be measured of them in a few seconds; not what to make of it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

import av.container
import av.error
import av.packet

from pipelines.clock import Clock
from pipelines.errors import NoKeyframe, NoVideo, SourceError, Stalled
from pipelines.sources import SourceUrl, open_source
from pipelines.sources.camera_clock import CameraClock
from pipelines.sources.stream import connect

LOOK_S = 8.0  # "smart" codecs apart, every camera has sent two keyframes by then
_ENOUGH_KEYFRAMES = 4
_LONGEST_GOP_S = 60.0
_LEAST_S = 3.0  # for a frame rate, and for a sender report
_ALL = 1e-4  # a sample interval below any camera's


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What was measured of one camera. None where it could not be."""

    codec: str | None  # h264, hevc, mjpeg...; None where pictures come decoded
    width_px: int
    height_px: int
    fps: float | None
    keyframe_interval_s: float | None
    audio: str | None  # codec of the sound, if there is any
    first_frame_s: float  # from the first attempt to connect
    has_clock: bool  # it sends its own wall clock
    clock_ahead_s: float | None  # before this machine's, less the way of a packet


def probe(url: SourceUrl, clock: Clock, look_s: float = LOOK_S) -> StreamFacts:
    """Look at a camera for up to `look_s` seconds. Raises a `SourceError`."""
    if url.scheme in {"rtsp", "rtsps", "http", "https"}:
        begun_s = clock.monotonic_s()
        container = connect(url, clock, audio=True)
        with container:
            return _look(url, container, clock, begun_s, look_s)
    return _look_at_pictures(url, clock, look_s)


@dataclass
class _Seen:
    """What came so far."""

    pictures: int = 0
    first_s: float = 0.0
    last_s: float = 0.0
    keyframes_s: list[float] = field(default_factory=list)
    first_frame_s: float | None = None
    size_px: tuple[int, int] = (0, 0)
    clock_ahead_s: float | None = None

    @property
    def fps(self) -> float | None:
        passed_s = self.last_s - self.first_s
        return (self.pictures - 1) / passed_s if self.pictures > 1 and passed_s > 0 else None

    @property
    def keyframe_interval_s(self) -> float | None:
        # With sound, FFmpeg moves its time stamps once, when the first sender report comes.
        steps_s = [after - before for before, after in pairwise(self.keyframes_s)]
        sound_s = [step_s for step_s in steps_s if 0.0 < step_s < _LONGEST_GOP_S]
        return median(sound_s) if sound_s else None


def _look(
    url: SourceUrl,
    container: av.container.InputContainer,
    clock: Clock,
    begun_s: float,
    look_s: float,
) -> StreamFacts:
    if not container.streams.video:
        raise NoVideo(f"{url}: it answers, but with no video stream. Check the address's path.")
    stream = container.streams.video[0]
    # Outside of `except`, as in `connect`.
    seen = _watch(container, clock, begun_s, look_s)
    if seen is None:
        raise Stalled(f"{url}: connected, but nothing arrives. Is another program using it?")
    if seen.first_frame_s is None:
        raise NoKeyframe(
            f"{url}: packets come, but none that can be decoded, for {look_s:.0f} s. Set the "
            "camera's keyframe (I-frame) interval to 1 or 2 s."
        )
    return StreamFacts(
        codec=stream.codec_context.name,
        width_px=seen.size_px[0],
        height_px=seen.size_px[1],
        fps=seen.fps,
        keyframe_interval_s=seen.keyframe_interval_s,
        audio=container.streams.audio[0].codec_context.name if container.streams.audio else None,
        first_frame_s=seen.first_frame_s,
        has_clock=seen.clock_ahead_s is not None,
        clock_ahead_s=seen.clock_ahead_s,
    )


def _watch(
    container: av.container.InputContainer, clock: Clock, begun_s: float, look_s: float
) -> _Seen | None:
    """Count what comes, until enough has; None if nothing does, or it breaks off at once."""
    seen, camera_clock = _Seen(), CameraClock()
    opened_s = clock.monotonic_s()
    video = container.streams.video[0]
    try:
        for packet in container.demux():  # the sound, too: it would fill the connection else
            now_s = clock.monotonic_s()
            if packet.stream_index == video.index and packet.size:
                _note(seen, packet, camera_clock, clock, begun_s)  # type: ignore[arg-type]
            passed_s = now_s - opened_s
            known = len(seen.keyframes_s) >= _ENOUGH_KEYFRAMES and passed_s >= _LEAST_S
            if passed_s >= look_s or known:
                break
    except (av.error.FFmpegError, OSError):
        pass  # what came before tells enough, or nothing did
    return seen if seen.pictures else None


def _note(
    seen: _Seen,
    packet: av.packet.Packet[av.VideoStream],
    camera_clock: CameraClock,
    clock: Clock,
    begun_s: float,
) -> None:
    now_s = clock.monotonic_s()
    seen.first_s = now_s if not seen.pictures else seen.first_s
    seen.last_s = now_s
    seen.pictures += 1
    pts_s = None if packet.pts is None else float(packet.pts * packet.time_base)
    if packet.is_keyframe:
        # By the camera's stamps, if it sends them: a first burst is faster than it was filmed.
        seen.keyframes_s.append(now_s if pts_s is None else pts_s)
    camera_clock.note(packet, pts_s)
    camera_time = camera_clock.at(pts_s)
    if camera_time is not None:
        seen.clock_ahead_s = camera_time - clock.wall_time()
    if seen.first_frame_s is None and (seen.keyframes_s or not packet.is_keyframe):
        _decode_first(seen, packet, clock, begun_s)


def _decode_first(
    seen: _Seen, packet: av.packet.Packet[av.VideoStream], clock: Clock, begun_s: float
) -> None:
    try:
        frame = next((one for one in packet.decode() if not one.is_corrupt), None)
    except av.error.FFmpegError:
        return  # a stream may be joined in its middle
    if frame is not None and seen.keyframes_s:
        seen.first_frame_s = clock.monotonic_s() - begun_s
        seen.size_px = (frame.width, frame.height)


def _look_at_pictures(url: SourceUrl, clock: Clock, look_s: float) -> StreamFacts:
    """USB cameras, files and scenes, as the daemon itself reads them."""
    source, stop, seen = open_source(url, clock), threading.Event(), _Seen()
    begun_s = clock.monotonic_s()
    source.open()
    try:
        while clock.monotonic_s() - begun_s < min(look_s, _LEAST_S):
            picture = source.read(_ALL, stop)
            if picture is None:
                break
            now_s = clock.monotonic_s()
            seen.first_s = now_s if not seen.pictures else seen.first_s
            seen.last_s = now_s
            seen.pictures += 1
            if picture.image is not None and seen.first_frame_s is None:
                seen.first_frame_s = now_s - begun_s
                seen.size_px = (picture.image.shape[1], picture.image.shape[0])
    finally:
        source.close()
    if seen.first_frame_s is None:
        raise SourceError(f"{url}: it was opened, but no picture came.")
    return StreamFacts(
        None, *seen.size_px, seen.fps, None, None, seen.first_frame_s, False, None  # noqa: FBT003
    )  # fmt: skip
