"""What does the model say about windows?

Knows no rules and no schedule. Windows that are looked at together: encode their frames that are
not in the cache, run their prompts once, answer all questions behind them, and describe in words
those that are to be described. Where one fails, the others do not.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pipelines.clock import Clock, SystemClock
from pipelines.errors import InferenceError
from pipelines.examples import Examples, split_question
from pipelines.smolvlm2.anchors import ExtendingEngine, KeptPrefixes
from pipelines.smolvlm2.batch_protocol import BatchEngine, OneAtATime, Prompt
from pipelines.smolvlm2.cache import EncoderCache
from pipelines.smolvlm2.comparing import parts_of, whole_of
from pipelines.smolvlm2.engine_protocol import Engine, Prefix, Running
from pipelines.smolvlm2.preprocess import check_picture
from pipelines.smolvlm2.prompt import text_prompt
from pipelines.smolvlm2.sizes import PROMPT_STEP, round_up
from pipelines.smolvlm2.tiles import Tiling
from pipelines.smolvlm2.tokens import Tokens
from pipelines.smolvlm2.wording import Grid, Wording
from pipelines.types import Frame, FrameKey, Image, Look, Observation, Timings, Window

DEFAULT_DESCRIPTION_TOKENS = 48
DESCRIBE_ROOM = 64  # tokens of a description's prompt for which a prefix keeps room
LANGUAGE_TOKENS = 8192  # a smaller vocabulary was made for a fixed set of sentences
FRAME_WORDS = 20  # tokens of a frame's line in the prompt: 14 with SmolVLM2's vocabulary
WRITE_TOKENS = 16  # of a text at once: about a second of the 256M model on two old cores

Result = Observation | InferenceError


@dataclass(frozen=True, slots=True)
class _Worded:
    """A look as ids."""

    look: Look
    place: int  # among the looks that came together
    examples: Examples | None  # what all its questions show
    asked: tuple[str, ...]  # its questions as the model reads them
    frames: tuple[Frame, ...]  # reference pictures, then the window's
    keys: tuple[FrameKey, ...]
    ids: tuple[int, ...]
    suffixes: tuple[tuple[int, ...], ...]
    describe: tuple[int, ...]  # empty: no words
    room: int
    grid: Grid | None = None  # of a picture that is looked at by itself
    grows: int = 0  # tokens by which its prompt may still grow, of an anchored window


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
    ) -> None:
        """Take the parts; `max_description_tokens` bounds the length of a description.

        `tiling`: how single pictures are cut; None: they are one frame each. `of_time`: see
        `Wording`.
        """
        self.cache = cache
        self.running = running  # for whoever tells it: the model itself does not look at it
        self._engine: BatchEngine[Any] = (
            engine if isinstance(engine, BatchEngine) else OneAtATime(engine)
        )
        # Batches run prompts in about the time of one, and know no place to keep them apart.
        self._extending = engine if isinstance(engine, ExtendingEngine) else None
        self.kept = KeptPrefixes(clock or SystemClock())
        self._tokens = tokens
        self._wording = Wording(tokens, engine.tokens_per_frame, of_time=of_time)
        self._tiling = tiling
        self._model_id = model_id
        self._max_description_tokens = max_description_tokens
        self._clock = clock or SystemClock()
        self._image_batches = itertools.count()
        self._examples: dict[str, Examples] = {}
        self._warm: dict[
            tuple[tuple[FrameKey, ...], tuple[int, ...]], Prefix
        ] = {}  # of the windows looked at last

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
            self._examples[known.name] = known
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
        worded: list[_Worded] = []
        for place, look in enumerate(looks):
            try:
                worded.append(self._word(place, look))
            except ValueError as error:
                results[place] = _failure(look, error)
        for group in self._groups(worded):
            for one, result in zip(group, self._run(group), strict=True):
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
            [seen] = self._run([self._word(0, look, (tiled.rows, tiled.columns))])
        except ValueError as error:
            raise InferenceError(f"the picture could not be looked at: {error}") from error
        if isinstance(seen, InferenceError):
            raise seen
        return seen

    def _word(self, place: int, look: Look, grid: Grid | None = None) -> _Worded:
        """Put a look into ids. Raises `ValueError` for what cannot be asked or is no picture."""
        for frame in look.window.frames:
            check_picture(frame.image)
        asked = tuple(split_question(question)[0] for question in look.questions)
        name = split_question(look.questions[0])[1] if look.questions else None
        examples = self._known(name) if name is not None else None
        frames = (*(examples.frames if examples is not None else ()), *look.window.frames)
        wording, prompt = self._wording, look.prompt
        suffixes = tuple(wording.suffix_ids(question, grid) for question in asked)
        describe = wording.suffix_ids(prompt, grid) if prompt is not None else ()
        words = max(len(describe), DESCRIBE_ROOM) + self._max_description_tokens
        return _Worded(
            look=look,
            place=place,
            examples=examples,
            asked=asked,
            frames=frames,
            keys=tuple(frame.key for frame in frames),
            ids=wording.picture_ids(grid) if grid else wording.prefix_ids(look.window, examples),
            suffixes=suffixes,
            describe=describe,
            room=max(sum(map(len, suffixes)), words),
            grid=grid,
            grows=self._grows(look.window),
        )

    def _grows(self, window: Window) -> int:
        if window.anchor is None:
            return 0
        frames = window.anchor.most - window.anchor.begun
        return frames * (self._engine.tokens_per_frame + FRAME_WORDS)

    def _known(self, name: str) -> Examples:
        if name not in self._examples:
            raise ValueError(f"the reference pictures [{name}] were not loaded")
        return self._examples[name]

    def _groups(self, worded: Sequence[_Worded]) -> Iterator[list[_Worded]]:
        """As many as the engine runs at once, of about the same length: padding is work, too.

        Those without reference pictures last: words are asked for next, and want them warm.
        """

        def kind(one: _Worded) -> tuple[bool, int]:
            return one.examples is None, round_up(len(one.ids), PROMPT_STEP)

        for _, alike in itertools.groupby(sorted(worded, key=kind), key=kind):
            rest = list(alike)
            while rest:
                yield rest[: self.windows_at_once]
                rest = rest[self.windows_at_once :]

    def _run(self, group: list[_Worded]) -> list[Result]:
        """Run looks together; if that fails, in halves, down to the one that cannot be run."""
        try:
            return self._observe(group)
        except (RuntimeError, ValueError) as error:  # PyTorch's own, out of memory among them
            self._warm = {}
            self.kept.clear()
            if len(group) == 1:
                return [_failure(group[0].look, error)]
        half = len(group) // 2
        return self._run(group[:half]) + self._run(group[half:])

    def _observe(self, group: list[_Worded]) -> list[Result]:
        """Tell the story of windows that are looked at together."""
        began_s = self._clock.monotonic_s()
        prefixes = self._warm_prefixes(group)
        features, new = ([], [0] * len(group)) if prefixes else self._encode(group)
        encoded_s = self._clock.monotonic_s()
        prefixes = prefixes or self._prefill(group, features)
        answers = self._answer(group, prefixes)
        answered_s = self._clock.monotonic_s()
        words = self._describe(group, prefixes)
        described_s = self._clock.monotonic_s() if words else answered_s

        results: list[Result] = []
        for one, answer, num_encoded in zip(group, answers, new, strict=True):
            window, asked = one.look.window, dict(zip(one.look.questions, answer, strict=True))
            if not all(map(math.isfinite, answer)):
                trouble = f"the model gave no numbers ({asked}); try precision f32"
                results.append(_failure(one.look, ValueError(trouble)))
                continue
            seen = Observation(
                camera=window.camera,
                window_seq=window.seq,
                start_s=window.start_s,
                end_s=window.end_s,
                wall_time=window.frames[-1].wall_time,
                answers=asked,
                description=words.get(one.place),
                timings=Timings(
                    encode_ms=(encoded_s - began_s) * 1e3,
                    prefill_ms=(answered_s - encoded_s) * 1e3,
                    decode_ms=(described_s - answered_s) * 1e3 if one.describe else 0.0,
                    frames_encoded=num_encoded,
                ),
                model_id=self._model_id,
                prompt_sha256=self._wording.sha256(
                    one.asked, one.look.prompt, one.examples, one.grid
                ),
            )
            results.append(seen)
        return results

    def _encode(self, group: Sequence[_Worded]) -> tuple[list[list[Tensor]], list[int]]:
        """Features of all frames of each look, and how many of each were not cached.

        A frame of two looks counts for the first.
        """
        features: dict[FrameKey, Tensor] = {}
        new: dict[FrameKey, Image] = {}
        counts: list[int] = []
        for one in group:
            before = len(new)
            for frame in one.frames:
                cached = self.cache.get(frame.key)
                if cached is None:
                    new[frame.key] = frame.image
                else:
                    features[frame.key] = cached
            counts.append(len(new) - before)
        if new:
            encoded = self._engine.encode_images(list(new.values()))
            for key, frame_features in zip(new, encoded, strict=True):
                features[key] = frame_features
                self.cache.put(key, frame_features)
        return [[features[key] for key in one.keys] for one in group], counts

    def _warm_prefixes(self, group: Sequence[_Worded]) -> list[Prefix]:
        """Prefixes left from the last look, if they serve all of these; else none.

        The daemon sends an alert before it asks for words: the second look at the same frames
        then costs neither encoding nor prefill.
        """
        found = [self._warm.get((one.keys, one.ids)) for one in group]
        warm = [prefix for prefix in found if prefix is not None]
        serves = len(warm) == len(group) and all(
            prefix.room >= one.room for prefix, one in zip(warm, group, strict=True)
        )
        return warm if serves else []

    def _prefill(self, group: Sequence[_Worded], features: list[list[Tensor]]) -> list[Prefix]:
        """Run prompts up to the question."""
        self._warm = {}  # their memory goes before the new ones' comes
        prompts = [
            Prompt(one.ids, frames, one.room) for one, frames in zip(group, features, strict=True)
        ]
        if self._extending is not None and len(group) == 1 and group[0].grows:
            prefixes = [self._grow(group[0], prompts[0], self._extending)]
        else:
            prefixes = list(self._engine.prefill_all(prompts))
        self._warm = {
            (one.keys, one.ids): prefix for one, prefix in zip(group, prefixes, strict=True)
        }
        return prefixes

    def _grow(self, one: _Worded, prompt: Prompt, engine: ExtendingEngine) -> Prefix:
        """Run what an anchored window's prompt has more than the one kept of the window before."""
        name = (one.frames[-1].camera, one.frames[-1].view, one.examples)
        found = self.kept.find(name, prompt, one.keys, engine)
        if found is not None:
            return found
        longest = self._engine.max_tokens - len(prompt.ids)
        spacious = prompt._replace(room=max(prompt.room, min(prompt.room + one.grows, longest)))
        prefix: Prefix = self._engine.prefill_all([spacious])[0]
        self.kept.keep(name, prompt, one.keys, prefix, engine.bytes_of(prefix))
        return prefix

    def _answer(
        self, group: Sequence[_Worded], prefixes: Sequence[Prefix]
    ) -> list[tuple[float, ...]]:
        """p_yes of each look's questions."""
        if not any(one.suffixes for one in group):
            return [()] * len(group)
        yes_ids, no_ids = self._tokens.yes_ids, self._tokens.no_ids
        suffixes = [one.suffixes for one in group]
        logits = self._engine.answer_all(prefixes, suffixes, yes_ids + no_ids)  # [all, ids]
        yes = logits[:, : len(yes_ids)].logsumexp(dim=1)
        no = logits[:, len(yes_ids) :].logsumexp(dim=1)
        p_yes = iter((yes - no).sigmoid().tolist())
        return [tuple(itertools.islice(p_yes, len(some))) for some in suffixes]

    def _describe(self, group: Sequence[_Worded], prefixes: Sequence[Prefix]) -> dict[int, str]:
        """Words for the looks that want them, by their places."""
        wanted = [
            (one, prefix) for one, prefix in zip(group, prefixes, strict=True) if one.describe
        ]
        if not wanted:
            return {}
        looks, chosen = zip(*wanted, strict=True)
        ids = self._engine.decode_all(
            chosen, [one.describe for one in looks], self._max_description_tokens
        )
        return {
            one.place: self._tokens.decode(words) for one, words in zip(looks, ids, strict=True)
        }


def _failure(look: Look, error: Exception) -> InferenceError:
    failure = InferenceError(
        f"window {look.window.seq} of camera {look.window.camera} could not be run: {error}"
    )
    failure.__cause__ = error
    return failure
