"""Are reference pictures shown as transformers would show them, and do they count?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.errors import InferenceError
from pipelines.examples import Example, Examples, split_question
from pipelines.smolvlm2.cache import EncoderCache
from pipelines.smolvlm2.checkpoint import load_checkpoint
from pipelines.smolvlm2.cpu_engine import CpuEngine
from pipelines.smolvlm2.model import SmolVLM2
from pipelines.smolvlm2.preprocess import preprocess
from pipelines.smolvlm2.tokens import Tokens
from pipelines.smolvlm2.torch_engine import TorchEngine
from pipelines.types import Image, Window
from pipelines.zones import Zone, plain_question
from tests.pipelines.smolvlm2.conftest import make_frames, make_window
from tests.pipelines.smolvlm2.reference import Reference, reference_prompt

ASK = "Is a car parked?"
OTHER = "Did a person leave?"


class Counting(TorchEngine):
    """The real engine, and how many pictures each prompt had that it ran."""

    def prefill(self, ids: Sequence[int], features: Tensor | None, room: int):  # type: ignore[no-untyped-def]
        self.shown = [*getattr(self, "shown", []), 0 if features is None else len(features)]
        return super().prefill(ids, features, room)


def load(
    directory: Path, kind: type[TorchEngine | CpuEngine] = Counting, cache_bytes: int = 1 << 24
) -> tuple[SmolVLM2, TorchEngine | CpuEngine, Tokens]:
    module, tokens = load_checkpoint(directory, torch.float32, torch.device("cpu"))
    engine = kind(module, tokens.end_id)
    return SmolVLM2(engine, tokens, "test", cache=EncoderCache(cache_bytes)), engine, tokens


def picture(seed: int, height: int = 40, width: int = 64) -> Image:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def two(first: int = 1, second: int = 2) -> Examples:
    return Examples([Example(picture(first), "closed"), Example(picture(second, 64, 50), "open")])


@pytest.fixture
def window() -> Window:
    return make_window(make_frames(4, 36, 64))


@pytest.mark.parametrize("kind", [TorchEngine, CpuEngine])
def test_answers_are_those_of_the_whole_model(
    model_dir: Path, window: Window, kind: type[TorchEngine | CpuEngine]
) -> None:
    model, engine, tokens = load(model_dir, kind)
    examples = two()
    model.learn([examples])
    seen = model.observe(window, [examples.question(ASK), OTHER], None)
    assert list(seen.answers) == [examples.question(ASK), OTHER]

    reference = Reference(model_dir)
    times_s = [frame.captured_s - window.start_s for frame in window.frames]
    shown = [frame.image for frame in (*examples.frames, *window.frames)]
    for question, says, images in (
        (ASK, examples.says, shown),
        (OTHER, (), shown[2:]),
    ):
        prompt = reference_prompt(
            question, times_s=times_s, duration_s=window.duration_s,
            tokens_per_frame=engine.tokens_per_frame, says=says,
        )  # fmt: skip
        pixels = preprocess(images, engine.frame_size_px) / 127.5 - 1.0
        logits = reference.first_logits(prompt, pixels)
        yes, no = logits[list(tokens.yes_ids)], logits[list(tokens.no_ids)]
        expected = float((yes.logsumexp(0) - no.logsumexp(0)).sigmoid())
        name = examples.question(question) if says else question
        assert seen.answers[name] == pytest.approx(expected, abs=2e-4)


def test_both_pixels_and_words_of_an_example_count(tiny_dir: Path, window: Window) -> None:
    model, _, _ = load(tiny_dir)
    swapped = Examples([Example(picture(1), "open"), Example(picture(2, 64, 50), "closed")])
    other = two(3, 4)
    model.learn([two(), swapped, other])
    names = [examples.question(ASK) for examples in (two(), swapped, other)]
    seen = model.observe(window, [*names, ASK], None).answers
    assert len(seen) == 4
    told = sorted(seen.values())
    assert min(b - a for a, b in itertools.pairwise(told)) > 1e-4
    # What stands beside a question changes nothing for it.
    assert model.observe(window, [ASK], None).answers[ASK] == pytest.approx(seen[ASK], abs=1e-5)
    alone = model.observe(window, [names[1]], None).answers[names[1]]
    assert alone == pytest.approx(seen[names[1]], abs=1e-5)


def test_examples_are_encoded_once_whatever_else_the_cache_drops(tiny_dir: Path) -> None:
    frames = make_frames(12, 36, 64)
    model, engine, _ = load(tiny_dir, cache_bytes=1)
    model.cache.max_bytes = 3 * engine.encode(preprocess([picture(1)], 64))[0].nbytes
    examples = two()
    model.learn([examples])
    asked = [examples.question(ASK), OTHER]
    first = model.observe(make_window(frames[:2]), asked, None)
    assert first.timings.frames_encoded == 4
    assert first.timings.encode_ms > 0
    for n in range(2, 12, 2):
        later = model.observe(make_window(frames[n : n + 2]), asked, None)
        assert later.timings.frames_encoded == 2
    assert model.cache.evictions > 0


def test_questions_of_the_same_pictures_share_one_prefill(tiny_dir: Path, window: Window) -> None:
    model, engine, _ = load(tiny_dir)
    same, other = two(), two(5, 6)
    model.learn([same, other])
    questions = [same.question(ASK), same.question(OTHER), other.question(ASK), ASK, OTHER]
    seen = model.observe(window, questions, "What is it?")
    assert engine.shown == [6, 6, 4]  # type: ignore[union-attr]
    assert list(seen.answers) == questions
    assert seen.description is not None
    model.observe(window, [], "What else?")  # the words after an alert: still warm
    assert len(engine.shown) == 3  # type: ignore[union-attr]


def test_the_prompt_hash_covers_the_examples(tiny_dir: Path, window: Window) -> None:
    model, _, _ = load(tiny_dir)
    first, other = two(), two(1, 3)
    model.learn([first, other])
    asked = [[ASK], [first.question(ASK)], [other.question(ASK)], [first.question(ASK), ASK]]
    hashes = [model.observe(window, questions, None).prompt_sha256 for questions in asked]
    assert len(set(hashes)) == 4
    later = make_window(make_frames(4, 36, 64, seed=9))
    assert model.observe(later, asked[1], None).prompt_sha256 == hashes[1]


def test_pictures_that_the_model_was_not_given_are_an_error(tiny_dir: Path, window: Window) -> None:
    model, _, _ = load(tiny_dir)
    with pytest.raises(InferenceError, match=r"reference pictures \[closed, open; .* not loaded"):
        model.observe(window, [two().question(ASK)], None)
    assert model.observe(window, [ASK], None).answers


def test_a_question_is_named_for_its_pictures_and_its_zone() -> None:
    examples, zone = two(), Zone(0.0, 0.5, 1.0, 1.0)
    name = zone.question(examples.question(ASK))
    assert plain_question(name) == examples.question(ASK)
    assert split_question(plain_question(name)) == (ASK, examples.name)
    assert split_question(ASK) == (ASK, None)
    assert two() == two()
    assert two() != two(1, 3)
    odd = Examples([Example(picture(1), "a [zone 1] of it")])
    assert plain_question(odd.question(ASK)) == odd.question(ASK)


def test_pinned_features_stay_and_do_not_count() -> None:
    cache = EncoderCache(8)
    key, other = ("", 0, 0, "x"), ("porch", 0, 1, "")
    cache.pin(key)
    assert cache.get(key) is None
    cache.put(key, torch.ones(100))
    cache.put(other, torch.ones(2))
    cache.put(("porch", 0, 2, ""), torch.ones(2))
    kept = cache.get(key)
    assert kept is not None
    assert cache.get(other) is None
    assert (cache.num_bytes, len(cache)) == (8, 1)
