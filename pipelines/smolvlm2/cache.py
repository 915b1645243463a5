"""Which frames need no encoding?

Knows no model: features by the identity of their frame. A sliding window shares most of its frames
with the window before, and frames are encoded independently, so what is kept is exact.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor

from pipelines.types import FrameKey


class EncoderCache:
    """Features of the frames used last, bounded in bytes. For one thread.

    When full, the features that were used longest ago go first (counted in `evictions`). Those of
    reference pictures never go and do not count: see `pin`.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self.hits = 0
        self.misses = 0
        self.evictions = 0
        self._pinned: dict[FrameKey, Tensor | None] = {}
        self._features: OrderedDict[FrameKey, Tensor] = OrderedDict()  # oldest use first

    def __len__(self) -> int:
        """Count the frames held, without those that are pinned."""
        return len(self._features)

    def __contains__(self, key: FrameKey) -> bool:
        """Whether there are features of a frame; that somebody looks is no use of them."""
        return key in self._features or self._pinned.get(key) is not None

    def get(self, key: FrameKey) -> Tensor | None:
        """Features `[tokens, hidden]` of a frame, or None if they must be computed."""
        pinned = key in self._pinned
        features = self._pinned[key] if pinned else self._features.get(key)
        if features is None:
            self.misses += 1
            return None
        self.hits += 1
        if not pinned:
            self._features.move_to_end(key)
        return features

    def pin(self, key: FrameKey) -> None:
        """Keep this one's features for good, once they are put: it is shown again and again."""
        self._pinned.setdefault(key, None)

    def put(self, key: FrameKey, features: Tensor) -> None:
        """Keep features `[tokens, hidden]`, unless they alone are larger than the cache.

        `features` must own their memory: a row of a batch would keep the whole batch alive.
        """
        if key in self._pinned:
            self._pinned[key] = features
            return
        previous = self._features.pop(key, None)
        if previous is not None:
            self.num_bytes -= previous.nbytes
        if features.nbytes > self.max_bytes:
            return
        self._features[key] = features
        self.num_bytes += features.nbytes
        while self.num_bytes > self.max_bytes:
            _, evicted = self._features.popitem(last=False)
            self.num_bytes -= evicted.nbytes
            self.evictions += 1
