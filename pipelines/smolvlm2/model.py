"""What does the model say about a window?

Knows no rules and no schedule. One look at a window: encode the frames that are not in the cache,
run their prompt once, answer all questions behind it, and describe it in words if asked to.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from pipelines.clock import Clock, SystemClock
from pipelines.errors import InferenceError
from pipelines.smolvlm2.cache import EncoderCache
from pipelines.smolvlm2.engine_protocol import Engine, Prefix
from pipelines.smolvlm2.preprocess import preprocess
from pipelines.smolvlm2.prompt import question_suffix, text_prompt, video_prefix
from pipelines.smolvlm2.tokens import Tokens
from pipelines.types import Frame, FrameKey, Image, Observation, Timings, Window

DEFAULT_DESCRIPTION_TOKENS = 48
DESCRIBE_ROOM = 64  # tokens of a description's prompt for which a prefix keeps room
LANGUAGE_TOKENS = 8192  # a smaller vocabulary was made for a fixed set of sentences
WRITE_TOKENS = 16  # of a text at once: about a second of the 256M model on two old cores


class SmolVLM2:
    """A `pipelines.types.VideoModel`. For one thread at a time."""

    def __init__(
        self,
        engine: Engine[Any],
        tokens: Tokens,
        model_id: str,
        *,
        cache: EncoderCache,
        max_description_tokens: int = DEFAULT_DESCRIPTION_TOKENS,
        clock: Clock | None = None,
    ) -> None:
        """Take the parts; `max_description_tokens` bounds the length of a description."""
        self.cache = cache
        self._engine = engine
        self._tokens = tokens
        self._model_id = model_id
        self._max_description_tokens = max_description_tokens
        self._clock = clock or SystemClock()
        self._image_batches = itertools.count()
        self._warm: tuple[tuple[FrameKey, ...], Prefix] | None = None  # of the last window

    @property
    def model_id(self) -> str:
        """Name and revision (presets) or fingerprint (directories)."""
        return self._model_id

    @property
    def frame_edge_px(self) -> int:
        """Long edge at which frames need the least preparation."""
        return self._engine.frame_size_px

    @property
    def writes(self) -> bool:
        """Whether it knows language at large; else it knows the sentences of its training only.

        The bundled model's vocabulary has 563 tokens, SmolVLM2's 49280.
        """
        return self._tokens.vocab_size >= LANGUAGE_TOKENS

    @property
    def max_tokens(self) -> int:
        """The most tokens that a prompt and what is written behind it have together."""
        return self._engine.max_tokens

    def count_tokens(self, text: str) -> int:
        """How long a text is for the model. From any thread."""
        return len(self._tokens.encode(text))

    def write(self, task: str, max_tokens: int) -> Iterator[str]:
        """Follow a task in words alone: what is written so far, again and again, then all of it.

        Each step is short (`WRITE_TOKENS`), and windows may be observed between two of them.
        Raises `InferenceError`.
        """
        try:
            *prefix_ids, last = self._tokens.encode(text_prompt(task))
            prefix = self._engine.prefill(prefix_ids, None, 1 + max_tokens)
            written: list[int] = []
            while len(written) < max_tokens:
                yield self._tokens.decode(written)
                wanted = min(WRITE_TOKENS, max_tokens - len(written))
                new = self._engine.decode(prefix, [last, *written], wanted)
                written += new
                if len(new) < wanted:
                    break
            yield self._tokens.decode(written)
        except (RuntimeError, ValueError) as error:  # as in `observe`
            raise InferenceError(f"no text could be written: {error}") from error

    def observe(self, window: Window, questions: Sequence[str], prompt: str | None) -> Observation:
        """Answer all `questions` about one window, and with `prompt` also describe it.

        Answers are `p_yes`, the share of yes between yes and no as the answer's first word.
        Raises `InferenceError`. `Timings.queue_ms` is left at 0: the worker knows it.
        """
        try:
            return self._observe(window, tuple(dict.fromkeys(questions)), prompt)
        except (RuntimeError, ValueError) as error:  # PyTorch's own, out of memory among them
            raise InferenceError(
                f"window {window.seq} of camera {window.camera} could not be run: {error}"
            ) from error

    def observe_images(
        self,
        images: Sequence[Image],
        timestamps_s: Sequence[float],
        questions: Sequence[str],
        prompt: str | None,
    ) -> Observation:
        """`observe` for pictures without a camera: uint8 RGB [H, W, 3], oldest first.

        `timestamps_s` ascend, one a picture. Raises `InferenceError`.
        """
        if not images or len(images) != len(timestamps_s):
            raise InferenceError(f"{len(images)} images for {len(timestamps_s)} timestamps")
        batch = next(self._image_batches)
        frames = tuple(
            Frame("images", batch, seq, time_s, time_s, image, 0.0)
            for seq, (image, time_s) in enumerate(zip(images, timestamps_s, strict=True))
        )
        start_s, end_s = timestamps_s[0], timestamps_s[-1]
        window = Window("images", batch, frames, start_s, end_s, "request", end_s)
        return self.observe(window, questions, prompt)

    def _observe(
        self, window: Window, questions: tuple[str, ...], prompt: str | None
    ) -> Observation:
        """Tell the story of one window."""
        suffixes = [self._tokens.encode(question_suffix(question)) for question in questions]
        describe = self._tokens.encode(question_suffix(prompt)) if prompt is not None else []

        began_s = self._clock.monotonic_s()
        features, num_encoded = self._encode(window.frames)
        encoded_s = self._clock.monotonic_s()
        words = max(len(describe), DESCRIBE_ROOM) + self._max_description_tokens
        prefix = self._prefill(window, features, max(sum(map(len, suffixes)), words))
        answers = self._answer(prefix, questions, suffixes)
        answered_s = self._clock.monotonic_s()
        description = self._describe(prefix, describe) if describe else None
        described_s = self._clock.monotonic_s() if describe else answered_s

        return Observation(
            camera=window.camera,
            window_seq=window.seq,
            start_s=window.start_s,
            end_s=window.end_s,
            wall_time=window.frames[-1].wall_time,
            answers=answers,
            description=description,
            timings=Timings(
                encode_ms=(encoded_s - began_s) * 1e3,
                prefill_ms=(answered_s - encoded_s) * 1e3,
                decode_ms=(described_s - answered_s) * 1e3,
                frames_encoded=num_encoded,
            ),
            model_id=self._model_id,
            prompt_sha256=self._prompt_sha256(questions, prompt),
        )

    def _encode(self, frames: Sequence[Frame]) -> tuple[Tensor, int]:
        """Features of all frames [N, tokens, hidden], and how many of them were not cached."""
        features: dict[FrameKey, Tensor] = {}
        new: dict[FrameKey, Image] = {}
        for frame in frames:
            cached = self.cache.get(frame.key)
            if cached is None:
                new[frame.key] = frame.image
            else:
                features[frame.key] = cached
        if new:
            pixels = preprocess(list(new.values()), self._engine.frame_size_px)
            for key, encoded in zip(new, self._engine.encode(pixels), strict=True):
                features[key] = encoded.clone()  # its own memory, not a row of the batch
                self.cache.put(key, features[key])
        return torch.stack([features[frame.key] for frame in frames]), len(new)

    def _prefill(self, window: Window, features: Tensor, room: int) -> Prefix:
        """Run the window's prompt up to the question, or take it over from the last look.

        The daemon sends an alert before it asks for words: the second look at the same frames
        then costs no prefill.
        """
        keys = tuple(frame.key for frame in window.frames)
        if self._warm is not None and self._warm[0] == keys and self._warm[1].room >= room:
            return self._warm[1]
        # A live camera's clock jitters around whole seconds, which the prompt cuts off: to one
        # decimal, so that 2.98 s does not read 00:02 in one window and 00:03 in the next.
        times_s = [round(frame.captured_s - window.start_s, 1) for frame in window.frames]
        text = video_prefix(times_s, round(window.duration_s, 1), self._engine.tokens_per_frame)
        self._warm = None  # its memory goes before the new one's comes
        prefix: Prefix = self._engine.prefill(self._tokens.encode(text), features, room)
        self._warm = (keys, prefix)
        return prefix

    def _answer(
        self, prefix: Prefix, questions: Sequence[str], suffixes: Sequence[Sequence[int]]
    ) -> dict[str, float]:
        """p_yes of each question."""
        if not questions:
            return {}
        yes_ids, no_ids = self._tokens.yes_ids, self._tokens.no_ids
        logits = self._engine.answer(prefix, suffixes, yes_ids + no_ids)  # [questions, ids]
        yes = logits[:, : len(yes_ids)].logsumexp(dim=1)
        no = logits[:, len(yes_ids) :].logsumexp(dim=1)
        answers = dict(zip(questions, (yes - no).sigmoid().tolist(), strict=True))
        if not all(map(math.isfinite, answers.values())):
            raise ValueError(f"the model gave no numbers ({answers}); try precision f32")
        return answers

    def _describe(self, prefix: Prefix, suffix: Sequence[int]) -> str:
        """Words for the window."""
        ids = self._engine.decode(prefix, suffix, self._max_description_tokens)
        return self._tokens.decode(ids)

    def _prompt_sha256(self, questions: Sequence[str], prompt: str | None) -> str:
        """Name what was asked and how: equal for two windows that differ in frames alone."""
        frame = video_prefix([0.0], 0.0, self._engine.tokens_per_frame)
        asked = [question_suffix(question) for question in questions]
        words = question_suffix(prompt) if prompt is not None else None
        return hashlib.sha256(json.dumps([frame, asked, words]).encode()).hexdigest()
