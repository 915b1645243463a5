"""What does the engine make of looks that are run together?

Knows no words: looks in ids (`worded.Worded`). Runs the prompts once, answers all questions behind
them, and describes what is to be described. Where one look fails, the others do not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pipelines.clock import Clock
from pipelines.errors import InferenceError
from pipelines.smolvlm2.anchors import ExtendingEngine, KeptPrefixes
from pipelines.smolvlm2.batch_protocol import BatchEngine, OneAtATime, Prompt
from pipelines.smolvlm2.drafts import LastTexts
from pipelines.smolvlm2.engine_protocol import Engine, Prefix
from pipelines.smolvlm2.frame_features import FrameFeatures
from pipelines.smolvlm2.tokens import Tokens
from pipelines.smolvlm2.worded import Worded
from pipelines.types import FrameKey, Look, Observation, Timings

Result = Observation | InferenceError


class LookRunner:
    """Runs looks on an engine. For one thread at a time."""

    def __init__(
        self,
        engine: Engine[Any] | BatchEngine[Any],
        tokens: Tokens,
        model_id: str,
        *,
        features: FrameFeatures,
        max_description_tokens: int,
        clock: Clock,
    ) -> None:
        """Take the parts; `max_description_tokens` bounds the length of a description."""
        self.engine: BatchEngine[Any] = (
            engine if isinstance(engine, BatchEngine) else OneAtATime(engine)
        )
        self.kept = KeptPrefixes(clock)
        # Batches run prompts in about the time of one, and know no place to keep them apart.
        self._extending = engine if isinstance(engine, ExtendingEngine) else None
        self._tokens = tokens
        self._model_id = model_id
        self._features = features
        self._max_description_tokens = max_description_tokens
        self.last_texts = LastTexts()  # of each camera: the next one is found faster
        self._clock = clock
        self._warm: dict[
            tuple[tuple[FrameKey, ...], tuple[int, ...]], Prefix
        ] = {}  # of the windows looked at last

    def run(self, group: list[Worded]) -> list[Result]:
        """Run looks together; if that fails, in halves, down to the one that cannot be run."""
        try:
            return self._observe(group)
        except (RuntimeError, ValueError) as error:  # PyTorch's own, out of memory among them
            self._warm = {}
            self.kept.clear()
            if len(group) == 1:
                return [failure_of(group[0].look, error)]
        half = len(group) // 2
        return self.run(group[:half]) + self.run(group[half:])

    def _observe(self, group: list[Worded]) -> list[Result]:
        """Tell the story of windows that are looked at together."""
        began_s = self._clock.monotonic_s()
        group, reused = self._features.chosen(group)
        prefixes = self._warm_prefixes(group)
        features, new = ([], [0] * len(group)) if prefixes else self._encode(group)
        encoded_s = self._clock.monotonic_s()
        prefixes = prefixes or self._prefill(group, features)
        answers = self._answer(group, prefixes)
        answered_s = self._clock.monotonic_s()
        words = self._describe(group, prefixes)
        described_s = self._clock.monotonic_s() if words else answered_s

        results: list[Result] = []
        for one, answer, num_new, num_reused in zip(group, answers, new, reused, strict=True):
            window, asked = one.look.window, dict(zip(one.look.questions, answer, strict=True))
            if not all(map(math.isfinite, answer)):
                trouble = f"the model gave no numbers ({asked}); try precision f32"
                results.append(failure_of(one.look, ValueError(trouble)))
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
                    frames_encoded=num_new,
                    frames_reused=num_reused,
                ),
                model_id=self._model_id,
                prompt_sha256=one.prompt_sha256,
            )
            results.append(seen)
        return results

    def _encode(self, group: Sequence[Worded]) -> tuple[list[list[Tensor]], list[int]]:
        return self._features.of(group, self.engine)

    def _warm_prefixes(self, group: Sequence[Worded]) -> list[Prefix]:
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

    def _prefill(self, group: Sequence[Worded], features: list[list[Tensor]]) -> list[Prefix]:
        """Run prompts up to the question."""
        self._warm = {}  # their memory goes before the new ones' comes
        prompts = [
            Prompt(one.ids, frames, one.room) for one, frames in zip(group, features, strict=True)
        ]
        if self._extending is not None and len(group) == 1 and group[0].grows:
            prefixes = [self._grow(group[0], prompts[0], self._extending)]
        else:
            prefixes = list(self.engine.prefill_all(prompts))
        self._warm = {
            (one.keys, one.ids): prefix for one, prefix in zip(group, prefixes, strict=True)
        }
        return prefixes

    def _grow(self, one: Worded, prompt: Prompt, engine: ExtendingEngine) -> Prefix:
        """Run what an anchored window's prompt has more than the one kept of the window before."""
        name = (one.frames[-1].camera, one.frames[-1].view, one.examples)
        found = self.kept.find(name, prompt, one.keys, engine)
        if found is not None:
            return found
        longest = self.engine.max_tokens - len(prompt.ids)
        spacious = prompt._replace(room=max(prompt.room, min(prompt.room + one.grows, longest)))
        prefix: Prefix = self.engine.prefill_all([spacious])[0]
        self.kept.keep(name, prompt, one.keys, prefix, engine.bytes_of(prefix))
        return prefix

    def _answer(
        self, group: Sequence[Worded], prefixes: Sequence[Prefix]
    ) -> list[tuple[float, ...]]:
        """p_yes of each look's questions."""
        if not any(one.suffixes for one in group):
            return [()] * len(group)
        yes_ids, no_ids = self._tokens.yes_ids, self._tokens.no_ids
        suffixes = [one.suffixes for one in group]
        logits = self.engine.answer_all(prefixes, suffixes, yes_ids + no_ids)  # [all, ids]
        yes = logits[:, : len(yes_ids)].logsumexp(dim=1)
        no = logits[:, len(yes_ids) :].logsumexp(dim=1)
        p_yes = iter((yes - no).sigmoid().tolist())
        return [tuple(itertools.islice(p_yes, len(some))) for some in suffixes]

    def _describe(self, group: Sequence[Worded], prefixes: Sequence[Prefix]) -> dict[int, str]:
        """Words for the looks that want them, by their places."""
        wanted = [
            (one, prefix) for one, prefix in zip(group, prefixes, strict=True) if one.describe
        ]
        if not wanted:
            return {}
        looks, chosen = zip(*wanted, strict=True)
        speakers = [(one.frames[-1].camera, one.frames[-1].view, one.describe) for one in looks]
        ids = self.engine.decode_all(
            chosen,
            [one.describe for one in looks],
            self._max_description_tokens,
            [self.last_texts.draft(speaker) for speaker in speakers],
        )
        for speaker, words in zip(speakers, ids, strict=True):
            self.last_texts.keep(speaker, words)
        return {
            one.place: self._tokens.decode(words) for one, words in zip(looks, ids, strict=True)
        }


def failure_of(look: Look, error: Exception) -> InferenceError:
    """Say which window could not be run, and why."""
    failure = InferenceError(
        f"window {look.window.seq} of camera {look.window.camera} could not be run: {error}"
    )
    failure.__cause__ = error
    return failure
