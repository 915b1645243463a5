"""Which share of the time did nobody look?

Knows spans of seconds on one clock; no frames and no windows.
"""

from __future__ import annotations

import math
from collections import deque

RECENT_S = 300.0


class Coverage:
    """Blind time: the share of one camera's enabled seconds that no analysed window covered.

    The newest `settle_s` seconds are left out of every share: a window that is on time may still
    cover them. Times are monotonic, and each call's is no earlier than the last one's.
    """

    def __init__(self, now_s: float, settle_s: float) -> None:
        self._settle_s = settle_s
        self._enabled = _Spans()
        self._enabled_since_s: float | None = now_s
        self._watched = _Spans()

    def watch(self, start_s: float, end_s: float) -> None:
        """Note that the seconds from `start_s` to `end_s` were looked at."""
        self._watched.add(start_s, end_s)

    def enable(self, now_s: float, *, enabled: bool) -> None:
        """Begin or end the time that counts."""
        if enabled and self._enabled_since_s is None:
            self._enabled_since_s = now_s
        elif not enabled and self._enabled_since_s is not None:
            self._enabled.add(self._enabled_since_s, now_s)
            self._enabled_since_s = None

    def blind_share(self, now_s: float, last_s: float = math.inf) -> float:
        """0..1, of all enabled seconds, or of those in the last `last_s` (at most `RECENT_S`)."""
        until_s = now_s - self._settle_s
        since_s = now_s - last_s
        for spans in (self._enabled, self._watched):
            spans.fold(now_s - self._settle_s - RECENT_S)
        enabled_s = self._enabled.seconds(since_s, until_s)
        if self._enabled_since_s is not None:
            enabled_s += max(0.0, until_s - max(self._enabled_since_s, since_s))
        if enabled_s <= 0:
            return 0.0
        watched_s = self._watched.seconds(since_s, until_s)
        return min(1.0, max(0.0, 1.0 - watched_s / enabled_s))


class _Spans:
    """Spans of seconds that do not overlap, oldest first; long past ones are kept as a sum."""

    def __init__(self) -> None:
        self._spans: deque[tuple[float, float]] = deque()
        self._end_s = -math.inf
        self._folded_s = 0.0

    def add(self, start_s: float, end_s: float) -> None:
        """Add what is not covered yet. Spans come in the order of their ends."""
        if end_s <= self._end_s:
            return
        if self._spans and start_s <= self._end_s:
            start_s = self._spans.pop()[0]
        self._spans.append((start_s, end_s))
        self._end_s = end_s

    def fold(self, before_s: float) -> None:
        """Keep only the sum of what lies before `before_s`."""
        while self._spans and self._spans[0][0] < before_s:
            start_s, end_s = self._spans.popleft()
            self._folded_s += min(end_s, before_s) - start_s
            if end_s > before_s:
                self._spans.appendleft((before_s, end_s))

    def seconds(self, since_s: float, until_s: float) -> float:
        """Seconds between the two times; from the very beginning if `since_s` is -inf."""
        folded_s = self._folded_s if since_s == -math.inf else 0.0
        return folded_s + sum(
            max(0.0, min(end_s, until_s) - max(start_s, since_s)) for start_s, end_s in self._spans
        )
