"""How does what a ring kept become a file or a picture?

Knows MP4, JPEG and the ring's pictures; not who wants them, nor where files go.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final, cast

import av
import av.error
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from pipelines.errors import SmolwatchError
from pipelines.packet_ring import Kept, PacketRing, encode_jpeg
from pipelines.sources.coded import Coded
from pipelines.types import Image

_TICKS: Final = 90_000  # a second
_TIME_BASE: Final = Fraction(1, _TICKS)
# Room for the index before the pictures, so that a browser need not seek: a picture takes 8 bytes
# of times, 8 of their order, 4 of its size, 4 as a keyframe, 8 of its place and 12 of its chunk.
_INDEX_BYTES, _INDEX_BYTES_A_PICTURE = 16_384, 48
_ENCODER: Final = {"preset": "veryfast", "crf": "23"}
_LONGEST_GAP_S: Final = 10.0  # a longer one is a clock that was set, and is not shown
_GAP_FOR_JUMP_S: Final = 0.1
_REORDERED_S: Final = 1.0  # by which a picture may come out of the decoder after its packet


class ClipError(SmolwatchError):
    """A clip or snapshot cannot be made of what the ring holds."""


def write_clip(kept: Sequence[Kept], path: Path) -> None:
    """Write an MP4 that a browser plays while it loads.

    The camera's packets go in as they are; JPEGs are encoded as H.264. Raises `ClipError`, and
    `OSError` where the file cannot be written.
    """
    if not kept:
        raise ClipError("the ring holds nothing of that time")
    # In memory first: where a disk takes not even the header, FFmpeg leaves its file open for good.
    made = io.BytesIO()
    room = {"moov_size": str(_INDEX_BYTES + _INDEX_BYTES_A_PICTURE * len(kept))}
    try:
        with av.open(made, "w", format="mp4", options=room) as container:
            if kept[0].coded is not None:
                stream = kept[0].coded.layout.add_to(container)
                container.mux(list(_packets(kept, stream)))
            else:
                _encode(kept, container)
    except av.error.FFmpegError as error:
        raise ClipError(
            f"the camera's video does not fit into an MP4 ({error.strerror})"
        ) from error
    path.write_bytes(made.getbuffer())


def read_snapshot(ring: PacketRing, captured_s: float) -> bytes:
    """The JPEG of the picture whose frame has this `captured_s`, at the camera's resolution.

    Raises `ClipError` if the ring does not hold it any more.
    """
    kept = ring.cut(captured_s - _REORDERED_S, captured_s + _REORDERED_S)
    exact = [one for one in kept if one.coded is None and one.captured_s == captured_s]
    if exact:
        return exact[-1].data
    pts_s = ring.pts_of(captured_s)
    group = [one.coded for one in kept if one.coded is not None]
    image = _decode(group, pts_s) if pts_s is not None else None
    if image is None:
        raise ClipError("the ring does not hold the picture any more")
    return encode_jpeg(image)


def _packets(kept: Sequence[Kept], stream: VideoStream) -> Iterator[av.Packet[VideoStream]]:
    """The packets from time 0 on, in ascending order whatever the camera's clock did."""
    shift_s = 0.0
    last_s: float | None = None
    for one in kept:
        coded = one.coded
        if coded is None:
            continue
        if last_s is None:
            shift_s = -coded.dts_s
        elif not 0.0 < coded.dts_s + shift_s - last_s < _LONGEST_GAP_S:
            shift_s = last_s + _GAP_FOR_JUMP_S - coded.dts_s
        last_s = coded.dts_s + shift_s
        yield _packet(coded, shift_s, stream)


def _packet(coded: Coded, shift_s: float, stream: VideoStream | None) -> av.Packet[VideoStream]:
    packet = cast("av.Packet[VideoStream]", av.Packet(coded.data))
    packet.time_base = _TIME_BASE
    packet.dts = round((coded.dts_s + shift_s) * _TICKS)
    packet.pts = max(packet.dts, round((coded.pts_s + shift_s) * _TICKS))
    packet.is_keyframe = coded.is_key
    if stream is not None:
        packet.stream = stream
    return packet


def _encode(kept: Sequence[Kept], container: av.container.OutputContainer) -> None:
    stream: VideoStream | None = None
    for one in kept:
        bgr = cv2.imdecode(np.frombuffer(one.data, np.uint8), cv2.IMREAD_COLOR)
        if bgr is None:
            continue
        height_px, width_px = (edge - edge % 2 for edge in bgr.shape[:2])  # as 4:2:0 wants it
        if stream is None:
            stream = container.add_stream("libx264", rate=5, options=_ENCODER)
            stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
            stream.codec_context.time_base = _TIME_BASE
            stream.codec_context.thread_count = 1
        if (stream.width, stream.height) != (width_px, height_px):
            break  # the camera changed its size; what follows is another video
        pixels = np.ascontiguousarray(bgr[:height_px, :width_px], dtype=np.uint8)
        frame = av.VideoFrame.from_ndarray(pixels, format="bgr24")
        frame.time_base = _TIME_BASE
        frame.pts = round((one.captured_s - kept[0].captured_s) * _TICKS)
        container.mux(stream.encode(frame))
    if stream is not None:
        container.mux(stream.encode(None))


def _decode(group: Sequence[Coded], pts_s: float) -> Image | None:
    """The picture of `pts_s`, decoded from the keyframe before it."""
    if not group:
        return None
    layout = group[0].layout
    decoder = cast("VideoCodecContext", av.CodecContext.create(layout.codec, "r"))
    decoder.extradata = layout.extradata
    decoder.thread_count = 1
    wanted = round(pts_s * _TICKS)
    try:
        for coded in (*group, None):
            for frame in decoder.decode(_packet(coded, 0.0, None) if coded else None):
                if frame.pts == wanted:
                    return np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    except av.error.FFmpegError:
        return None
    return None
