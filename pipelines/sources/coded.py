"""How is compressed video kept after its connection has gone?

Knows one stream's parameters, which decoders and MP4 need besides the packets; no pictures.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

PLAYABLE = frozenset({"h264", "hevc"})  # that browsers play in an MP4


class StreamLayout:
    """What all packets of one connection share. Outlives the container it was copied from.

    PyAV copies a stream's parameters only from a stream, and an input's are freed with it: so they
    are copied into an MP4 that is never written.
    """

    def __init__(self, stream: VideoStream) -> None:
        import av  # noqa: PLC0415 - who reads no compressed video needs no FFmpeg

        self.codec = stream.codec_context.name
        self.extradata = stream.codec_context.extradata
        self._holder = av.open(io.BytesIO(), "w", format="mp4")
        self._stream = self._holder.add_stream_from_template(stream)

    def add_to(self, container: OutputContainer) -> VideoStream:
        """A stream of `container` that takes the packets as they are."""
        stream = container.add_stream_from_template(self._stream)
        if self.codec == "hevc":
            stream.codec_context.codec_tag = "hvc1"  # without it Safari plays no H.265
        return stream


@dataclass(frozen=True, slots=True)
class Coded:
    """One picture as the camera compressed it."""

    data: bytes
    pts_s: float  # as in `Picture.pts_s` of the picture it becomes
    dts_s: float
    is_key: bool
    layout: StreamLayout
