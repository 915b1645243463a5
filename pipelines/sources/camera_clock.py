"""What time is it in the camera?

Knows FFmpeg's note of it on packets; not whether the camera's clock is right.
"""

from __future__ import annotations

import struct

import av.packet
import av.video.stream

_PRFT = struct.Struct("=q")  # AVProducerReferenceTime: Unix microseconds, then flags


class CameraClock:
    """The camera's wall clock, from its RTCP sender reports (RFC 3550, section 6.4.1).

    FFmpeg puts it on packets as "producer reference time" once a report has come; cameras send one
    every few seconds. Many cameras have never been told the time: it is shown, and decides nothing.
    """

    def __init__(self) -> None:
        self._offset_s: float | None = None  # Unix time of time stamp 0

    def note(
        self, packet: av.packet.Packet[av.video.stream.VideoStream], pts_s: float | None
    ) -> None:
        """Look at a packet whose picture is shown at `pts_s`."""
        if pts_s is not None and packet.has_sidedata("prft"):
            micros = _PRFT.unpack_from(bytes(packet.get_sidedata("prft")))[0]
            self._offset_s = micros / 1e6 - pts_s

    def at(self, pts_s: float | None) -> float | None:
        """Unix seconds by the camera's clock at this time stamp; None while it is not known."""
        return None if self._offset_s is None or pts_s is None else self._offset_s + pts_s
