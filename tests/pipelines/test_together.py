"""Do windows that are due together go together, and does each come to what it would alone?"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pipelines.errors import InferenceError
from pipelines.inference import FAILURES_IN_A_ROW, InferenceWorker, Watch
from pipelines.ring import FrameRing
from pipelines.rules import Debounce, Rule, RuleBook
from pipelines.together import tell_together
from pipelines.types import Frame, Look, Window
from pipelines.windows import WindowPlan, WindowScheduler
from tests.fakes import FakeClock, FakeModel, FakeSink

ASK = "Did a car arrive?"


class Street:
    """Some cameras whose frames come at the same moment, and the worker that looks at them."""

    def __init__(self, model: FakeModel, cameras: int, *, describe: bool = False) -> None:
        self.clock, self.model, self.sink = FakeClock(), model, FakeSink()
        self.names = [f"camera{i}" for i in range(cameras)]
        self.rings = {name: FrameRing(12) for name in self.names}
        plan = WindowPlan(num_frames=2, interval_s=1.0, stride_s=1.0)
        self.scheduler = WindowScheduler(
            {name: (plan, ring) for name, ring in self.rings.items()}, self.clock.monotonic_s()
        )
        rule = Rule("car", ASK, debounce=Debounce(1, 1), cooldown_s=0.0, describe=describe)
        ids = map(str, itertools.count())
        watches = {
            name: Watch(RuleBook(name, [rule], lambda: next(ids)), None, "Words?")
            for name in self.names
        }
        self.worker = InferenceWorker(
            model, self.scheduler, watches, self.sink, self.clock, lambda: next(ids)
        )
        self._seq = itertools.count()

    def see(self, seconds: int, *, without: str | None = None) -> None:
        for _ in range(seconds):
            self.clock.advance(1.0)
            seq = next(self._seq)
            for name, ring in self.rings.items():
                if name != without:
                    image, now_s = np.zeros((8, 8, 3), np.uint8), self.clock.monotonic_s()
                    ring.put(Frame(name, 0, seq, now_s, self.clock.wall_time(), image, 0.0))

    def told(self) -> list[tuple[str, str, float | None]]:
        return [(e.camera, e.event_type, e.score) for e in self.sink.events]


def some_cars(window: Window, question: str) -> float:
    return 0.9 if window.camera in ("camera1", "camera3") else 0.2


def test_what_is_due_goes_together_as_far_as_the_model_gains_by_it():
    street = Street(FakeModel(some_cars, windows_at_once=4), 6)
    street.see(2)
    while street.worker.run_once():
        pass
    assert street.model.together == [4, 2]
    assert (street.worker.windows_run, street.worker.batches) == (6, 2)
    assert [window.camera for window, _, _ in street.model.asked] == street.names


def test_the_time_that_the_model_takes_is_counted_and_no_other():
    street = Street(FakeModel(some_cars, windows_at_once=4), 6)
    observe_many = street.model.observe_many

    def slow(looks):  # type: ignore[no-untyped-def]
        street.clock.advance(0.5)
        return observe_many(looks)

    street.model.observe_many = slow  # type: ignore[method-assign]
    street.see(2)
    while street.worker.run_once():
        pass
    assert street.worker.busy_s == pytest.approx(1.0)  # two batches
    street.clock.advance(10.0)  # nothing is due
    assert not street.worker.run_once()
    assert street.worker.busy_s == pytest.approx(1.0)


def test_a_window_waits_for_no_company():
    street = Street(FakeModel(some_cars, windows_at_once=8), 3)
    street.see(2, without="camera2")
    assert street.worker.run_once()
    assert street.model.together == [2]  # camera2 has none yet, and is not waited for
    assert street.clock.waits == []


def test_together_they_come_to_what_they_come_to_alone():
    told = []
    for windows_at_once in (1, 8):
        street = Street(FakeModel(some_cars, windows_at_once=windows_at_once), 5, describe=True)
        for _ in range(4):
            street.see(1)
            while street.worker.run_once():
                pass
        told.append(sorted(street.told()))
        assert street.worker.windows_run == 15
    assert told[0] == told[1]
    assert len(told[0]) == 4  # two cameras: an alert and its words


def test_all_alerts_are_out_before_words_are_made_for_any_window():
    model = FakeModel(lambda window, _: 0.9, windows_at_once=8)
    street = Street(model, 3, describe=True)
    told_when_asked: list[int] = []
    observe_many = model.observe_many

    def watching(looks):  # type: ignore[no-untyped-def]
        told_when_asked.append(len(street.sink.events))
        return observe_many(looks)

    model.observe_many = watching  # type: ignore[method-assign]
    street.see(2)
    street.worker.run_once()
    assert told_when_asked == [0, 3]
    assert model.together == [3, 3]


def test_one_that_fails_takes_no_other_with_it():
    def broken(window: Window, question: str) -> float:
        if window.camera == "camera1":
            raise InferenceError("no memory")
        return 0.9

    street = Street(FakeModel(broken, windows_at_once=8), 3)
    for _ in range(FAILURES_IN_A_ROW + 3):
        street.see(1)
        street.worker.run_once()
    now_s = street.clock.monotonic_s()
    counts = {name: street.scheduler.counts(name, now_s) for name in street.names}
    assert [counts[name].ran for name in street.names] == [7, 0, 7]
    assert counts["camera1"].failed == 7
    assert {camera for camera, _, _ in street.told()} == {"camera0", "camera2"}


def test_a_model_on_which_all_fail_ends_the_worker():
    street = Street(FakeModel(fail=1000, windows_at_once=8), 6)
    street.see(2)
    with pytest.raises(InferenceError, match="no memory"):
        street.worker.run_once()


@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_no_camera_is_passed_over_twice_before_another_has_its_turn(most: int):
    street = Street(FakeModel(windows_at_once=most), 5)
    street.see(2)
    given: list[str] = []
    for _ in range(40):
        now_s = street.clock.monotonic_s()
        given += [window.camera for window in street.scheduler.next_windows(now_s, most)]
        street.see(1)
    rounds = [given[i : i + 5] for i in range(0, len(given) - 4, 5)]
    assert len(rounds) >= 8
    assert all(sorted(one) == street.names for one in rounds)


def test_stories_of_different_lengths_end_each_in_its_own_time():
    model = FakeModel(windows_at_once=8)
    ended: list[int] = []

    def story(number: int, steps: int):  # type: ignore[no-untyped-def]
        for step in range(steps):
            [seen] = yield [look(number, step)]
            assert (seen.camera, seen.window_seq) == (str(number), step)
        ended.append(number)

    assert tell_together(model, [story(0, 3), story(1, 0), story(2, 1)]) == [None] * 3
    assert (ended, model.together) == ([1, 2, 0], [2, 1, 1])


def test_what_is_no_failure_of_a_window_is_not_swallowed():
    def story():  # type: ignore[no-untyped-def]
        yield [look(0, 0)]
        raise KeyError("a mistake in the code")

    with pytest.raises(KeyError):
        tell_together(FakeModel(), [story()])


def look(camera: int, seq: int) -> Look:
    frame = Frame(str(camera), 0, seq, 1.0, 1.0, np.zeros((8, 8, 3), np.uint8), 0.0)
    return Look(Window(str(camera), seq, (frame,), 1.0, 1.0, "stride", 1.0), (ASK,), None)
