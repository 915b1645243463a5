"""Do windows that run together say what each says alone, and what transformers says?

On a CPU the engine's logic runs as on a GPU: padding, packing, masks, sizes, rows of a store that
is used again. What only a GPU has (recorded graphs, compiled operations, bf16) is tested where
there is one.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.errors import InferenceError
from pipelines.smolvlm2.cache import EncoderCache
from pipelines.smolvlm2.checkpoint import load_checkpoint
from pipelines.smolvlm2.cuda_engine import CudaEngine
from pipelines.smolvlm2.model import SmolVLM2
from pipelines.smolvlm2.preprocess import preprocess
from pipelines.smolvlm2.prompt import DESCRIBE_PROMPT
from pipelines.smolvlm2.torch_engine import TorchEngine
from pipelines.types import Frame, Look, Observation, Window
from tests.pipelines.smolvlm2.conftest import QUESTIONS, make_frames, make_window

MAX_TOKENS = 20


def load(directory: Path, engine: str = "cuda", windows_at_once: int = 8) -> SmolVLM2:
    module, tokens = load_checkpoint(directory, torch.float32, torch.device("cpu"))
    made = (
        CudaEngine(module, tokens.end_id, windows_at_once=windows_at_once)
        if engine == "cuda"
        else TorchEngine(module, tokens.end_id)
    )
    cache = EncoderCache(1 << 24)
    return SmolVLM2(made, tokens, engine, cache=cache, max_description_tokens=MAX_TOKENS)


def window_of(camera: str, num_frames: int, edge_px: int, seed: int) -> Window:
    frames = make_frames(num_frames, edge_px * 9 // 16, edge_px, seed)
    named = [
        Frame(camera, f.epoch, f.seq, f.captured_s, f.wall_time, f.image, f.motion) for f in frames
    ]
    window = make_window(named)
    return Window(camera, seed, window.frames, window.start_s, window.end_s, "stride", window.due_s)


def looks_at(cameras: int, edge_px: int) -> list[Look]:
    """Of different lengths, with different questions; some without any, some with words."""
    asked = (QUESTIONS, QUESTIONS[:1], QUESTIONS[2:], ())
    return [
        Look(
            window_of(f"camera{i}", 8 if i % 3 else 5, edge_px, seed=i),
            asked[i % 4],
            DESCRIBE_PROMPT if i % 2 else None,
        )
        for i in range(cameras)
    ]


def assert_same(one: Observation | InferenceError, other: Observation | InferenceError) -> None:
    assert isinstance(one, Observation), one
    assert isinstance(other, Observation), other
    assert (one.camera, one.window_seq) == (other.camera, other.window_seq)
    assert dict(one.answers) == pytest.approx(dict(other.answers), abs=1e-5)
    assert one.description == other.description


def test_windows_together_say_what_the_reference_says_of_each(model_dir: Path):
    reference, batched = load(model_dir, "torch"), load(model_dir)
    looks = looks_at(7, batched.frame_edge_px)
    together = batched.observe_many(looks)
    for look, seen in zip(looks, together, strict=True):
        alone = reference.observe(look.window, look.questions, look.prompt)
        assert_same(seen, alone)
        assert_same(batched.observe(look.window, look.questions, look.prompt), alone)


def test_more_windows_than_go_together_run_in_turns(tiny_dir: Path):
    reference, batched = load(tiny_dir, "torch"), load(tiny_dir, windows_at_once=3)
    looks = looks_at(8, 64)
    for look, seen in zip(looks, batched.observe_many(looks), strict=True):
        assert_same(seen, reference.observe(look.window, look.questions, look.prompt))


def test_an_engine_for_single_windows_takes_many_too(tiny_dir: Path):
    model = load(tiny_dir, "torch")
    assert model.windows_at_once == 1
    looks = looks_at(3, 64)
    for look, seen in zip(looks, model.observe_many(looks), strict=True):
        assert_same(seen, model.observe(look.window, look.questions, look.prompt))


def test_words_after_answers_find_the_prompts_still_there(tiny_dir: Path):
    model = load(tiny_dir)
    looks = looks_at(4, 64)
    alike = [look for look in looks if len(look.window.frames) == 8]
    model.observe_many([Look(look.window, QUESTIONS, None) for look in alike])
    runs = dict(model._engine._runs)
    told = model.observe_many([Look(look.window, (), DESCRIBE_PROMPT) for look in alike[:1]])
    assert dict(model._engine._runs) == runs  # no prompt was run anew
    assert_same(told[0], load(tiny_dir, "torch").observe(alike[0].window, (), DESCRIBE_PROMPT))


def test_a_row_that_was_overwritten_is_refused_and_not_misread(tiny_dir: Path):
    model = load(tiny_dir)
    engine, look = model._engine, looks_at(1, 64)[0]
    model.observe(look.window, look.questions, None)
    [stale] = model._runner._warm.values()
    model.observe(looks_at(2, 64)[1].window, look.questions, None)
    with pytest.raises(ValueError, match="run since"):
        engine.answer_all([stale], [[[1, 2]]], [3])
    with pytest.raises(ValueError, match="run since"):
        engine.decode_all([stale], [[1, 2]], 4, [()])


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda look: Look(look.window, ("<image>?",), None), "control token"),
        (lambda look: Look(look.window, ("why? " * 9000,), None), "more than the model's 8192"),
        (lambda look: Look(grey(look.window), QUESTIONS, None), "uint8"),
    ],
)
def test_one_window_that_cannot_be_run_takes_no_other_with_it(tiny_dir: Path, broken, reason):
    reference, batched = load(tiny_dir, "torch"), load(tiny_dir)
    looks = looks_at(5, 64)
    bad = 2
    results = batched.observe_many(
        [broken(look) if i == bad else look for i, look in enumerate(looks)]
    )
    for i, (look, seen) in enumerate(zip(looks, results, strict=True)):
        if i == bad:
            assert isinstance(seen, InferenceError)
            assert "camera camera2 could not be run" in str(seen)
            assert reason in str(seen)
        else:
            assert_same(seen, reference.observe(look.window, look.questions, look.prompt))


class ShortOfMemory(CudaEngine):
    """Runs out of memory with more than two prompts at once."""

    def prefill_all(self, prompts):
        if len(prompts) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return super().prefill_all(prompts)


def test_short_of_memory_windows_run_in_smaller_batches(tiny_dir: Path):
    module, tokens = load_checkpoint(tiny_dir, torch.float32, torch.device("cpu"))
    engine, cache = ShortOfMemory(module, tokens.end_id), EncoderCache(1 << 24)
    model = SmolVLM2(engine, tokens, "short", cache=cache, max_description_tokens=MAX_TOKENS)
    reference, looks = load(tiny_dir, "torch"), looks_at(7, 64)
    for look, seen in zip(looks, model.observe_many(looks), strict=True):
        assert_same(seen, reference.observe(look.window, look.questions, look.prompt))


def test_frames_of_several_cameras_are_encoded_together_and_once(tiny_dir: Path):
    model = load(tiny_dir)
    calls: list[int] = []
    encode = model._engine.encode_images
    model._engine.encode_images = lambda images: calls.append(len(images)) or encode(images)
    looks = [Look(window_of(f"camera{i}", 8, 64, i), QUESTIONS, None) for i in range(3)]
    counts = [seen.timings.frames_encoded for seen in model.observe_many([*looks, looks[0]])]
    assert (calls, counts) == ([24], [8, 8, 8, 0])
    model.observe_many(looks)
    assert calls == [24]  # all of them were cached, and the prompts' places given away since


def test_a_text_stays_good_while_windows_are_run(tiny_dir: Path):
    task = "Say what happened. " * 9
    expected = list(load(tiny_dir, "torch").write(task, 40))
    model, looks, written = load(tiny_dir), looks_at(5, 64), []
    for text in model.write(task, 40):
        written.append(text)
        model.observe_many(looks)
    assert written == expected
    assert len(written) == 4  # so windows were run three times in between


def test_grey_levels_are_scaled_as_pixels_are(tiny_dir: Path):
    # Folded into the first layer: no rounding of pixels, so float32 differs in the last digits.
    module, tokens = load_checkpoint(tiny_dir, torch.float32, torch.device("cpu"))
    images = [frame.image for frame in make_frames(3, 36, 64)]
    images.insert(1, np.full((64, 64, 3), 255, np.uint8))  # those of one size are sent together
    expected = TorchEngine(module, tokens.end_id).encode(preprocess(images, 64))
    features = CudaEngine(module, tokens.end_id).encode_images(images)
    assert (torch.stack(features) - expected).abs().max() < 1e-5 * expected.abs().max()


def grey(window: Window) -> Window:
    frames = list(window.frames)
    last = frames[-1]
    frames[-1] = Frame(
        last.camera, 0, last.seq, last.captured_s, 0.0, last.image[:, :, 0].astype(float), 0.0
    )
    return replace(window, frames=tuple(frames))
