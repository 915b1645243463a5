"""What does an engine offer to the model?

Knows no engine: four verbs and three sizes. Cameras, strings and the cache of frames stay on the
model's side; number formats, memory layouts and devices on the engine's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

from torch import Tensor


class Running(NamedTuple):
    """What runs a model, once `auto` is decided."""

    engine: str  # torch or openvino
    precision: str  # f32, bf16 or int8
    device: str  # cpu, cuda, cuda:1 ..., gpu, npu


class Prefix(Protocol):
    """A window's prompt up to the question, run and kept. Opaque but for its room."""

    @property
    def room(self) -> int:
        """The most tokens that one call may add behind it."""
        ...


P = TypeVar("P", bound=Prefix)  # each engine keeps a prefix in its own way


class Engine(Protocol[P]):
    """Computes features, answers and words. For one thread at a time."""

    @property
    def frame_size_px(self) -> int:
        """Edge of the square frames it takes."""
        ...

    @property
    def tokens_per_frame(self) -> int:
        """How many image tokens stand for a frame in the prompt."""
        ...

    @property
    def max_tokens(self) -> int:
        """The model's context."""
        ...

    def encode(self, pixels: Tensor) -> Tensor:
        """Frames to features.

        `pixels`: uint8 [N, 3, S, S], S = `frame_size_px`. Returns [N, `tokens_per_frame`, hidden]
        in the form that `prefill` takes.
        """
        ...

    def prefill(self, ids: Sequence[int], features: Tensor | None, room: int) -> P:
        """Run the prompt up to the question.

        `ids`: the prefix, with image tokens where the frames stand. `features`: all frames', in
        order, [N, tokens, hidden]; None for a prompt of words alone. `room`: the most tokens that
        one later call adds. The prefix serves any number of calls, and stays good while others
        are made: a text is written in steps, with windows in between. Raises `ValueError` if it
        is longer than the model's context or features do not fit.
        """
        ...

    def answer(
        self, prefix: P, suffixes: Sequence[Sequence[int]], token_ids: Sequence[int]
    ) -> Tensor:
        """Logits of `token_ids` as each answer's first token, float32 [suffixes, token_ids]."""
        ...

    def decode(
        self, prefix: P, suffix: Sequence[int], max_tokens: int, draft: Sequence[int] = ()
    ) -> list[int]:
        """Likeliest tokens until the end of the answer (left out) or `max_tokens`.

        `draft`: what they may be, for engines that are faster then (`pipelines.smolvlm2.drafts`).
        """
        ...
