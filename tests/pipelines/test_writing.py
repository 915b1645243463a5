"""Is a text written without holding up the looking, and is nobody left waiting for it?"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from pipelines.errors import InferenceError, RequestRefused
from pipelines.inference import InferenceWorker, Watch
from pipelines.ring import FrameRing
from pipelines.rules import Rule, RuleBook
from pipelines.summary import Task
from pipelines.types import Frame
from pipelines.windows import WindowPlan, WindowScheduler
from pipelines.writing import MOST_WAITING, Writings
from tests.fakes import FakeClock, FakeModel, FakeSink

TASK = Task("Sum up.", 64)
STEPS = ["", "A dog", "A dog runs", "A dog runs."]


class SlowModel(FakeModel):
    """Each step of a text takes a second."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(written=STEPS)
        self.clock = clock

    def write(self, task: str, max_tokens: int) -> Iterator[str]:
        for so_far in super().write(task, max_tokens):
            self.clock.advance(1.0)
            yield so_far


class BrokenModel(FakeModel):
    def write(self, task: str, max_tokens: int) -> Iterator[str]:
        yield ""
        raise InferenceError("no memory")


def test_texts_are_written_one_after_the_other() -> None:
    clock, model = FakeClock(), FakeModel(written=STEPS)
    writings = Writings(clock)
    first, second = writings.put(TASK), writings.put(Task("And this.", 64))
    while not first.done():
        assert writings.step(model, idle=True)
    assert first.result() == "A dog runs."
    assert model.tasks == ["Sum up."]
    while writings.step(model, idle=True):
        pass
    assert second.result() == "A dog runs."
    assert model.tasks == ["Sum up.", "And this."]


def test_where_windows_are_always_due_a_text_has_a_tenth_of_the_time() -> None:
    clock = FakeClock()
    model, writings = SlowModel(clock), Writings(clock)
    done = writings.put(TASK)
    began_s, steps = clock.monotonic_s(), 0
    while not done.done():
        steps += writings.step(model, idle=False)
        clock.advance(0.5)  # a window
    assert steps == len(STEPS) + 1
    assert (clock.monotonic_s() - began_s) / len(STEPS) == pytest.approx(10.0, rel=0.3)


def test_one_that_nobody_waits_for_is_not_written() -> None:
    model, writings = FakeModel(written=STEPS), Writings(FakeClock())
    writings.put(TASK).cancel()
    assert not writings.step(model, idle=True)
    assert model.tasks == []


def test_a_failure_is_told_and_the_next_one_is_written() -> None:
    writings = Writings(FakeClock())
    done = writings.put(TASK)
    model = BrokenModel(written=[])
    while writings.step(model, idle=True):
        pass
    with pytest.raises(InferenceError, match="no memory"):
        done.result(0)


def test_too_many_are_refused_and_a_stop_ends_all() -> None:
    writings = Writings(FakeClock())
    waiting = [writings.put(TASK) for _ in range(MOST_WAITING)]
    with pytest.raises(RequestRefused, match="ask again later"):
        writings.put(TASK)
    writings.step(FakeModel(written=STEPS), idle=True)
    writings.close("smolwatch is stopping")
    for future in waiting:
        with pytest.raises(RequestRefused, match="stopping"):
            future.result(0)
    with pytest.raises(RequestRefused, match="stopping"):
        writings.put(TASK)
    assert not writings.step(FakeModel(written=STEPS), idle=True)


def worker(
    clock: FakeClock, model: FakeModel, writings: Writings
) -> tuple[InferenceWorker, FrameRing]:
    ring = FrameRing(12)
    plan = WindowPlan(num_frames=4, interval_s=1.0, stride_s=1.0)
    scheduler = WindowScheduler({"drive": (plan, ring)}, clock.monotonic_s())
    ids = map(str, itertools.count())
    book = RuleBook("drive", [Rule("car", "Did a car arrive?")], lambda: next(ids))
    watch = Watch(book, None, "Words?")
    made = InferenceWorker(
        model, scheduler, {"drive": watch}, FakeSink(), clock, lambda: next(ids),
        writings=writings,
    )  # fmt: skip
    return made, ring


def test_windows_go_first_and_the_worker_writes_in_between() -> None:
    clock = FakeClock()
    model, writings = SlowModel(clock), Writings(clock)
    inference, ring = worker(clock, model, writings)
    done = None
    looks = []
    for seq in range(100):
        clock.advance(1.0)
        image = np.zeros((8, 8, 3), np.uint8)
        ring.put(Frame("drive", 0, seq, clock.monotonic_s(), clock.wall_time(), image, 0.0))
        before = len(model.asked)
        inference.run_once()
        looks.append(len(model.asked) - before)
        if seq == 10:
            done = writings.put(TASK)
        if done is not None and done.done():
            break
    assert done is not None
    assert done.result(0) == "A dog runs."
    assert set(looks[3:]) == {1}  # since the first window was full: a look whenever one was due
    assert 11 + 9 * len(STEPS) < len(looks) < 100
    inference.run(_stopped())
    with pytest.raises(RequestRefused):
        writings.put(TASK)


def _stopped() -> threading.Event:
    stop = threading.Event()
    stop.set()
    return stop
