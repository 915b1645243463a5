"""Which calls does a GPU replay, and which tensors do they read and fill?

Knows shapes, no prompts and no questions. Of each kind there is one call for each set of sizes; it
is recorded when they come for the first time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from pipelines.smolvlm2.fused_ops import FusedOps
from pipelines.smolvlm2.kv_store import KeyValueStore
from pipelines.smolvlm2.lean_language import Language, read_behind, read_prompts
from pipelines.smolvlm2.lean_vision import Vision, encode
from pipelines.smolvlm2.packing import bias_of
from pipelines.smolvlm2.replay import Call, Replay

# The fastest first, as measured: see tests/bench/LOG.md.
_KERNELS = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]


class Frames(NamedTuple):
    """Of a batch of frames."""

    levels: Tensor  # uint8 [N, 3, S, S]
    features: Tensor  # [N, tokens, hidden], filled


class Prompts(NamedTuple):
    """Of prompts up to their questions."""

    ids: Tensor  # [W, P]: tokens, or -1 - row of `features`
    features: Tensor  # [image tokens, hidden]


class Reading(NamedTuple):
    """Of questions, or of the start of an answer, behind prompts."""

    rows: Tensor  # [W, 3, Q]: ids, questions, positions
    prompt_lengths: Tensor  # [W]
    slots: Tensor  # [Q]
    hidden: Tensor  # [W, Q, hidden], filled


class Step(NamedTuple):
    """Of one word for each window."""

    ids: Tensor  # [W, 1], filled
    positions: Tensor  # [W, 1], moved on
    slot: Tensor  # [1], moved on
    bias: Tensor  # [W, 1, slots], moved on


class RecordedCalls:
    """The engine's four kinds of calls. For one thread."""

    def __init__(self, vision: Vision, language: Language, ops: FusedOps, replay: Replay) -> None:
        self._vision = vision
        self._language = language
        self._ops = ops
        self._replay = replay
        self._device = language.embed.device

    def frames(self, size: int) -> Call:
        """Encode N frames: `Frames`."""

        def make() -> Frames:
            levels = (size, 3, self._vision.frame_size_px, self._vision.frame_size_px)
            features = (size, self._vision.num_tokens, self._hidden_size)
            return Frames(self._zeros(*levels, dtype=torch.uint8), self._zeros(*features))

        def run(frames: Frames) -> None:
            frames.features.copy_(encode(self._vision, self._ops, frames.levels))

        with _kernels(self._device):
            return self._replay.call(("frames", size), make, run)

    def prompts(self, store: KeyValueStore, size: int, padded: int, image_tokens: int) -> Call:
        """Read W prompts of up to `padded` tokens into the store's first rows: `Prompts`."""

        def make() -> Prompts:
            ids = self._zeros(size, padded, dtype=torch.long)
            return Prompts(ids, self._zeros(image_tokens, self._hidden_size))

        def run(prompts: Prompts) -> None:
            part = store.part(size, padded)
            read_prompts(self._language, self._ops, prompts.ids, prompts.features, part)

        key = ("prompts", store, size, padded, image_tokens)
        with _kernels(self._device):
            return self._replay.call(key, make, run)

    def reading(self, store: KeyValueStore, size: int, width: int, padded: int) -> Call:
        """Read `width` tokens a window behind prompts of `padded` slots: `Reading`."""

        def make() -> Reading:
            return Reading(
                rows=self._zeros(size, 3, width, dtype=torch.long),
                prompt_lengths=self._zeros(size, dtype=torch.long) + 1,
                slots=torch.arange(padded, padded + width, device=self._device),
                hidden=self._zeros(size, width, self._hidden_size),
            )

        def run(reading: Reading) -> None:
            ids, question, positions = reading.rows.unbind(1)
            bias = bias_of(question, reading.prompt_lengths, padded, reading.hidden.dtype)
            part = store.part(size, padded + width)
            places = (positions, reading.slots, bias)
            reading.hidden.copy_(read_behind(self._language, self._ops, ids, places, part))

        with _kernels(self._device):
            return self._replay.call(("reading", store, size, width, padded), make, run)

    def step(self, store: KeyValueStore, size: int, slots: int) -> Call:
        """Read a token a window, and find the likeliest next: `Step`."""

        def make() -> Step:
            return Step(
                ids=self._zeros(size, 1, dtype=torch.long),
                positions=self._zeros(size, 1, dtype=torch.long),
                # Prompts are in place by now: a new call's first run may write to the end only.
                slot=self._zeros(1, dtype=torch.long) + (slots - 1),
                bias=self._zeros(size, 1, slots),
            )

        def run(step: Step) -> None:
            step.bias.index_fill_(2, step.slot, 0.0)
            places = (step.positions, step.slot, step.bias)
            part = store.part(size, slots)
            hidden = read_behind(self._language, self._ops, step.ids, places, part)
            step.ids.copy_(self._language.likeliest(hidden))
            step.positions.add_(1)
            step.slot.add_(1)

        with _kernels(self._device):
            return self._replay.call(("step", store, size, slots), make, run)

    @property
    def _hidden_size(self) -> int:
        """Of the language model's states."""
        return self._language.embed.shape[1]

    def _zeros(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        dtype = dtype or self._language.embed.dtype
        return torch.zeros(shape, dtype=dtype, device=self._device)


@contextmanager
def _kernels(device: torch.device) -> Iterator[None]:
    """Attention kernels in their order, while a call is recorded."""
    if device.type != "cuda":
        yield
        return
    with sdpa_kernel(_KERNELS, set_priority=True):
        yield
