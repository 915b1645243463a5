"""Do the scenes look like what they say?"""

import threading
from pathlib import Path

import av
import numpy as np
import pytest

from pipelines.clock import SystemClock
from pipelines.scenes.acts import EventName, random_act
from pipelines.scenes.clips import draw_clip, patch_classes
from pipelines.scenes.draw import CLASSES, Painter
from pipelines.scenes.render import evenly_spaced, event_clip, write_event
from pipelines.scenes.stage import Standing, random_stage
from pipelines.sources import SourceUrl, open_source
from tests.fakes import FakeClock


@pytest.mark.parametrize(
    ("event", "kind", "at_s"),
    [
        ("person_stand", "person", 1.0),
        ("car_parked", "car", 1.0),
        ("package_alone", "package", 1.0),
    ],
)
def test_the_mask_is_where_the_pixels_differ(event: EventName, kind: str, at_s: float) -> None:
    stage = random_stage(np.random.default_rng(4), "driveway", night=False)
    standing = Standing(
        person=event == "person_stand", car=event == "car_parked", package=event == "package_alone"
    )
    act = random_act(np.random.default_rng(1), event, stage, standing)
    painter = Painter(stage, 320, 180)
    image, mask = painter.paint_with_mask(act.state_at(at_s), at_s)
    empty = painter.paint(stage.rest(Standing()), at_s)
    changed = np.abs(image.astype(int) - empty.astype(int)).max(axis=2) > 30
    found = mask == CLASSES[kind]  # type: ignore[index]
    assert set(np.unique(mask)) == {0, CLASSES[kind]}  # type: ignore[index]
    assert found.sum() > 200
    assert changed[found].mean() > 0.6
    assert changed[~found].mean() < 0.05


def test_night_is_grey_and_day_is_not() -> None:
    for night in (True, False):
        stage = random_stage(np.random.default_rng(8), "yard", night=night)
        image = Painter(stage, 160, 90).paint(stage.rest(Standing()), 0.0).astype(int)
        grey = np.abs(image[..., 0] - image[..., 1]).max() == 0
        assert grey == night
        assert 20 < image.mean() < 220


def test_frames_differ_by_noise_even_when_nothing_moves() -> None:
    stage = random_stage(np.random.default_rng(2), night=False)
    painter = Painter(stage, 160, 90)
    state = stage.rest(Standing())
    first, second = painter.paint(state, 0.0), painter.paint(state, 0.1)
    assert not np.array_equal(first, second)
    assert np.abs(first.astype(int) - second.astype(int)).mean() < 8


def test_a_rendered_file_is_h264_of_eight_seconds(tmp_path: Path) -> None:
    out = tmp_path / "clip.mp4"
    clip = write_event("person_arrive", 3, out, 320)
    with av.open(str(out), "r") as container:
        stream = container.streams.video[0]
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(stream)]
        assert stream.codec_context.name == "h264"
        assert stream.average_rate == 10
    assert len(frames) == 80
    drawn = clip.images(320)
    assert np.abs(frames[40].astype(int) - drawn[40].astype(int)).mean() < 6
    out.unlink()


def test_evenly_spaced_takes_first_and_last() -> None:
    assert evenly_spaced(80, 8)[0] == 0
    assert evenly_spaced(80, 8)[-1] == 79
    assert evenly_spaced(3, 8) == [0, 1, 2]


def test_training_clips_show_what_their_masks_say() -> None:
    for index in range(6):
        clip = draw_clip(np.random.default_rng(index))
        used = len(clip.times_s)
        assert clip.frames[:used].any(axis=(1, 2, 3)).all()
        assert not clip.frames[used:].any()
        seen = {kind for kind in CLASSES if (clip.classes == CLASSES[kind]).any()}
        for kind in ("person", "car", "dog"):
            assert (kind in seen) <= (clip.truth.answers()[kind] is not False)


def test_a_patch_takes_the_class_that_covers_most_of_it() -> None:
    mask = np.zeros((128, 128), np.uint8)
    mask[:8, :8] = 2
    mask[:8, 8:9] = 3  # an eighth of the next patch: too little
    classes = patch_classes(mask)
    assert classes[0, 0] == 2
    assert classes[0, 1] == 0


def test_a_scene_is_a_live_camera() -> None:
    clock, stop = FakeClock(), threading.Event()
    source = open_source(SourceUrl("scene://porch?seed=2&width=160&fps=10"), clock)
    source.open()
    begun_s = clock.monotonic_s()
    pictures = [source.read(1.0, stop) for _ in range(30)]
    assert clock.monotonic_s() - begun_s == pytest.approx(3.0)
    assert sum(p is not None and p.image is not None for p in pictures) == 3
    clock.advance(60.0)  # nobody read for a minute: it does not make up for it
    late = source.read(1.0, stop)
    assert late is not None
    assert late.pts_s == pytest.approx(63.0, abs=0.2)
    stop.set()
    assert source.read(1.0, stop) is None
    source.close()


def test_a_scene_in_real_time() -> None:
    source = open_source(SourceUrl("scene://yard?width=160&fps=30"), SystemClock())
    source.open()
    picture = source.read(0.01, threading.Event())
    assert picture is not None
    assert picture.image is not None
    assert picture.image.shape == (90, 160, 3)
    assert event_clip("empty", 1).truth().label == "empty"
