"""Whose features does a frame take, and can an approximation spread beyond where it was wanted?"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.capture import scale_to_edge
from pipelines.smolvlm2.cache import EncoderCache
from pipelines.smolvlm2.checkpoint import load_checkpoint
from pipelines.smolvlm2.cpu_engine import CpuEngine
from pipelines.smolvlm2.cuda_engine import CudaEngine
from pipelines.smolvlm2.model import SmolVLM2
from pipelines.smolvlm2.stand_ins import LONGEST_S, StandIns, change, small_picture
from pipelines.sources import SourceUrl, open_source
from pipelines.types import Anchor, Frame, FrameKey, Image, Look, Observation, Window
from tests.fakes import FakeClock
from tests.pipelines.smolvlm2.conftest import QUESTIONS, make_window

FOOTAGE = Path(__file__).parents[3].parent / "shared" / "footage"
BELOW = 8.0
ENGINES = {"cpu": CpuEngine, "cuda": CudaEngine}  # one prompt at a time, and batches


def picture(level: int = 90, height: int = 72, width: int = 128) -> Image:
    """A yard with a fence, and noise as a camera's."""
    random = np.random.default_rng(level)
    image = np.full((height, width, 3), level, np.float32)
    image[height // 2 :, ::16] += 60
    image += random.normal(0.0, 4.0, image.shape)
    return image.clip(0, 255).astype(np.uint8)


def noisy(image: Image, seed: int) -> Image:
    random = np.random.default_rng(seed)
    noise = random.normal(0.0, 4.0, image.shape)
    return (image + noise).round().clip(0, 255).astype(np.uint8)


def frame(seq: int, image: Image, at_s: float | None = None, camera: str = "porch") -> Frame:
    captured_s = 100.0 + (seq if at_s is None else at_s)
    return Frame(camera, 0, seq, captured_s, 1.7e9 + captured_s, image, 0.0)


def still(count: int, first: int = 0, camera: str = "porch") -> list[Frame]:
    scene = picture()
    return [frame(seq, noisy(scene, seq), camera=camera) for seq in range(first, first + count)]


class Chooser:
    """Stand-ins whose features are there from the moment that they were chosen."""

    def __init__(self, below: float = BELOW) -> None:
        self.stand_ins = StandIns(below)
        self.held: set[FrameKey] = set()

    def key_for(self, of: Frame) -> FrameKey:
        key = self.stand_ins.key_for(of, self.held.__contains__)
        self.held.add(key)
        return key


def test_still_frames_take_the_features_of_the_first_and_noise_is_no_change():
    chooser, frames = Chooser(), still(8)
    assert {chooser.key_for(one) for one in frames} == {frames[0].key}
    assert chooser.stand_ins.count == 7
    assert [chooser.key_for(one) for one in frames] == [frames[0].key] * 8
    assert chooser.stand_ins.count == 7  # a frame that is seen again is no new one


def test_drift_adds_up():
    # 2 levels from frame to frame: none differs from its neighbour as much as from the fourth.
    frames = [frame(seq, np.full((72, 128, 3), 60 + 2 * seq, np.uint8)) for seq in range(20)]
    chooser = Chooser()
    chosen = [chooser.key_for(one)[2] for one in frames]
    assert chosen == [seq - seq % 4 for seq in range(20)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-6, 6), st.floats(0.1, 12.0)), min_size=1, max_size=40))
def test_whatever_a_scene_does_features_are_of_a_frame_like_it_and_not_old(
    steps: list[tuple[int, float]],
):
    chooser, level, at_s = Chooser(), 128, 0.0
    seen: dict[FrameKey, Frame] = {}
    for seq, (step, pause_s) in enumerate(steps):
        level, at_s = min(255, max(0, level + step)), at_s + pause_s
        one = frame(seq, np.full((36, 64, 3), level, np.uint8), at_s)
        seen[one.key] = one
        other = seen[chooser.key_for(one)]
        assert change(small_picture(one.image), small_picture(other.image)) < BELOW
        assert one.captured_s - other.captured_s < LONGEST_S
        assert chooser.key_for(other) == other.key  # it has features of its own


@pytest.mark.parametrize("edge_px", [128, 512])
def test_somebody_small_and_far_away_is_a_change(edge_px: int):
    scene = picture(90, edge_px * 9 // 16, edge_px)
    height, width = edge_px // 24, edge_px // 64  # 21 x 8 px of 512, a thousandth of the picture
    walks = [scene.copy() for _ in range(4)]
    for place, image in enumerate(walks):
        left = edge_px // 2 + 2 * place * width
        image[edge_px // 8 : edge_px // 8 + height, left : left + width] += 60
        assert np.abs(image.astype(int) - scene).mean() < 0.2  # a mean would not see it
    frames = [frame(seq, noisy(image, seq)) for seq, image in enumerate([scene, *walks])]
    chooser = Chooser()
    assert [chooser.key_for(one) for one in frames] == [one.key for one in frames]


def test_another_colour_of_the_same_brightness_is_a_change():
    red, green = np.full((72, 128, 3), 90, np.uint8), np.full((72, 128, 3), 90, np.uint8)
    red[20:40, 20:40], green[20:40, 20:40] = (150, 60, 90), (60, 106, 90)
    chooser = Chooser()
    assert chooser.key_for(frame(0, red)) != chooser.key_for(frame(1, green))


def test_features_are_taken_for_a_while_only():
    scene = picture()
    chooser = Chooser()
    times_s = [0.0, LONGEST_S - 1.0, LONGEST_S, LONGEST_S + 1.0]
    frames = [frame(seq, scene, at_s) for seq, at_s in enumerate(times_s)]
    assert [chooser.key_for(one)[2] for one in frames] == [0, 0, 2, 2]


def test_cameras_zones_and_epochs_share_nothing():
    first = frame(0, picture())
    others = [
        replace(first, seq=1, camera="yard"),
        replace(first, seq=1, epoch=1),
        replace(first, seq=1, view="0,0 to 0.5,1"),
        replace(first, seq=2, image=picture(height=96)),
    ]
    for other in others:
        chooser = Chooser()
        chooser.key_for(first)
        assert chooser.key_for(other) == other.key


def test_an_older_frame_neither_takes_nor_gives():
    # Somebody asks about the last half minute, and those frames come into a window late.
    scene = picture()
    chooser = Chooser()
    assert chooser.key_for(frame(5, scene))[2] == 5
    assert chooser.key_for(frame(3, scene))[2] == 3
    assert chooser.key_for(frame(6, scene))[2] == 5


def test_features_that_went_are_not_waited_for():
    frames = still(3)
    chooser = Chooser()
    assert [chooser.key_for(one) for one in frames[:2]] == [frames[0].key] * 2
    chooser.held.clear()
    assert [chooser.key_for(one) for one in frames[1:]] == [one.key for one in frames[1:]]


@pytest.mark.skipif(not FOOTAGE.exists(), reason="no ../shared/footage beside the project")
def test_a_real_room_is_still_until_somebody_walks_in():
    source = open_source(
        SourceUrl(str(FOOTAGE / "one-by-one-person-detection.mp4")), FakeClock(), realtime=False
    )
    chooser, stop = Chooser(), threading.Event()
    source.open()
    try:
        pictures = [source.read(1.0, stop) for _ in range(100)]
    finally:
        source.close()
    images = [one.image for one in pictures if one is not None and one.image is not None]
    frames = [frame(seq, scale_to_edge(image, 512)) for seq, image in enumerate(images)]
    chosen = [chooser.key_for(one)[2] for one in frames]
    # The empty room for six seconds, then a man walks through it.
    assert chosen == [0, 0, 0, 0, 0, 0, 6, 7, 8, 9]


def load(
    directory: Path, below: float | None = BELOW, engine: str = "cpu", cache_bytes: int = 1 << 24
) -> SmolVLM2:
    module, tokens = load_checkpoint(directory, torch.float32, torch.device("cpu"))
    return SmolVLM2(
        ENGINES[engine](module, tokens.end_id), tokens, "test", cache=EncoderCache(cache_bytes),
        max_description_tokens=8, stand_ins=None if below is None else StandIns(below),
    )  # fmt: skip


def window(frames: Sequence[Frame], seq: int = 0) -> Window:
    return replace(make_window(list(frames), seq), camera=frames[0].camera)


def with_images(frames: Sequence[Frame], images: Sequence[Image]) -> list[Frame]:
    return [
        replace(one, image=image, camera="other") for one, image in zip(frames, images, strict=True)
    ]


@pytest.mark.parametrize("engine", list(ENGINES))
def test_a_still_window_is_answered_as_if_its_first_frame_had_stayed(tiny_dir: Path, engine: str):
    frames = still(9)
    moved = frames[8].image.copy()
    moved[20:60, 40:80] = 250
    frames[8] = replace(frames[8], image=moved)
    model, exact = load(tiny_dir, engine=engine), load(tiny_dir, None, engine)
    first = model.observe(window(frames[:8]), QUESTIONS, None)
    assert (first.timings.frames_encoded, first.timings.frames_reused) == (1, 7)
    then = model.observe(window(frames[1:]), QUESTIONS, None)
    assert (then.timings.frames_encoded, then.timings.frames_reused) == (1, 0)
    images = [*[frames[0].image] * 7, moved]
    wanted = exact.observe(window(with_images(frames[1:], images)), QUESTIONS, None)
    assert then.answers == pytest.approx(wanted.answers, abs=1e-5)
    seen = exact.observe(window(frames[1:]), QUESTIONS, None)
    assert then.answers != pytest.approx(seen.answers, abs=1e-5)  # it is an approximation


def test_it_is_off_by_default(tiny_dir: Path):
    seen = load(tiny_dir, None).observe(window(still(8)), QUESTIONS, None)
    assert (seen.timings.frames_encoded, seen.timings.frames_reused) == (8, 0)


def test_who_asks_is_shown_the_frames_as_they_are_and_changes_nothing(tiny_dir: Path):
    frames, model, exact = still(9), load(tiny_dir), load(tiny_dir, None)
    quiet = model.observe(window(frames[:8]), QUESTIONS, None)
    asked = replace(window(frames[:8]), reason="request")
    seen = model.observe(asked, QUESTIONS, None)
    assert seen.timings.frames_encoded == 7  # the first one was exact already
    wanted = exact.observe(asked, QUESTIONS, None)
    assert seen.answers == pytest.approx(wanted.answers, abs=1e-5)
    # The exact features are there now; windows go on with what they had chosen.
    again = model.observe(window(frames[:8]), QUESTIONS, None)
    assert again.answers == pytest.approx(quiet.answers, abs=1e-6)
    onward = model.observe(window(frames[1:]), QUESTIONS, None)
    assert (onward.timings.frames_encoded, onward.timings.frames_reused) == (0, 1)


def test_a_frame_that_somebody_asked_about_first_keeps_its_own_features(tiny_dir: Path):
    frames, model = still(8), load(tiny_dir)
    model.observe(window(frames[:4]), QUESTIONS, None)
    model.observe(replace(window(frames[4:]), reason="request"), QUESTIONS, None)
    seen = model.observe(window(frames), QUESTIONS, None)
    assert (seen.timings.frames_encoded, seen.timings.frames_reused) == (0, 0)


def test_a_cache_that_holds_nothing_makes_no_stand_ins(tiny_dir: Path):
    # Within one window features are at hand; for the next one they are gone.
    frames, model = still(9), load(tiny_dir, cache_bytes=0)
    assert model.observe(window(frames[:8]), QUESTIONS, None).timings.frames_encoded == 1
    assert model.observe(window(frames[1:]), QUESTIONS, None).timings.frames_encoded == 8


def test_words_after_answers_find_the_still_window_warm(tiny_dir: Path):
    model = load(tiny_dir)
    model.observe(window(still(8)), QUESTIONS, None)
    told = model.observe(window(still(8)), (), "What is there?")
    assert (told.timings.frames_encoded, told.timings.frames_reused) == (0, 0)


@pytest.mark.parametrize("engine", list(ENGINES))
def test_cameras_that_run_together_take_their_own(tiny_dir: Path, engine: str):
    looks = [
        Look(window(still(8, camera=name)), QUESTIONS, None) for name in ("porch", "gate", "yard")
    ]
    seen = load(tiny_dir, engine=engine).observe_many(looks)
    for look, one in zip(looks, seen, strict=True):
        assert isinstance(one, Observation)
        assert (one.timings.frames_encoded, one.timings.frames_reused) == (1, 7)
        alone = load(tiny_dir, engine=engine).observe(look.window, QUESTIONS, None)
        assert one.answers == pytest.approx(alone.answers, abs=1e-5)


def test_anchored_windows_of_still_frames_are_what_a_fresh_run_of_them_is(tiny_dir: Path):
    frames = still(6)
    model, afresh = load(tiny_dir), load(tiny_dir)
    for number, count in enumerate(range(3, 7)):
        grown = replace(window(frames[:count]), anchor=Anchor(3, 6))
        seen = model.observe(grown, QUESTIONS, None)
        afresh.kept.clear()
        assert seen.answers == pytest.approx(
            afresh.observe(grown, QUESTIONS, None).answers, abs=1e-4
        )
        assert model.kept.extended == number
        assert seen.timings.frames_encoded == (0 if number else 1)


def test_a_window_that_fails_leaves_no_frame_without_features(tiny_dir: Path):
    model, frames = load(tiny_dir), still(9)
    encode, model._engine.encode_images = model._engine.encode_images, fails
    with pytest.raises(Exception, match="out of memory"):
        model.observe(window(frames[:8]), QUESTIONS, None)
    model._engine.encode_images = encode
    seen = model.observe(window(frames[1:]), QUESTIONS, None)
    wanted = load(tiny_dir, None).observe(window(frames[1:]), QUESTIONS, None)
    assert seen.timings.frames_encoded == 8
    assert seen.answers == pytest.approx(wanted.answers, abs=1e-5)


def fails(_: object) -> torch.Tensor:
    raise RuntimeError("out of memory")
