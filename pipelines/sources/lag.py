"""How late is a live camera read, and is it time to catch up?

Knows time stamps and the moments at which they were read; no packets and no camera's clock.
"""

from __future__ import annotations

MOST_S = 2.0  # behind by more, and what waits is passed over
_CAUGHT_UP_S = 0.5
_BACK_S = 0.5  # stamps go back a little where pictures are sent out of order; not so far
_DRIFT = 0.001  # camera crystals are off by a tenth of this
_TRIAL_S = 0.5  # of catching up, after which it is seen whether there was anything to catch up
_FASTER = 2.0  # packets that wait are read in a fraction of the time in which they were sent


class Lag:
    """Compares the pace of the time stamps with the pace at which they are read.

    The least difference ever seen between the two is taken for no lag; it is let rise a little, for
    no two clocks run alike. Beyond `MOST_S` it is time to catch up: to pass over what waits, until
    the newest. Where that brings nothing, because the camera itself is slow (cheap ones stamp
    15 pictures a second and send 14), the difference is taken for no lag from then on.
    """

    def __init__(self) -> None:
        self.behind_s: float | None = None  # None while nothing is known
        self.catching_up = False
        self._none_s = 0.0  # the difference that is no lag
        self._last_stamp_s = 0.0
        self._last_s = 0.0
        self._trial = (0.0, 0.0)  # stamp and moment at which catching up began

    def arrived(self, stamp_s: float | None, now_s: float) -> None:
        """A packet with this stamp was read at `now_s` (monotonic). Without a stamp: no matter."""
        if stamp_s is None:
            return
        difference_s = now_s - stamp_s
        if self.behind_s is None or stamp_s < self._last_stamp_s - _BACK_S:
            self._begin(difference_s)
        slack_s = _DRIFT * (now_s - self._last_s)
        self._none_s = min(difference_s, self._none_s + max(0.0, slack_s))
        self._last_stamp_s, self._last_s = stamp_s, now_s
        self.behind_s = difference_s - self._none_s
        if not self.catching_up and self.behind_s > MOST_S:
            self.catching_up = True
            self._trial = (stamp_s, now_s)
        elif self.catching_up and self.behind_s <= _CAUGHT_UP_S:
            self.catching_up = False
        elif self.catching_up and now_s - self._trial[1] >= _TRIAL_S:
            if stamp_s - self._trial[0] < _FASTER * (now_s - self._trial[1]):
                self._begin(difference_s)
            self._trial = (stamp_s, now_s)

    def _begin(self, difference_s: float) -> None:
        """Whatever was known is void: this difference is no lag."""
        self._none_s = difference_s
        self.behind_s = 0.0
        self.catching_up = False
