"""What does an engine offer that runs several windows at once, and how does any other pass for one?

Knows no engine. The model speaks to batches only; `OneAtATime` makes batches of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from pipelines.smolvlm2.engine_protocol import Engine, Prefix
from pipelines.smolvlm2.preprocess import preprocess
from pipelines.types import Image


class Prompt(NamedTuple):
    """A window's prompt up to the question."""

    ids: tuple[int, ...]  # with image tokens where the frames stand
    features: Sequence[Tensor]  # of the frames, in order, [tokens, hidden] each
    room: int  # the most tokens that one later call adds


P = TypeVar("P", bound=Prefix)


@runtime_checkable
class BatchEngine(Protocol[P]):
    """Computes features, answers and words of several windows. For one thread at a time."""

    @property
    def frame_size_px(self) -> int:
        """Edge of the square frames that it makes of pictures."""
        ...

    @property
    def tokens_per_frame(self) -> int:
        """How many image tokens stand for a frame in the prompt."""
        ...

    @property
    def max_tokens(self) -> int:
        """The model's context."""
        ...

    @property
    def windows_at_once(self) -> int:
        """The most prompts of one `prefill_all`."""
        ...

    def encode_images(self, images: Sequence[Image]) -> Sequence[Tensor]:
        """Pictures of any sizes, uint8 RGB [H, W, 3], to features [tokens, hidden] each.

        Each tensor has its own memory. Raises `ValueError` for what is no picture.
        """
        ...

    def prefill_all(self, prompts: Sequence[Prompt]) -> Sequence[P]:
        """Run the prompts. What it gives serves any number of calls until prompts are run anew.

        Raises `ValueError` if one is longer than the model's context or features do not fit.
        """
        ...

    def answer_all(
        self,
        prefixes: Sequence[P],
        suffixes: Sequence[Sequence[Sequence[int]]],
        token_ids: Sequence[int],
    ) -> Tensor:
        """Logits of `token_ids` as each answer's first token.

        `suffixes`: of each prefix, those of all its questions; there may be none. Returns float32
        [all suffixes, token_ids], in the order of prefixes.
        """
        ...

    def decode_all(
        self,
        prefixes: Sequence[P],
        suffixes: Sequence[Sequence[int]],
        max_tokens: int,
        drafts: Sequence[Sequence[int]],
    ) -> list[list[int]]:
        """For each prefix and its one suffix: likeliest tokens until the end or `max_tokens`.

        `drafts`: as `Engine.decode` takes them, one a prefix.
        """
        ...

    def prefill_text(self, ids: Sequence[int], room: int) -> P:
        """Run a prompt of words alone. It stays good while windows are run, until the next text."""
        ...

    def decode_text(self, prefix: P, suffix: Sequence[int], max_tokens: int) -> list[int]:
        """Likeliest tokens behind a prompt of words alone and a suffix."""
        ...


class OneAtATime:
    """An engine for single windows as a `BatchEngine`.

    On a CPU the products of one window fill the cores already: see tests/bench/LOG.md.
    """

    windows_at_once = 1

    def __init__(self, engine: Engine[Any]) -> None:
        self._engine = engine
        self.frame_size_px = engine.frame_size_px
        self.tokens_per_frame = engine.tokens_per_frame
        self.max_tokens = engine.max_tokens

    def encode_images(self, images: Sequence[Image]) -> list[Tensor]:
        """As `BatchEngine`."""
        features = self._engine.encode(preprocess(images, self.frame_size_px))
        return [frame.clone() for frame in features]  # its own memory, not a row of the batch

    def prefill_all(self, prompts: Sequence[Prompt]) -> list[Prefix]:
        """As `BatchEngine`."""
        return [
            self._engine.prefill(prompt.ids, torch.stack(list(prompt.features)), prompt.room)
            for prompt in prompts
        ]

    def answer_all(
        self,
        prefixes: Sequence[Prefix],
        suffixes: Sequence[Sequence[Sequence[int]]],
        token_ids: Sequence[int],
    ) -> Tensor:
        """As `BatchEngine`."""
        return torch.cat(
            [
                self._engine.answer(prefix, some, token_ids)
                for prefix, some in zip(prefixes, suffixes, strict=True)
                if some
            ]
        )

    def decode_all(
        self,
        prefixes: Sequence[Prefix],
        suffixes: Sequence[Sequence[int]],
        max_tokens: int,
        drafts: Sequence[Sequence[int]],
    ) -> list[list[int]]:
        """As `BatchEngine`."""
        return [
            self._engine.decode(prefix, suffix, max_tokens, draft)
            for prefix, suffix, draft in zip(prefixes, suffixes, drafts, strict=True)
        ]

    def prefill_text(self, ids: Sequence[int], room: int) -> Prefix:
        """As `BatchEngine`."""
        prefix: Prefix = self._engine.prefill(ids, None, room)
        return prefix

    def decode_text(self, prefix: Prefix, suffix: Sequence[int], max_tokens: int) -> list[int]:
        """As `BatchEngine`."""
        return self._engine.decode(prefix, suffix, max_tokens)
