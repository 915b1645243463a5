"""What does the model say about windows?

Knows no rules and no schedule. A look is split where its questions show different pictures, put
into ids (`worded`), run with others (`look_run`) and put together again.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pipelines.clock import Clock, SystemClock
from pipelines.errors import InferenceError
from pipelines.examples import Examples
from pipelines.smolvlm2.batch_protocol import BatchEngine
from pipelines.smolvlm2.cache import EncoderCache
from pipelines.smolvlm2.comparing import parts_of, whole_of
from pipelines.smolvlm2.engine_protocol import Engine, Running
from pipelines.smolvlm2.frame_features import FrameFeatures
from pipelines.smolvlm2.look_run import LookRunner, Result, failure_of
from pipelines.smolvlm2.prompt import text_prompt
from pipelines.smolvlm2.stand_ins import StandIns
from pipelines.smolvlm2.tiles import Tiling
from pipelines.smolvlm2.tokens import Tokens
from pipelines.smolvlm2.worded import LookWording, Worded, groups_of
from pipelines.smolvlm2.wording import Wording
from pipelines.types import Frame, Image, Look, Observation, Window

DEFAULT_DESCRIPTION_TOKENS = 48
LANGUAGE_TOKENS = 8192  # a smaller vocabulary was made for a fixed set of sentences
WRITE_TOKENS = 16  # of a text at once: about a second of the 256M model on two old cores


class SmolVLM2:
    """A `pipelines.types.VideoModel`. For one thread at a time."""

    def __init__(
        self,
        engine: Engine[Any] | BatchEngine[Any],
        tokens: Tokens,
        model_id: str,
        *,
        cache: EncoderCache,
        max_description_tokens: int = DEFAULT_DESCRIPTION_TOKENS,
        clock: Clock | None = None,
        running: Running | None = None,
        tiling: Tiling | None = None,
        of_time: bool = True,
        stand_ins: StandIns | None = None,
    ) -> None:
        """Take the parts; `max_description_tokens` bounds the length of a description.

        `tiling`: how single pictures are cut; None: they are one frame each. `of_time`: see
        `Wording`. `stand_ins`: whose features still frames take; None: each has its own.
        """
        self.cache = cache
        self.running = running  # for whoever tells it: the model itself does not look at it
        self._runner = LookRunner(
            engine,
            tokens,
            model_id,
            features=FrameFeatures(cache, stand_ins),
            max_description_tokens=max_description_tokens,
            clock=clock or SystemClock(),
        )
        self.kept = self._runner.kept
        self.last_texts = self._runner.last_texts
        self._engine = self._runner.engine
        self._wording = LookWording(
            Wording(tokens, engine.tokens_per_frame, of_time=of_time),
            engine.tokens_per_frame,
            max_description_tokens,
        )
        self._tokens = tokens
        self._tiling = tiling
        self._model_id = model_id
        self._image_batches = itertools.count()

    @property
    def model_id(self) -> str:
        """Name and revision (presets) or fingerprint (directories)."""
        return self._model_id

    @property
    def frame_edge_px(self) -> int:
        """Long edge at which frames need the least preparation."""
        return self._engine.frame_size_px

    @property
    def windows_at_once(self) -> int:
        """How many windows `observe_many` runs in about the time of one."""
        return self._engine.windows_at_once

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

        Each step is short (`WRITE_TOKENS`), and windows may be observed between two of them, but no
        other text be written. Raises `InferenceError`.
        """
        try:
            *prefix_ids, last = self._tokens.encode(text_prompt(task))
            prefix = self._engine.prefill_text(prefix_ids, 1 + max_tokens)
            written: list[int] = []
            while len(written) < max_tokens:
                yield self._tokens.decode(written)
                wanted = min(WRITE_TOKENS, max_tokens - len(written))
                new = self._engine.decode_text(prefix, [last, *written], wanted)
                written += new
                if len(new) < wanted:
                    break
            yield self._tokens.decode(written)
        except (RuntimeError, ValueError) as error:  # as in `observe`
            raise InferenceError(f"no text could be written: {error}") from error

    def learn(self, examples: Iterable[Examples]) -> None:
        """Know the reference pictures that questions name. Each is encoded once, and kept."""
        for known in examples:
            self._wording.learn(known)
            for frame in known.frames:
                self.cache.pin(frame.key)

    def observe(self, window: Window, questions: Sequence[str], prompt: str | None) -> Observation:
        """Answer all `questions` about one window, and with `prompt` also describe it.

        Answers are `p_yes`, the share of yes between yes and no as the answer's first word.
        Questions with reference pictures (`Examples.question`, `learn`) cost a prefill for each
        set of pictures; all others share one, and so does the description. Raises
        `InferenceError`. `Timings.queue_ms` is left at 0: the worker knows it.
        """
        [seen] = self.observe_many([Look(window, tuple(questions), prompt)])
        if isinstance(seen, InferenceError):
            raise seen
        return seen

    def observe_many(self, looks: Sequence[Look]) -> list[Result]:
        """`observe` for several windows together: what comes of each, or why nothing does.

        The times of an observation are those of all windows that ran with it.
        """
        parts = [parts_of(look) for look in looks]
        seen = iter(self._observe_each([part for some in parts for part in some]))
        return [
            whole_of(look, list(itertools.islice(seen, len(some))))
            for look, some in zip(looks, parts, strict=True)
        ]

    def _observe_each(self, looks: Sequence[Look]) -> list[Result]:
        """`observe_many` for looks whose questions all show the same pictures, or none."""
        results: list[Result | None] = [None] * len(looks)
        worded: list[Worded] = []
        for place, look in enumerate(looks):
            try:
                worded.append(self._wording.word(place, look))
            except ValueError as error:
                results[place] = failure_of(look, error)
        for group in groups_of(worded, self.windows_at_once):
            for one, result in zip(group, self._runner.run(group), strict=True):
                results[one.place] = result
        return [result for result in results if result is not None]

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

    def observe_picture(
        self, image: Image, questions: Sequence[str], prompt: str | None
    ) -> Observation:
        """`observe` for a picture by itself: uint8 RGB [H, W, 3] of any size.

        Cut into tiles where the model was tuned on them, so that small things can be read: up to
        17 times the work of a frame. Raises `InferenceError`.
        """
        if self._tiling is None:
            return self.observe_images([image], [0.0], questions, prompt)
        try:
            tiled = self._tiling.cut(image)
            # By its pixels: a second question about the same picture costs neither encoding nor
            # prefill.
            name = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()
            frames = tuple(
                Frame("picture", 0, number, 0.0, 0.0, tile, 0.0, view=name)
                for number, tile in enumerate(tiled.images)
            )
            window = Window("picture", 0, frames, 0.0, 0.0, "request", 0.0)
            look = Look(window, tuple(dict.fromkeys(questions)), prompt)
            [seen] = self._runner.run([self._wording.word(0, look, (tiled.rows, tiled.columns))])
        except ValueError as error:
            raise InferenceError(f"the picture could not be looked at: {error}") from error
        if isinstance(seen, InferenceError):
            raise seen
        return seen
