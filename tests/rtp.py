"""How does a picture become RTP packets?

Knows RTP and its sender reports (RFC 3550), interleaved with RTSP (RFC 2326, section 10.12), and
how H.264 (RFC 6184) and H.265 (RFC 7798) are cut into them; no connection.
"""

from __future__ import annotations

import base64
import struct

from tests.h264 import Clip, Codec

CLOCK_HZ = 90_000
AUDIO_S = 0.02  # of sound in a packet
_PAYLOAD_TYPE = 96
_FIRST_TICKS = 2**32 - 185_001  # any number will do; this one wraps after 2 s
_MTU = 1400  # bytes of payload in one RTP packet
_VIDEO, _VIDEO_REPORTS, _AUDIO = 0, 1, 2  # channels
_VIDEO_SOURCE, _AUDIO_SOURCE = 0x5EED, 0xA0D10
_AUDIO_HZ = 8000
_FU_A, _FU_265 = 28, 49
_FIRST, _MIDDLE, _LAST = 0x80, 0x00, 0x40
_NTP_OFFSET_S = 2_208_988_800  # from 1900 to 1970


def packets(nals: tuple[bytes, ...], codec: Codec, pts_s: float, sequence: int) -> list[bytes]:
    """One picture's packets, as they go over the connection; the first has number `sequence`."""
    cut = _cut_264 if codec == "h264" else _cut_265
    payloads = [payload for nal in nals for payload in cut(nal)]
    told = []
    for index, payload in enumerate(payloads):
        marker = 0x80 if index == len(payloads) - 1 else 0
        number = (sequence + index) & 0xFFFF
        head = (0x80, marker | _PAYLOAD_TYPE, number, ticks(pts_s), _VIDEO_SOURCE)
        told.append(_interleaved(_VIDEO, struct.pack(">BBHII", *head) + payload))
    return told


def sender_report(pts_s: float, wall_time: float) -> bytes:
    """Which of the camera's wall time belongs to which time stamp (RFC 3550, section 6.4.1)."""
    ntp = int((wall_time + _NTP_OFFSET_S) * 2**32)
    report = struct.pack(">BBHIQIII", 0x80, 200, 6, _VIDEO_SOURCE, ntp, ticks(pts_s), 0, 0)
    return _interleaved(_VIDEO_REPORTS, report)


def silence(number: int) -> bytes:
    """The sound's packet with this number (PCMU)."""
    sound = b"\xff" * round(_AUDIO_HZ * AUDIO_S)
    stamp = number * len(sound) & 0xFFFFFFFF
    head = struct.pack(">BBHII", 0x80, 0, number & 0xFFFF, stamp, _AUDIO_SOURCE)
    return _interleaved(_AUDIO, head + sound)


def ticks(pts_s: float) -> int:
    """The time stamp that RTP carries, 32 bits of it."""
    return (_FIRST_TICKS + round(pts_s * CLOCK_HZ)) & 0xFFFFFFFF


def sdp(clip: Clip, *, audio: bool) -> str:
    """What there is to see, and to hear (RFC 8866)."""
    sets = [base64.b64encode(nal).decode() for nal in clip.sets]
    if clip.codec == "h264":
        name, profile = "H264", clip.sets[0][1:4].hex()
        form = f"packetization-mode=1;profile-level-id={profile};sprop-parameter-sets="
        form += ",".join(sets)
    else:
        name = "H265"
        form = "sprop-vps={};sprop-sps={};sprop-pps={}".format(*sets)
    lines = [
        "v=0",
        "o=- 0 0 IN IP4 127.0.0.1",
        "s=test camera",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        "a=control:*",
        f"m=video 0 RTP/AVP {_PAYLOAD_TYPE}",
        f"a=rtpmap:{_PAYLOAD_TYPE} {name}/{CLOCK_HZ}",
        f"a=fmtp:{_PAYLOAD_TYPE} {form}",
        "a=control:track1",
    ]
    if audio:
        lines += ["m=audio 0 RTP/AVP 0", "a=control:track2"]  # 0: PCMU
    return "\r\n".join([*lines, ""])


def _interleaved(channel: int, packet: bytes) -> bytes:
    return struct.pack(">cBH", b"$", channel, len(packet)) + packet


def _cut_264(nal: bytes) -> list[bytes]:
    """The NAL unit as it is, or cut into FU-A fragments (RFC 6184, section 5.8)."""
    if len(nal) <= _MTU:
        return [nal]
    indicator, kind = nal[0] & 0xE0 | _FU_A, nal[0] & 0x1F
    parts = [nal[i : i + _MTU - 2] for i in range(1, len(nal), _MTU - 2)]
    return [
        bytes([indicator, flag | kind]) + part
        for flag, part in zip(_flags(len(parts)), parts, strict=True)
    ]


def _cut_265(nal: bytes) -> list[bytes]:
    """The NAL unit as it is, or cut into fragmentation units (RFC 7798, section 4.4.3)."""
    if len(nal) <= _MTU:
        return [nal]
    head, kind = bytes([nal[0] & 0x81 | _FU_265 << 1, nal[1]]), nal[0] >> 1 & 0x3F
    parts = [nal[i : i + _MTU - 3] for i in range(2, len(nal), _MTU - 3)]
    return [
        head + bytes([flag | kind]) + part
        for flag, part in zip(_flags(len(parts)), parts, strict=True)
    ]


def _flags(parts: int) -> list[int]:
    return [_FIRST, *[_MIDDLE] * (parts - 2), _LAST]
