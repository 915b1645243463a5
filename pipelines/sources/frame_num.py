"""Is a picture missing from an H.264 stream?

Knows the first bits of its headers (ITU-T H.264, 7.3); decodes nothing. Cameras on bad networks
leave out whole pictures, and FFmpeg then decodes the next ones against the wrong reference without
a word: ten lost P-frames raised no error and no flag. The stream itself numbers them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_START = re.compile(rb"\x00\x00\x01")
_SLICE, _IDR, _SPS = 1, 5, 7  # nal_unit_type, table 7-1
_HEADER_BYTES = 32  # of a slice: more than what comes before frame_num can take
LOOK_BYTES = 4096  # of a packet are enough: what comes before the first slice is shorter
_CHROMA_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})


class FrameNumbers:
    """Follows one stream's `frame_num`. `set_up` is its extradata; only Annex B is understood."""

    def __init__(self, set_up: bytes = b"") -> None:
        self._sps: _Sps | None = None
        self._last: int | None = None  # of the last picture that others refer to
        for nal in _nals(set_up):
            self._learn(nal)

    def follow(self, packet: bytes) -> bool:
        """Take one picture's packet, or its first `LOOK_BYTES`.

        True if a picture that it may refer to is missing before it.
        """
        for nal in _nals(packet):
            self._learn(nal)
            kind = nal[0] & 0x1F
            if kind == _IDR:
                self._last = 0
                return False
            if kind == _SLICE:
                return self._count(nal)
        return False

    def _learn(self, nal: bytes) -> None:
        if nal[0] & 0x1F == _SPS:
            self._sps = _read_sps(nal)

    def _count(self, nal: bytes) -> bool:
        if self._sps is None or self._sps.gaps_allowed:
            return False
        try:
            bits = _Bits(nal[1 : 1 + _HEADER_BYTES])
            for _ in ("first_mb_in_slice", "slice_type", "pic_parameter_set_id"):
                bits.exp_golomb()
            number = bits.take(self._sps.number_bits)
        except IndexError:
            return False  # cut short; the decoder will say so
        last, self._last = self._last, number if nal[0] & 0x60 else self._last
        return last is not None and number not in (last, (last + 1) % 2**self._sps.number_bits)


@dataclass(frozen=True, slots=True)
class _Sps:
    number_bits: int
    gaps_allowed: bool  # pictures may be left out on purpose


def _read_sps(nal: bytes) -> _Sps | None:
    """Section 7.3.2.1.1 as far as it is needed; None if it is damaged or of a rare kind."""
    bits = _Bits(nal[1:])
    try:
        profile = bits.take(8)
        bits.take(16)
        bits.exp_golomb()  # seq_parameter_set_id
        if profile in _CHROMA_PROFILES:
            if bits.exp_golomb() == 3:  # 4:4:4, which no camera sends
                return None
            bits.exp_golomb()
            bits.exp_golomb()
            bits.take(1)
            if bits.take(1):  # scaling lists
                _pass_scaling_lists(bits)
        number_bits = bits.exp_golomb() + 4
        order = bits.exp_golomb()
        if order == 0:
            bits.exp_golomb()
        elif order == 1:
            bits.take(1)
            for _ in range(2):
                bits.exp_golomb()
            for _ in range(bits.exp_golomb()):
                bits.exp_golomb()
        bits.exp_golomb()  # max_num_ref_frames
        return _Sps(number_bits, gaps_allowed=bool(bits.take(1)))
    except IndexError:
        return None


def _pass_scaling_lists(bits: _Bits) -> None:
    for size in (16, 16, 16, 16, 16, 16, 64, 64):
        scale = following = 8
        if not bits.take(1):
            continue
        for _ in range(size):
            if following:
                code = bits.exp_golomb()
                following = (scale + ((code + 1) // 2 if code % 2 else -(code // 2))) % 256
            scale = following or scale


def _nals(stream: bytes) -> list[bytes]:
    """NAL units behind start codes; none of what does not begin with one."""
    found = [match.end() for match in _START.finditer(stream)]
    if not found or found[0] > 4:
        return []
    return [stream[begin:end] for begin, end in zip(found, [*found[1:], None], strict=True)
            if begin < len(stream)]  # fmt: skip


class _Bits:
    """Bits of a NAL unit, first one first, without its emulation prevention (7.4.1)."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets.replace(b"\x00\x00\x03", b"\x00\x00")
        self._at = 0

    def take(self, count: int) -> int:
        """The next `count` bits. Raises `IndexError` at the end."""
        value = 0
        for _ in range(count):
            value = value << 1 | self._octets[self._at >> 3] >> (7 - self._at & 7) & 1
            self._at += 1
        return value

    def exp_golomb(self) -> int:
        """The next ue(v) (9.1). Raises `IndexError` at the end."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)
