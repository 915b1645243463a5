"""Is a rule's zone looked at by itself, and sharply?"""

from __future__ import annotations

import itertools
import threading

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.capture import CaptureWorker
from pipelines.inference import InferenceWorker, Watch
from pipelines.ring import FrameRing
from pipelines.rules import Debounce, Rule, RuleBook
from pipelines.sources import Picture
from pipelines.types import Window
from pipelines.windows import WindowPlan, WindowScheduler
from pipelines.zones import Zone, plain_question
from tests.fakes import FakeClock, FakeModel, FakeSink, FakeSource

CORNER = Zone(0.5, 0.5, 1.0, 1.0)
QUESTION = "Is there a person?"


@given(
    width=st.integers(2, 400),
    height=st.integers(2, 400),
    xs=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    ys=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_crop_holds_every_pixel_that_the_box_touches(
    width: int, height: int, xs: tuple[float, float], ys: tuple[float, float]
) -> None:
    zone = Zone.around(((min(xs), min(ys)), (max(xs), min(ys)), (max(xs), max(ys))))
    columns = np.broadcast_to(np.arange(width), (height, width))
    rows = np.broadcast_to(np.arange(height)[:, None], (height, width))
    crop = zone.crop(np.stack([columns, rows, rows], axis=2))  # type: ignore[arg-type]
    assert crop.size
    assert crop[0, 0, 0] <= min(xs) * width
    assert crop[0, -1, 0] + 1 >= max(xs) * width
    assert crop[0, 0, 1] <= min(ys) * height
    assert crop[-1, 0, 1] + 1 >= max(ys) * height


def test_the_same_box_has_the_same_name_and_questions_come_back() -> None:
    triangle = Zone.around(((0.1, 0.2), (0.9, 0.2), (0.5, 0.8)))
    square = Zone.around(((0.1, 0.2), (0.9, 0.2), (0.9, 0.8), (0.1, 0.8)))
    assert triangle == square
    assert triangle.question(QUESTION) == square.question(QUESTION) != QUESTION
    assert plain_question(triangle.question(QUESTION)) == plain_question(QUESTION) == QUESTION


def test_a_zone_is_cut_from_the_whole_picture_before_it_is_scaled() -> None:
    image = np.zeros((400, 800, 3), np.uint8)
    image[200:, 400::2] = 255  # stripes of one pixel, in the lower right quarter
    clock, stop = FakeClock(), threading.Event()
    ring, zone_ring = FrameRing(4), FrameRing(4)
    CaptureWorker(
        "door", FakeSource([Picture(image), stop], clock), ring, clock,
        sample_interval_s=1.0, frame_edge_px=400, zones={CORNER: zone_ring},
    ).run_once(stop)  # fmt: skip
    whole, close = ring.newest(), zone_ring.newest()
    assert whole is not None
    assert close is not None
    assert close.image.shape == (200, 400, 3)
    np.testing.assert_array_equal(close.image, image[200:, 400:])  # every stripe is still there
    assert not np.isin(whole.image[:, 250:], (0, 255))[150:].all()  # where the whole has grey
    assert (close.seq, close.captured_s, close.epoch) == (whole.seq, whole.captured_s, whole.epoch)
    assert close.key != whole.key
    assert close.key[:3] == whole.key[:3]


def watch_both(*rules: Rule) -> tuple[FakeModel, FakeSink]:
    """One window of a camera whose lower right corner is white, and its rules' events."""
    image = np.zeros((40, 80, 3), np.uint8)
    image[20:, 40:] = 255
    clock, stop = FakeClock(), threading.Event()
    ring, zones = FrameRing(8), {CORNER: FrameRing(8)}
    pictures = [Picture(image, float(n)) for n in range(2)]
    CaptureWorker(
        "door", FakeSource([*pictures, stop], clock), ring, clock,
        sample_interval_s=1.0, frame_edge_px=64, zones=zones,
    ).run_once(stop)  # fmt: skip
    plan = WindowPlan(num_frames=2, interval_s=1.0, stride_s=1.0)
    scheduler = WindowScheduler({"door": (plan, ring)}, clock.monotonic_s())
    model, sink = FakeModel(white_is_yes), FakeSink()
    ids = (str(n) for n in itertools.count())
    watch = Watch(RuleBook("door", rules, lambda: next(ids)), None, "Describe.", zones)
    worker = InferenceWorker(model, scheduler, {"door": watch}, sink, clock, lambda: next(ids))
    assert worker.run_once()
    return model, sink


def white_is_yes(window: Window, question: str) -> float:
    assert question == QUESTION  # the model never hears of zones
    return float(window.frames[-1].image.mean() / 255)


def rule(name: str, ask: str) -> Rule:
    return Rule(name, ask, debounce=Debounce(1, 1))


def test_each_rule_is_judged_by_what_its_own_part_shows() -> None:
    near = CORNER.question(QUESTION)
    model, sink = watch_both(rule("all", QUESTION), rule("near", near), rule("too", near))
    views = [window.frames[0].view for window, _, _ in model.asked]
    assert views == [CORNER.name, ""]  # once for both rules of the zone, and the whole last
    assert [(event.rule, event.score) for event in sink.events] == [("near", 1.0), ("too", 1.0)]


def test_where_only_zones_are_asked_the_whole_picture_is_not_run() -> None:
    model, sink = watch_both(rule("near", CORNER.question(QUESTION)))
    assert [window.frames[0].view for window, _, _ in model.asked] == [CORNER.name]
    assert [event.rule for event in sink.events] == ["near"]
