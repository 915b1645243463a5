"""Which message makes the broker hang up?

Knows no link: it is told what was unanswered when one ended. A broker for MQTT 3.1.1 has no word
for "too large"; it cuts the line, and a client that sends the same again never gets past it. A line
that is merely bad ends at other messages, too, or lets them through when they are sent alone.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

SOON_S: Final = 10.0  # an end so long after the sending has other reasons
_PROOF: Final = 3  # ends in a row while nothing else was on the way


class Poison:
    """Suspects the message that was first in line when a link ended; it is then sent alone."""

    def __init__(self) -> None:
        self._suspect: Hashable = None
        self._alone = 0

    @property
    def suspects(self) -> bool:
        """Whether messages are to be sent one by one."""
        return self._suspect is not None

    def answered(self, key: Hashable) -> None:
        """The broker answered that one."""
        if key == self._suspect:
            self._suspect = None

    def ended(self, unanswered: Hashable, *, alone: bool) -> bool:
        """A link ended soon after this was sent; True if it is proven to be the reason."""
        if unanswered != self._suspect:
            self._suspect, self._alone = unanswered, 0
        elif alone:
            self._alone += 1
        if self._alone < _PROOF:
            return False
        self._suspect = None
        return True
