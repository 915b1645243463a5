"""How many commands are carried out in a while?

Knows no command: keys and times in, yes or no out. Token buckets: each key has its own, and all
share one, so that a whole house can be armed at once and nobody can keep the daemon busy.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, NamedTuple

_MOST_KEYS: Final = 1000  # of buckets remembered; full ones are as good as forgotten


class Limit(NamedTuple):
    """`burst` at once, then `per_s` a second."""

    burst: float
    per_s: float


class _Bucket:
    def __init__(self, limit: Limit, now_s: float) -> None:
        self._limit = limit
        self._left = limit.burst
        self._at_s = now_s

    def fill(self, now_s: float) -> float:
        """How many are left at `now_s` (monotonic)."""
        passed_s = max(0.0, now_s - self._at_s)
        self._left = min(self._limit.burst, self._left + passed_s * self._limit.per_s)
        self._at_s = now_s
        return self._left

    def take(self) -> None:
        self._left -= 1.0


class RateLimit:
    """For one thread."""

    def __init__(self, each: Limit, together: Limit, now_s: float) -> None:
        self._each = each
        self._together = _Bucket(together, now_s)
        self._buckets: dict[Hashable, _Bucket] = {}

    def allows(self, key: Hashable, now_s: float) -> bool:
        """Whether one more is allowed; if so, it counts."""
        if len(self._buckets) >= _MOST_KEYS:
            full = self._each.burst
            self._buckets = {k: b for k, b in self._buckets.items() if b.fill(now_s) < full}
        bucket = self._buckets.setdefault(key, _Bucket(self._each, now_s))
        if bucket.fill(now_s) < 1.0 or self._together.fill(now_s) < 1.0:
            return False
        bucket.take()
        self._together.take()
        return True
