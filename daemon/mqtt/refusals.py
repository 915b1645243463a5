"""What becomes of a message that the broker will not have?

Knows no queue: a reason code or a size in; words, and when it is worth another try, out. Codes are
those of MQTT 5, 3.4.2.1; MQTT 3.1.1 has none, its brokers drop a message silently or hang up.

An alert is not lost over a missing right: it is set aside, so that it blocks nothing behind it,
and tried again, slowly, until the access list is mended. What cannot mend itself waits for a person
(`smolwatch mqtt dead-letters --retry`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

REFUSED: Final = 0x80  # reason codes from here on are refusals (MQTT 5, 2.4)
TOO_LARGE: Final = 0x95
_QUOTA: Final = frozenset({0x91, 0x93, 0x97})  # packet id in use, receive maximum, quota
_MALFORMED: Final = frozenset({0x90, 0x99})  # topic name, payload format: the same next time
_TOPIC_BYTES: Final = 2  # its length
_PROPERTY_BYTES: Final = 1 + 5  # their length, message expiry
_HEADER_BYTES: Final = 5  # type, remaining length at its longest
_MID_BYTES: Final = 2


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a message was set aside. `first_s` is None where trying again helps nobody."""

    reason: str
    code: int | None  # the broker's, if it gave one
    first_s: float | None = None
    cap_s: float = 0.0

    def again_s(self, tries: int) -> float | None:
        """Seconds until the next try, after so many of them."""
        if self.first_s is None:
            return None
        return min(self.cap_s, self.first_s * 2.0 ** min(tries - 1, 16))


def refused(code: int, words: str) -> Refusal:
    """The broker answered with a no. `words` are its own."""
    if code in _QUOTA:
        return Refusal(words, code, first_s=5.0, cap_s=300.0)
    if code in _MALFORMED or code == TOO_LARGE:
        return Refusal(words, code)
    return Refusal(words, code, first_s=60.0, cap_s=3600.0)


def too_large(num_bytes: int, most: int) -> Refusal:
    """The broker said at the start that it takes no packet of this size."""
    return Refusal(f"{num_bytes} bytes, and the broker takes {most}", TOO_LARGE)


def ends_the_link(num_bytes: int) -> Refusal:
    """The broker hung up whenever it was sent: what those without reason codes do."""
    words = f"the broker hangs up when it is sent: is it too large ({num_bytes} bytes)?"
    return Refusal(words, None, first_s=600.0, cap_s=6 * 3600.0)


def packet_bytes(topic: str, payload: bytes, correlation: bytes | None = None) -> int:
    """The size of its PUBLISH packet with all that we may put into it, a few bytes too many."""
    extra = 0 if correlation is None else 3 + len(correlation)
    fixed = _HEADER_BYTES + _TOPIC_BYTES + _MID_BYTES + _PROPERTY_BYTES
    return fixed + len(topic.encode()) + extra + len(payload)
