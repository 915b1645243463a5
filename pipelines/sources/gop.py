"""Which packets must be decoded to get the picture that is wanted?

Knows one stream's packets and its decoder; not which pictures are wanted, nor why.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TypeAlias

import av.error
import av.packet
import av.video.codeccontext
import av.video.frame
import av.video.stream

VideoPacket: TypeAlias = "av.packet.Packet[av.video.stream.VideoStream]"

# What waits of one group of pictures. More is decoded as it comes: a camera with a keyframe a
# minute would else hold up its thread for seconds when a picture is wanted.
_MOST_PICTURES = 256
_MOST_BYTES = 16 * 2**20


class GopDecoder:
    """Decodes one stream, and of each group of pictures only the beginning that is needed.

    A picture refers to those before it, back to a keyframe: `keep` remembers packets undecoded,
    and `decode` catches up on them. A new keyframe makes all that is kept superfluous. FFmpeg's
    errors pass through; after one, as after `forget`, the next packet must be a keyframe.
    """

    def __init__(self, codec: av.video.codeccontext.VideoCodecContext) -> None:
        self._codec = codec
        self._kept: deque[VideoPacket] = deque()
        self._kept_bytes = 0
        self._gap = False  # packets were left out since the decoder was last given one

    def keep(self, packet: VideoPacket) -> None:
        """Take a packet of which no picture is wanted."""
        if packet.is_keyframe:
            self._leave_out_kept()
        self._kept.append(packet)
        self._kept_bytes += packet.size
        while len(self._kept) > _MOST_PICTURES or self._kept_bytes > _MOST_BYTES:
            oldest = self._kept.popleft()
            self._kept_bytes -= oldest.size
            self._feed([oldest])

    def decode(self, packet: VideoPacket, *, afresh: bool) -> list[av.video.frame.VideoFrame]:
        """What the decoder gives for `packet` and all kept before it, in the order of showing.

        That may be nothing yet, or a picture of earlier packets: with B-frames pictures come late.
        `afresh` lets go what is kept: `packet` is a keyframe, and nothing shown before it is due.
        """
        if afresh:
            self._leave_out_kept()
        packets = [*self._kept, packet]
        self._kept.clear()
        self._kept_bytes = 0
        return self._feed(packets)

    def decode_rest(self, end: VideoPacket) -> list[av.video.frame.VideoFrame]:
        """What is still in the decoder at FFmpeg's mark of the end, an empty packet."""
        return [] if self._gap or self._kept else self._feed([end])

    def decode_alone(self, packet: VideoPacket) -> list[av.video.frame.VideoFrame]:
        """The picture of a keyframe, without waiting for what follows it."""
        self.forget()
        frames = self._feed([packet])
        frames += self._codec.decode(None)
        self._gap = True  # a decoder that was drained takes nothing until it is reset
        return frames

    def forget(self) -> None:
        """Drop what is kept: it is damaged, or refers to what is."""
        self._kept.clear()
        self._kept_bytes = 0
        self._gap = True

    def _leave_out_kept(self) -> None:
        if self._kept:
            self.forget()

    def _feed(self, packets: Iterable[VideoPacket]) -> list[av.video.frame.VideoFrame]:
        frames: list[av.video.frame.VideoFrame] = []
        try:
            for packet in packets:
                if self._gap:
                    self._codec.flush_buffers()
                    self._gap = False
                frames += packet.decode()
        except av.error.FFmpegError:
            self.forget()
            raise
        return frames
