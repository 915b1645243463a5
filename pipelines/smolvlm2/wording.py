"""Which ids is a look at a window?

Knows no tensors. Windows of one plan have the same words but for their times, and questions come
again with every window, so both are kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache

from pipelines.examples import Examples
from pipelines.smolvlm2.prompt import question_suffix, video_prefix
from pipelines.smolvlm2.tokens import Tokens
from pipelines.types import Window

_KEPT = 256  # prompts, and as many questions


class Wording:
    """Turns windows and questions into ids."""

    def __init__(self, tokens: Tokens, tokens_per_frame: int) -> None:
        self._tokens = tokens
        self._tokens_per_frame = tokens_per_frame
        self._prefix = lru_cache(_KEPT)(self._encode_prefix)
        self.suffix_ids = lru_cache(_KEPT)(self._encode_suffix)
        self.sha256 = lru_cache(_KEPT)(self._hash)

    def prefix_ids(self, window: Window, examples: Examples | None) -> tuple[int, ...]:
        """Ids of the prompt up to the question, with reference pictures before the window's."""
        # A live camera's clock jitters around whole seconds, which the prompt cuts off: to one
        # decimal, so that 2.98 s does not read 00:02 in one window and 00:03 in the next.
        times_s = tuple(round(frame.captured_s - window.start_s, 1) for frame in window.frames)
        says = examples.says if examples is not None else ()
        return self._prefix(times_s, round(window.duration_s, 1), says)

    def _encode_prefix(
        self, times_s: Sequence[float], duration_s: float, says: Sequence[str]
    ) -> tuple[int, ...]:
        text = video_prefix(times_s, duration_s, self._tokens_per_frame, says)
        return tuple(self._tokens.encode(text))

    def _encode_suffix(self, question: str) -> tuple[int, ...]:
        """Ids of a question. Raises `ValueError` for one that cannot be asked."""
        return tuple(self._tokens.encode(question_suffix(question)))

    def _hash(
        self, questions: tuple[str, ...], prompt: str | None, examples: Examples | None
    ) -> str:
        """Name what was asked and how: equal for two windows that differ in frames alone."""
        says = examples.says if examples is not None else ()
        frame = video_prefix([0.0], 0.0, self._tokens_per_frame, says)
        asked = [question_suffix(question) for question in questions]
        words = question_suffix(prompt) if prompt is not None else None
        told = [frame, asked, words, *([examples.name] if examples is not None else [])]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()
