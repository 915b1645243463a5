"""What can be wrong with a camera?

Knows what a camera sends and when; no socket. `RtspServer` asks its `faults` at every turn, and
everything in them may be changed while it plays.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from tests.h264 import AccessUnit, Clip

Timeline = Iterator[AccessUnit]  # in sending order, times from PLAY on
_NAL_HEADER = 1  # bytes, left whole: a payload of another type is merely ignored
_FRAME_HEADER = 4 + 12  # interleaving (RFC 2326, 10.12) and RTP


@dataclass
class Faults:
    """What this camera does wrong; by default nothing."""

    unanswered: set[str] = field(default_factory=set)  # requests that get no answer; `*`: none does
    status: dict[str, int] = field(default_factory=dict)  # method -> answered with this
    sdp: Callable[[str], str] = str
    media: Callable[[Timeline], Timeline] = iter
    wire: Callable[[bytes], bytes] = bytes  # one RTP packet as it is sent, interleaving included
    audio: bool = False  # it has sound as well, which goes on whatever happens to the picture
    clock_offset_s: float | None = None  # its clock minus ours; None: it sends no sender reports

    def answers(self, method: str) -> bool:
        """Whether a request gets an answer."""
        return not self.unanswered & {method, "*"}


def lose_pictures(lost: Callable[[int, AccessUnit], bool]) -> Callable[[Timeline], Timeline]:
    """The network loses whole pictures: those for which `lost(index, picture)` holds."""
    return lambda timeline: (unit for index, unit in enumerate(timeline) if not lost(index, unit))


def no_keyframes(timeline: Timeline) -> Timeline:
    """A camera that was told to refresh its picture bit by bit."""
    return (unit for unit in timeline if not unit.is_key)


def jump(at_s: float, by_s: float) -> Callable[[Timeline], Timeline]:
    """The camera's clock is set, `at_s` after PLAY; pictures go on being sent at their pace."""
    return lambda timeline: (
        replace(unit, pts_s=unit.pts_s + by_s) if unit.dts_s >= at_s else unit for unit in timeline
    )


def switch(at_s: float, clip: Clip) -> Callable[[Timeline], Timeline]:
    """The camera's resolution is changed in mid-stream, and it goes on with `clip`."""

    def media(timeline: Timeline) -> Timeline:
        yield from itertools.takewhile(lambda unit: unit.dts_s < at_s, timeline)
        for unit in repeat(clip):
            yield replace(unit, pts_s=unit.pts_s + at_s, dts_s=unit.dts_s + at_s)

    return media


def repeat(clip: Clip) -> Timeline:
    """The clip over and over, with time stamps that go on."""
    for turn in itertools.count():
        shift_s = turn * clip.duration_s
        for unit in clip.units:
            yield replace(unit, pts_s=unit.pts_s + shift_s, dts_s=unit.dts_s + shift_s)


def every(nth: int, harm: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Does `harm` to one RTP packet in `nth`, the first ones excepted."""
    count = itertools.count(1)
    return lambda packet: packet if next(count) % nth else harm(packet)


def halve(packet: bytes) -> bytes:
    """The second half is lost on the way, and the length says so."""
    kept = packet[: _FRAME_HEADER + (len(packet) - _FRAME_HEADER) // 2]
    return kept[:2] + (len(kept) - 4).to_bytes(2, "big") + kept[4:]


def scramble(packet: bytes) -> bytes:
    """The payload is noise behind its first bytes."""
    whole = _FRAME_HEADER + _NAL_HEADER + 2
    return packet[:whole] + bytes(octet ^ 0xA5 for octet in packet[whole:])


def break_framing(packet: bytes) -> bytes:
    """Half a packet with the length of a whole one: what follows is out of step."""
    return packet[: len(packet) // 2]
