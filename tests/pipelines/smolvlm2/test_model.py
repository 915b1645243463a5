"""Does our path say what transformers says, whatever is cached and shared?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.errors import InferenceError
from pipelines.smolvlm2.cache import EncoderCache
from pipelines.smolvlm2.checkpoint import load_checkpoint
from pipelines.smolvlm2.cpu_engine import CpuEngine
from pipelines.smolvlm2.engine_protocol import Engine
from pipelines.smolvlm2.loading import from_name
from pipelines.smolvlm2.model import SmolVLM2
from pipelines.smolvlm2.preprocess import preprocess
from pipelines.smolvlm2.prompt import DESCRIBE_PROMPT
from pipelines.smolvlm2.tokens import Tokens
from pipelines.smolvlm2.torch_engine import TorchEngine
from pipelines.types import Window
from tests.pipelines.smolvlm2.conftest import QUESTIONS, make_frames, make_window
from tests.pipelines.smolvlm2.reference import Reference, reference_prompt

MAX_TOKENS = 24


class Watched:
    """A real engine, and the logits (here of all tokens) and ids that it gave."""

    def __init__(self, engine: Engine[Any], head_weight: Tensor) -> None:
        self.engine = engine
        self.head_weight = head_weight  # [vocabulary, hidden], the engine's own
        self.vocab_size = len(head_weight)
        self.frame_size_px = engine.frame_size_px
        self.tokens_per_frame = engine.tokens_per_frame
        self.max_tokens = engine.max_tokens
        self.encode, self.prefill = engine.encode, engine.prefill

    def answer(
        self, prefix: Any, suffixes: Sequence[Sequence[int]], token_ids: Sequence[int]
    ) -> Tensor:
        self.logits = self.engine.answer(prefix, suffixes, range(self.vocab_size))
        return self.engine.answer(prefix, suffixes, token_ids)

    def decode(
        self, prefix: Any, suffix: Sequence[int], max_tokens: int, draft: Sequence[int] = ()
    ) -> list[int]:
        self.decoded = self.engine.decode(prefix, suffix, max_tokens, draft)
        return self.decoded


class Loader(Protocol):
    def __call__(
        self, directory: Path, cache_bytes: int = 1 << 24
    ) -> tuple[SmolVLM2, Watched, Tokens]: ...


@pytest.fixture(params=[TorchEngine, CpuEngine])
def load(request: pytest.FixtureRequest) -> Loader:
    def loaded(directory: Path, cache_bytes: int = 1 << 24) -> tuple[SmolVLM2, Watched, Tokens]:
        module, tokens = load_checkpoint(directory, torch.float32, torch.device("cpu"))
        head = module.lm_head.weight  # an engine may take the weights out
        engine = Watched(request.param(module, tokens.end_id), head)
        cache = EncoderCache(cache_bytes)
        model = SmolVLM2(engine, tokens, "test", cache=cache, max_description_tokens=MAX_TOKENS)
        return model, engine, tokens

    return loaded


def sliding_windows(edge_px: int, num_frames: int = 8, count: int = 3) -> list[Window]:
    frames = make_frames(num_frames + count - 1, edge_px * 9 // 16, edge_px)
    return [make_window(frames[i : i + num_frames], seq=i) for i in range(count)]


def prompt_of(question: str, window: Window, tokens_per_frame: int) -> str:
    return reference_prompt(
        question,
        times_s=[frame.captured_s - window.start_s for frame in window.frames],
        duration_s=window.duration_s,
        tokens_per_frame=tokens_per_frame,
    )


def test_logits_and_words_are_those_of_transformers(load: Loader, model_dir: Path):
    model, engine, tokens = load(model_dir)
    reference = Reference(model_dir)
    for window in sliding_windows(model.frame_edge_px):
        observation = model.observe(window, QUESTIONS, DESCRIBE_PROMPT)
        levels = preprocess([frame.image for frame in window.frames], model.frame_edge_px)
        pixels = levels / 127.5 - 1.0
        for row, question in enumerate(QUESTIONS):
            prompt = prompt_of(question, window, engine.tokens_per_frame)
            expected = reference.first_logits(prompt, pixels)
            assert (engine.logits[row] - expected).abs().max() < 1e-4
            words = expected[[*tokens.yes_ids, *tokens.no_ids]].softmax(dim=0)
            p_yes = words[: len(tokens.yes_ids)].sum().item()
            assert observation.answers[question] == pytest.approx(p_yes, abs=1e-5)
        prompt = prompt_of(DESCRIBE_PROMPT, window, engine.tokens_per_frame)
        expected_ids = reference.generate(prompt, pixels, MAX_TOKENS, tokens.end_id)
        assert engine.decoded == expected_ids
        assert observation.description == tokens.decode(expected_ids)
    assert model.cache.hits == 14  # so two of the three windows went through the cache


def test_frames_matter_to_the_tiny_model(load: Loader, tiny_dir: Path):
    # Otherwise the comparison above would pass on a model that looks at no picture.
    model, engine, _ = load(tiny_dir)
    window = sliding_windows(64, count=1)[0]
    model.observe(window, QUESTIONS, None)
    forward = engine.logits
    backward = make_window(
        [
            type(frame)("yard", 0, frame.seq, frame.captured_s, 0.0, other.image, 0.0)
            for frame, other in zip(window.frames, reversed(window.frames), strict=True)
        ]
    )
    model.observe(backward, QUESTIONS, None)
    assert (engine.logits - forward).abs().max() > 1e-2


def test_sliding_windows_encode_new_frames_only_and_answer_as_if_cold(load: Loader, tiny_dir: Path):
    warm, _, _ = load(tiny_dir)
    encoded = []
    for window in sliding_windows(64):
        observation = warm.observe(window, QUESTIONS, DESCRIBE_PROMPT)
        cold = load(tiny_dir, cache_bytes=0)[0].observe(window, QUESTIONS, DESCRIBE_PROMPT)
        encoded.append(observation.timings.frames_encoded)
        assert cold.timings.frames_encoded == 8
        assert observation.answers == pytest.approx(cold.answers, abs=1e-6)
        assert observation.description == cold.description
    assert encoded == [8, 1, 1]


def test_a_question_is_answered_the_same_alone_and_among_others(load: Loader, tiny_dir: Path):
    model, _, _ = load(tiny_dir)
    window = sliding_windows(64, count=1)[0]
    together = model.observe(window, QUESTIONS, None).answers
    for question in QUESTIONS:
        alone = model.observe(window, [question], None).answers
        assert alone == pytest.approx({question: together[question]}, abs=1e-5)


def test_words_are_the_same_with_and_without_questions(load: Loader, tiny_dir: Path):
    model, _, _ = load(tiny_dir)
    window = sliding_windows(64, count=1)[0]
    asked = model.observe(window, QUESTIONS, DESCRIBE_PROMPT)
    silent = model.observe(window, [], DESCRIBE_PROMPT)
    assert silent.answers == {}
    assert silent.description == asked.description
    assert model.observe(window, QUESTIONS, None).description is None


def test_the_same_frame_twice_in_a_window_is_encoded_once(load: Loader, tiny_dir: Path):
    model, _, _ = load(tiny_dir)
    frames = make_frames(2, 36, 64)
    window = make_window([frames[0], frames[0], frames[1]])
    assert model.observe(window, QUESTIONS, None).timings.frames_encoded == 2


def test_words_stop_at_the_end_of_utterance(load: Loader, tiny_dir: Path):
    model, engine, _ = load(tiny_dir)
    window = sliding_windows(64, count=1)[0]
    model.observe(window, [], DESCRIBE_PROMPT)
    full = engine.decoded
    assert len(full) == MAX_TOKENS
    engine.engine._end_id = full[3]
    model.observe(window, [], DESCRIBE_PROMPT)
    assert engine.decoded == full[: full.index(full[3])]


def test_an_observation_carries_where_it_came_from(tiny_dir: Path):
    model = from_name(tiny_dir, precision="f32", device="cpu")
    first, second = sliding_windows(64, count=2)
    one = model.observe(first, QUESTIONS, None)
    two = model.observe(second, QUESTIONS, None)
    assert (one.camera, one.window_seq, two.window_seq) == ("porch", 0, 1)
    assert (two.start_s, two.end_s) == (second.start_s, second.end_s)
    assert two.wall_time == second.frames[-1].wall_time
    assert two.model_id == model.model_id
    assert model.model_id.startswith("tiny@")
    assert one.timings.encode_ms > 0
    assert one.timings.prefill_ms > 0
    assert one.timings.queue_ms == one.timings.decode_ms == 0


def test_the_prompt_hash_names_what_was_asked(load: Loader, tiny_dir: Path):
    model, _, _ = load(tiny_dir)
    first, second = sliding_windows(64, count=2)
    asked = model.observe(first, QUESTIONS, None).prompt_sha256
    assert len(asked) == 64
    assert model.observe(second, QUESTIONS, None).prompt_sha256 == asked
    assert model.observe(first, QUESTIONS[:1], None).prompt_sha256 != asked
    assert model.observe(first, QUESTIONS, DESCRIBE_PROMPT).prompt_sha256 != asked


def test_jitter_of_a_live_clock_does_not_change_the_prompt(load: Loader, tiny_dir: Path):
    model, engine, _ = load(tiny_dir)
    window = sliding_windows(64, count=1)[0]
    model.observe(window, QUESTIONS, None)
    steady = engine.logits
    late = [-0.02 if frame.seq % 2 else 0.02 for frame in window.frames]
    frames = tuple(
        type(f)(f.camera, f.epoch, f.seq, f.captured_s + late_s, f.wall_time, f.image, f.motion)
        for f, late_s in zip(window.frames, late, strict=True)
    )
    start_s, end_s = frames[0].captured_s, frames[-1].captured_s
    jittered = Window("porch", 1, frames, start_s, end_s, "stride", end_s)
    model.observe(jittered, QUESTIONS, None)
    assert torch.equal(engine.logits, steady)


def test_pictures_without_a_camera_are_told_apart(load: Loader, tiny_dir: Path):
    model, _, _ = load(tiny_dir)
    images = [frame.image for frame in make_frames(4, 36, 64)]
    first = model.observe_images(images, [0, 1, 2, 3], QUESTIONS, DESCRIBE_PROMPT)
    other = model.observe_images(images[::-1], [0, 1, 2, 3], QUESTIONS, DESCRIBE_PROMPT)
    assert other.timings.frames_encoded == 4  # not taken for the pictures of the first call
    assert first.answers != other.answers
    with pytest.raises(InferenceError, match="4 images for 2 timestamps"):
        model.observe_images(images, [0, 1], QUESTIONS, None)


@pytest.mark.parametrize(
    ("question", "reason"),
    [("<image>?", "control token"), (" ", "empty"), ("why? " * 9000, "more than the model's 8192")],
)
def test_a_question_that_cannot_be_run_is_an_inference_error(
    load: Loader, tiny_dir: Path, question, reason
):
    model, _, _ = load(tiny_dir)
    window = sliding_windows(64, count=1)[0]
    with pytest.raises(InferenceError, match=f"camera porch could not be run: .*{reason}"):
        model.observe(window, [question], None)
    assert len(model.observe(window, QUESTIONS, None).answers) == 4  # it goes on


def test_a_frame_that_is_no_picture_is_an_inference_error(load: Loader, tiny_dir: Path):
    model, _, _ = load(tiny_dir)
    frame = make_frames(1, 36, 64)[0]
    grey = type(frame)("porch", 0, 0, 0.0, 0.0, np.zeros((36, 64), np.uint8), 0.0)
    with pytest.raises(InferenceError, match="must be uint8"):
        model.observe(make_window([grey]), QUESTIONS, None)


def test_weights_that_give_no_numbers_are_an_inference_error(load: Loader, tiny_dir: Path):
    model, engine, _ = load(tiny_dir)
    with torch.no_grad():
        engine.head_weight.fill_(float("nan"))
    with pytest.raises(InferenceError, match="gave no numbers"):
        model.observe(sliding_windows(64, count=1)[0], QUESTIONS, None)


def test_a_cached_frame_does_not_keep_its_whole_batch_alive(load: Loader, tiny_dir: Path):
    model, _, _ = load(tiny_dir)
    window = sliding_windows(64, count=1)[0]
    model.observe(window, QUESTIONS, None)
    features = model.cache.get(window.frames[0].key)
    assert features is not None
    assert features.untyped_storage().nbytes() == features.nbytes
