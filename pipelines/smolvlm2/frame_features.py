"""Where do the features of looks' frames come from?

Knows the cache, and the stand-ins where they are wanted; no prompts. What was encoded is kept under
its own frame's name only, so that whoever wants a frame exactly as it is finds that or nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pipelines.smolvlm2.batch_protocol import BatchEngine
from pipelines.smolvlm2.cache import EncoderCache
from pipelines.smolvlm2.stand_ins import StandIns
from pipelines.smolvlm2.worded import Worded
from pipelines.types import FrameKey, Image


class FrameFeatures:
    """Features of the cache, and of an engine for the rest. For one thread."""

    def __init__(self, cache: EncoderCache, stand_ins: StandIns | None = None) -> None:
        """`stand_ins`: whose features still frames take; None: each has its own."""
        self._cache = cache
        self._stand_ins = stand_ins

    def chosen(self, group: Sequence[Worded]) -> tuple[list[Worded], list[int]]:
        """The looks with the keys whose features they use, and how many new frames take others'.

        Reference pictures, and what somebody asks for, are seen as they are.
        """
        if self._stand_ins is None:
            return list(group), [0] * len(group)
        looks: list[Worded] = []
        counts: list[int] = []
        coming: set[FrameKey] = set()  # encoded in this turn
        for one in group:
            before = self._stand_ins.count
            keys = list(one.keys)
            if one.look.window.reason != "request":
                examples = len(keys) - len(one.look.window.frames)
                for place, frame in enumerate(one.look.window.frames, examples):
                    keys[place] = self._stand_ins.key_for(
                        frame, lambda key: key in self._cache or key in coming
                    )
                    coming.add(keys[place])
            coming.update(keys)
            looks.append(dataclasses.replace(one, keys=tuple(keys)))
            counts.append(self._stand_ins.count - before)
        return looks, counts

    def of(
        self, group: Sequence[Worded], engine: BatchEngine[Any]
    ) -> tuple[list[list[Tensor]], list[int]]:
        """Features of all frames of each look, and how many of each were not cached.

        A frame of two looks counts for the first.
        """
        features: dict[FrameKey, Tensor] = {}
        new: dict[FrameKey, Image] = {}
        counts: list[int] = []
        for one in group:
            before = len(new)
            for frame, key in zip(one.frames, one.keys, strict=True):
                cached = self._cache.get(key)
                if cached is None:
                    new.setdefault(key, frame.image)  # the first is the frame of that name
                else:
                    features[key] = cached
            counts.append(len(new) - before)
        if new:
            encoded = engine.encode_images(list(new.values()))
            for key, frame_features in zip(new, encoded, strict=True):
                features[key] = frame_features
                self._cache.put(key, frame_features)
        return [[features[key] for key in one.keys] for one in group], counts
