"""Which ids is a look at a window, or at a picture?

Knows no tensors. Windows of one plan have the same words but for their times, and questions come
again with every window, so both are kept. To the first SmolVLM, which knows no times, a window is
pictures in a row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache

from pipelines.examples import Examples
from pipelines.smolvlm2.prompt import (
    picture_suffix,
    pictures_prefix,
    question_suffix,
    video_prefix,
)
from pipelines.smolvlm2.tokens import Tokens
from pipelines.types import Window

_KEPT = 256  # prompts, and as many questions

Grid = tuple[int, int]  # rows and columns of a picture that is cut into tiles; (0, 0): it is not


class Wording:
    """Turns windows, pictures and questions into ids."""

    def __init__(self, tokens: Tokens, tokens_per_frame: int, *, of_time: bool = True) -> None:
        """`of_time`: whether the model was tuned on frames with their times, as SmolVLM2 was."""
        self._tokens = tokens
        self._tokens_per_frame = tokens_per_frame
        self._of_time = of_time
        self._prefix = lru_cache(_KEPT)(self._encode_prefix)
        self._suffix = lru_cache(_KEPT)(self._encode_suffix)
        self.sha256 = lru_cache(_KEPT)(self._hash)

    def prefix_ids(self, window: Window, examples: Examples | None) -> tuple[int, ...]:
        """Ids of the prompt up to the question, with reference pictures before the window's."""
        # A live camera's clock jitters around whole seconds, which the prompt cuts off: to one
        # decimal, so that 2.98 s does not read 00:02 in one window and 00:03 in the next.
        times_s = tuple(round(frame.captured_s - window.start_s, 1) for frame in window.frames)
        says = examples.says if examples is not None else ()
        if window.anchor is None:
            return self._prefix(times_s, round(window.duration_s, 1), says)
        begun = min(window.anchor.begun, len(times_s))
        return self._prefix(times_s, times_s[begun - 1], says, begun)

    def picture_ids(self, grid: Grid) -> tuple[int, ...]:
        """Ids of the prompt up to the question about one picture."""
        return tuple(self._tokens.encode(pictures_prefix([grid], self._tokens_per_frame)))

    def suffix_ids(self, question: str, grid: Grid | None = None) -> tuple[int, ...]:
        """Ids of a question, about a picture if there is a `grid`.

        Raises `ValueError` for one that cannot be asked.
        """
        return self._suffix(question, self._of_time and grid is None)

    def _encode_prefix(
        self,
        times_s: Sequence[float],
        duration_s: float,
        says: Sequence[str],
        begun: int | None = None,
    ) -> tuple[int, ...]:
        return tuple(self._tokens.encode(self._text(times_s, duration_s, says, begun)))

    def _text(
        self,
        times_s: Sequence[float],
        duration_s: float,
        says: Sequence[str],
        begun: int | None = None,
    ) -> str:
        if self._of_time:
            return video_prefix(times_s, duration_s, self._tokens_per_frame, says, begun)
        return pictures_prefix([(0, 0)] * len(times_s), self._tokens_per_frame, says)

    def _encode_suffix(self, question: str, of_time: bool) -> tuple[int, ...]:  # noqa: FBT001
        text = question_suffix(question) if of_time else picture_suffix(question)
        return tuple(self._tokens.encode(text))

    def _hash(
        self,
        questions: tuple[str, ...],
        prompt: str | None,
        examples: Examples | None,
        grid: Grid | None = None,
    ) -> str:
        """Name what was asked and how: equal for two windows that differ in frames alone."""
        says = examples.says if examples is not None else ()
        if grid is None:
            frame = self._text([0.0], 0.0, says)
        else:
            frame = pictures_prefix([grid], self._tokens_per_frame)
        suffix = question_suffix if self._of_time and grid is None else picture_suffix
        asked = [suffix(question) for question in questions]
        words = suffix(prompt) if prompt is not None else None
        told = [frame, asked, words, *([examples.name] if examples is not None else [])]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()
