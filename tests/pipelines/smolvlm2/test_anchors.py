"""Is a prompt that grows the same as one that is run afresh, and is what is kept bounded?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipelines.smolvlm2.anchors import KeptPrefixes
from pipelines.smolvlm2.batch_protocol import Prompt
from pipelines.smolvlm2.checkpoint import load_checkpoint
from pipelines.smolvlm2.cpu_engine import CpuEngine
from pipelines.smolvlm2.loading import from_name
from pipelines.smolvlm2.preprocess import preprocess
from pipelines.smolvlm2.prompt import DESCRIBE_PROMPT, question_suffix, video_prefix
from pipelines.smolvlm2.torch_engine import TorchEngine
from pipelines.types import Anchor, Look, Window
from tests.fakes import FakeClock
from tests.pipelines.smolvlm2.conftest import QUESTIONS, make_frames, make_window


def growing(begun: int = 3, most: int = 6, stride: int = 1, camera: str = "porch") -> list[Window]:
    frames = [replace(frame, camera=camera) for frame in make_frames(most, 64, 64)]
    return [
        replace(make_window(frames[:count]), camera=camera, anchor=Anchor(begun, most))
        for count in range(begun, most + 1, stride)
    ]


@pytest.mark.parametrize("kind", [TorchEngine, CpuEngine])
def test_an_extended_prefix_gives_the_logits_of_a_fresh_one(model_dir: Path, kind):
    module, tokens = load_checkpoint(model_dir, torch.float32, torch.device("cpu"))
    vocabulary = range(module.config.text_config.vocab_size)
    engine = kind(module, tokens.end_id)
    frames = make_frames(6, 64, 64)
    features = engine.encode(preprocess([f.image for f in frames], engine.frame_size_px))
    suffixes = [tokens.encode(question_suffix(question)) for question in QUESTIONS]

    def ids(count: int) -> list[int]:
        times_s = [float(second) for second in range(count)]
        return tokens.encode(video_prefix(times_s, 2.0, engine.tokens_per_frame, begun=3))

    prefix = engine.prefill(ids(3), features[:3], 4 * 200)
    engine.answer(prefix, suffixes, vocabulary)  # what calls leave behind the prompt is no matter
    for count in (4, 6):
        known, text = prefix.num_tokens, ids(count)
        frames_known = {4: 3, 6: 4}[count]
        prefix = engine.extend(prefix, text[known:], list(features[frames_known:count]))
        fresh = engine.prefill(text, features[:count], 200)
        ours = engine.answer(prefix, suffixes, vocabulary)
        theirs = engine.answer(fresh, suffixes, vocabulary)
        assert torch.allclose(ours, theirs, atol=1e-3)
        assert engine.decode(prefix, suffixes[0], 8) == engine.decode(fresh, suffixes[0], 8)
    with pytest.raises(ValueError, match="for a room of"):
        engine.extend(prefix, [1] * 5000, [])
    with pytest.raises(ValueError, match="rows of features"):
        engine.extend(prefix, [tokens.image_id], [])


def test_only_new_frames_of_an_anchored_window_are_run(model_dir: Path):
    windows = growing(stride=1)
    model, afresh = (
        from_name(model_dir, engine="torch", device="cpu", precision="f32") for _ in range(2)
    )
    for number, window in enumerate(windows):
        seen = model.observe(window, QUESTIONS, None)
        other = from_fresh(afresh, window)
        assert seen.answers == pytest.approx(other, abs=1e-4)
        assert model.kept.extended == number
        # Words for the same window, as the daemon asks for them after the alerts.
        [told] = model.observe_many([Look(window, (), DESCRIBE_PROMPT)])
        assert told.timings.frames_encoded == 0
        assert model.kept.extended == number
    assert afresh.kept.extended == 0


def from_fresh(model, window: Window) -> dict[str, float]:
    model.kept.clear()
    return dict(model.observe(window, QUESTIONS, None).answers)


def test_the_first_anchored_window_reads_as_any_other(model_dir: Path):
    window = growing()[0]
    model = from_name(model_dir, engine="torch", device="cpu")
    anchored = model.observe(window, QUESTIONS, None)
    slid = model.observe(replace(window, anchor=None), QUESTIONS, None)
    assert anchored.answers == slid.answers


def test_cameras_between_do_not_push_each_other_out(tiny_dir: Path):
    model = from_name(tiny_dir, engine="torch", device="cpu")
    cameras = [growing(camera=name) for name in ("porch", "gate", "yard")]
    model.observe(cameras[0][0], QUESTIONS, None)
    model.kept.max_bytes = 2 * model.kept.num_bytes  # room for two of three
    for windows in zip(*cameras, strict=True):
        for window in windows:
            model.observe(window, QUESTIONS, None)
            assert model.kept.num_bytes <= model.kept.max_bytes
    assert len(model.kept) == 2
    assert model.kept.extended == 2 * 3


def test_another_start_is_run_afresh_and_frees_the_room_of_the_one_before(tiny_dir: Path):
    model = from_name(tiny_dir, engine="torch", device="cpu")
    frames = make_frames(8, 64, 64)
    for first in (0, 3):
        window = replace(make_window(frames[first : first + 3]), anchor=Anchor(3, 6))
        model.observe(window, QUESTIONS, None)
        assert model.kept.extended == 0
    assert len(model.kept) == 1


class Room:
    room = 1000


def test_a_camera_that_went_quiet_gives_its_room_to_another():
    clock = FakeClock()
    kept = KeptPrefixes(clock, max_bytes=100)
    for name in ("porch", "gate"):
        kept.keep(name, Prompt((1,), (), 1), (), Room(), 80)
    assert len(kept) == 1
    clock.advance(121.0)
    kept.keep("gate", Prompt((1,), (), 1), (), Room(), 80)
    assert kept.num_bytes == 80
    assert kept.find("gate", Prompt((1,), (), 1), (), None) is not None


def test_one_prompt_is_kept_whatever_its_size():
    kept = KeptPrefixes(FakeClock(), max_bytes=100)
    for name in ("porch", "gate"):
        kept.keep(name, Prompt((1,), (), 1), (), Room(), 300)
    assert kept.find("porch", Prompt((1,), (), 1), (), None) is not None
    assert kept.find("gate", Prompt((1,), (), 1), (), None) is None
    assert kept.num_bytes == 300
