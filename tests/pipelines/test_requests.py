"""Is everybody who asks the model answered, in turn, or told why not?"""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import InferenceError, RequestRefused
from pipelines.inference import Describing, InferenceWorker, Watch
from pipelines.requests import MOST_WAITING, Outlook, Request, Requests, is_yes_or_no
from pipelines.ring import FrameRing, Stamp
from pipelines.rules import Debounce, Rule, RuleBook
from pipelines.smolvlm2.loading import from_name
from pipelines.smolvlm2.model import SmolVLM2
from pipelines.types import Frame, VideoModel
from pipelines.window_plan import WindowPlan, choose_evenly
from pipelines.windows import WindowScheduler
from tests.checkpoints import write_tiny_checkpoint
from tests.fakes import FakeClock, FakeModel, FakeSink

ASK = "Did a car arrive?"
PLAN = WindowPlan(num_frames=4, interval_s=1.0, stride_s=1.0)


class Bench:
    """Two cameras whose frames the test puts, and the worker that looks at them."""

    def __init__(self, model: VideoModel, plan: WindowPlan = PLAN) -> None:
        self.clock = FakeClock()
        self.model = model
        self.sink = FakeSink()
        self.trouble: str | None = None
        self.rings = {name: FrameRing(plan.ring_capacity) for name in ("drive", "attic")}
        self.scheduler = WindowScheduler(
            {name: (plan, ring) for name, ring in self.rings.items()}, self.clock.monotonic_s()
        )
        self.requests = Requests(
            {name: Outlook(ring, plan, lambda: self.trouble) for name, ring in self.rings.items()},
            self.clock,
        )
        ids = map(str, itertools.count())
        rule = Rule("car", ASK, debounce=Debounce(1, 1), cooldown_s=0.0)
        watches = {
            name: Watch(
                RuleBook(name, [rule], lambda: next(ids)), Describing(1e6, "What is it?"), "Words?"
            )
            for name in self.rings
        }
        self.worker = InferenceWorker(
            model, self.scheduler, watches, self.sink, self.clock, lambda: next(ids),
            requests=self.requests,
        )  # fmt: skip
        self._seq = itertools.count()

    def film(self, seconds: int, camera: str = "drive") -> None:
        for _ in range(seconds):
            self.clock.advance(1.0)
            seq = next(self._seq)
            image = np.full((8, 8, 3), seq % 250, np.uint8)
            now_s, now = self.clock.monotonic_s(), self.clock.wall_time()
            self.rings[camera].put(Frame(camera, 0, seq, now_s, now, image, 0.0))


def test_a_question_is_answered_from_the_last_seconds_and_evenly() -> None:
    bench = Bench(FakeModel({ASK: 0.93}, description="Yes"))
    bench.film(25)
    future = bench.requests.put(Request("drive", ASK, last_s=18))
    assert not future.done()
    assert bench.worker.run_once()
    answer = future.result(0)
    window, questions, prompt = bench.model.asked[0]  # type: ignore[attr-defined]
    newest_s = bench.clock.monotonic_s()
    assert [newest_s - frame.captured_s for frame in window.frames] == [18, 12, 6, 0]
    assert (questions, prompt, window.reason) == ((ASK,), ASK, "request")
    assert (answer.text, answer.p_yes, answer.num_frames) == ("Yes", 0.93, 4)
    assert (answer.start_s, answer.end_s) == (newest_s - 18, newest_s)
    assert answer.frame.seq == 24
    assert bench.requests.counts == {"answered": 1}
    told = [event.event_type for event in bench.sink.events]
    assert told.count("describe") == 1  # of the camera's own schedule


def test_what_the_ring_no_longer_holds_is_left_out() -> None:
    bench = Bench(FakeModel())
    bench.film(60)
    future = bench.requests.put(Request("drive", ASK, last_s=3600))
    bench.worker.run_once()
    answer = future.result(0)
    assert answer.end_s - answer.start_s == PLAN.ring_capacity - 1 == 30


def test_words_on_request_are_about_the_newest_window_and_published() -> None:
    bench = Bench(FakeModel({ASK: 0.9}))
    bench.film(4)
    assert bench.worker.run_once()
    before = len(bench.sink.events)
    bench.film(1)
    future = bench.requests.put(Request("drive", publish=True))
    bench.worker.run_once()
    window, questions, prompt = bench.model.asked[2]  # type: ignore[attr-defined]
    assert [frame.seq for frame in window.frames] == [1, 2, 3, 4]
    assert (questions, prompt) == ((), "What is it?")
    outcome = bench.sink.outcomes[-2]  # then comes that of the next window
    assert [event.event_type for event in bench.sink.events[before:]] == ["describe"]
    assert outcome.events[0].text == future.result(0).text == "Something happens."
    assert outcome.events[0].captured_s == bench.clock.monotonic_s()
    assert future.result(0).p_yes is None


def test_a_camera_that_has_no_full_window_yet_is_described_by_what_there_is() -> None:
    bench = Bench(FakeModel())
    bench.film(2)
    future = bench.requests.put(Request("drive"))
    bench.worker.run_once()
    assert future.result(0).num_frames == 2


@pytest.mark.parametrize(
    ("question", "text", "expected"),
    [
        ("Is the gate open?", "The gate is open.", True),
        ("  did anybody come", "", True),
        ("Gate open?", "No, it is closed.", True),
        ("Gate open?", "Nothing can be seen.", False),
        ("What colour is the car?", "Red.", False),
        ("Island or sea?", "An island.", False),
    ],
)
def test_p_yes_is_told_where_it_means_something(question: str, text: str, expected: bool) -> None:
    assert is_yes_or_no(question, text) is expected
    bench = Bench(FakeModel({question: 0.25}, description=text))
    bench.film(4)
    future = bench.requests.put(Request("drive", question))
    bench.worker.run_once()
    assert future.result(0).p_yes == (0.25 if expected else None)


# Fairness


def test_windows_and_questions_take_turns() -> None:
    model = FakeModel({ASK: 0.0})
    bench = Bench(model)
    bench.film(4)
    assert bench.worker.run_once()
    model.asked.clear()
    done: list[str] = []
    for n in range(MOST_WAITING):
        bench.requests.put(Request("drive", f"Is it {n}?")).add_done_callback(
            lambda told: done.append(told.result().request.question or "")
        )
    for _ in range(10):  # each look takes as long as a stride: a window is always due
        bench.film(1)
        assert bench.worker.run_once()
    assert done == [f"Is it {n}?" for n in range(MOST_WAITING)]
    kinds = [window.reason for window, _, _ in model.asked]
    assert kinds == ["request", "stride"] * MOST_WAITING + ["stride"] * 2


def test_who_comes_when_too_many_wait_is_refused_and_who_left_makes_room() -> None:
    bench = Bench(FakeModel())
    bench.film(1)
    futures = [bench.requests.put(Request("drive", ASK)) for _ in range(MOST_WAITING)]
    with pytest.raises(RequestRefused, match="8 questions wait"):
        bench.requests.put(Request("drive", ASK))
    assert bench.requests.standing(futures[2]) == "2 other questions are before it"
    futures[0].cancel()
    bench.requests.put(Request("drive", ASK))
    assert bench.worker.run_once()
    assert futures[1].done()
    assert bench.requests.counts == {"refused": 1, "answered": 1}
    assert len(bench.model.asked) == 1  # type: ignore[attr-defined]


# Deadlines and ends


def test_time_is_over_whether_or_not_the_model_comes_back() -> None:
    bench = Bench(FakeModel())
    bench.film(1)
    first = bench.requests.put(Request("drive", ASK, patience_s=5))
    second = bench.requests.put(Request("drive", ASK, patience_s=50))
    bench.clock.advance(5)
    bench.requests.expire()
    with pytest.raises(RequestRefused, match=r"no answer within 5 s: .* looking at a window"):
        first.result(0)
    assert not second.done()
    assert bench.requests.counts == {"expired": 1}


def test_an_answer_that_comes_too_late_is_nobodys() -> None:
    bench = Bench(FakeModel())
    bench.film(1)
    future = bench.requests.put(Request("drive", ASK, patience_s=5))
    asked = bench.requests.take()
    assert asked is not None
    window = bench.requests.window(asked)
    bench.clock.advance(6)
    bench.requests.expire()
    with pytest.raises(RequestRefused, match="the model has been answering for 6 s"):
        future.result(0)
    bench.requests.answer(asked, window, bench.model.observe(window, (ASK,), ASK))
    assert bench.requests.counts == {"expired": 1}


def test_a_stop_leaves_nobody_waiting() -> None:
    bench = Bench(FakeModel())
    bench.film(1)
    waiting = bench.requests.put(Request("drive", ASK))
    gone = bench.requests.put(Request("drive", ASK))
    gone.cancel()
    stop = threading.Event()
    stop.set()
    bench.worker.run(stop)
    with pytest.raises(RequestRefused, match="smolwatch is stopping"):
        waiting.result(0)
    with pytest.raises(RequestRefused, match="smolwatch is stopping"):
        bench.requests.put(Request("drive", ASK))


def test_a_worker_that_breaks_leaves_nobody_waiting() -> None:
    class Broken(FakeModel):
        def observe(self, *_: object) -> None:  # type: ignore[override]
            raise KeyError("a bug")

    bench = Bench(Broken())  # type: ignore[arg-type]
    bench.film(1)
    futures = [bench.requests.put(Request("drive", ASK)) for _ in range(2)]
    with pytest.raises(KeyError):
        bench.worker.run(threading.Event())
    for future in futures:
        with pytest.raises(RequestRefused, match="stopping"):
            future.result(0)


def test_a_question_that_the_model_fails_on_ends_nothing() -> None:
    bench = Bench(FakeModel(fail=20))
    bench.film(1)
    for _ in range(20):  # five windows in a row would end the daemon
        future = bench.requests.put(Request("drive", ASK))
        assert bench.worker.run_once()
        with pytest.raises(InferenceError, match="no memory"):
            future.result(0)
    future = bench.requests.put(Request("drive", ASK))
    bench.worker.run_once()
    assert future.result(0).num_frames == 1


# Refusals


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (Request("drife", ASK), "no camera 'drife'. There are: drive, attic"),
        (Request("attic", ASK), "attic cannot be asked: has sent no picture yet"),
        (Request("drive", "  "), "is empty"),
        (Request("drive", "x" * 2001), "2001 characters; at most 2000"),
        (Request("drive", ASK, last_s=0), "last 0 s hold nothing"),
        (Request("drive", ASK, last_s=float("nan")), "hold nothing"),
    ],
)
def test_what_cannot_be_asked_is_said_at_once(request_: Request, said: str) -> None:
    bench = Bench(FakeModel())
    bench.film(4)
    with pytest.raises(RequestRefused) as caught:
        bench.requests.put(request_)
    assert said in str(caught.value)
    assert bench.requests.counts == {"refused": 1}


def test_a_camera_that_fell_silent_is_not_asked() -> None:
    bench = Bench(FakeModel())
    bench.film(4)
    asked_before = bench.requests.put(Request("drive", ASK))
    bench.clock.advance(12)
    with pytest.raises(RequestRefused, match=r"drive cannot be asked: sent nothing for 12 s"):
        bench.requests.put(Request("drive", ASK))
    bench.worker.run_once()
    with pytest.raises(RequestRefused, match="sent nothing for 12 s"):
        asked_before.result(0)
    bench.film(1)
    bench.trouble = "the camera refuses the password"
    with pytest.raises(RequestRefused, match="cannot be asked: the camera refuses the password"):
        bench.requests.put(Request("drive", ASK))


# Which frames


@given(
    gaps=st.lists(st.floats(0.01, 20), min_size=1, max_size=40),
    last_s=st.floats(0.01, 200),
    num_frames=st.integers(1, 12),
)
def test_frames_are_the_newest_ones_in_order_and_no_older_than_asked(
    gaps: list[float], last_s: float, num_frames: int
) -> None:
    stamps = [Stamp(0, n, t, 0.0) for n, t in enumerate(itertools.accumulate(gaps))]
    chosen = choose_evenly(stamps, last_s, num_frames)
    newest_s = stamps[-1].captured_s
    inside = [stamp for stamp in stamps if stamp.captured_s >= newest_s - last_s]
    assert len(chosen) == min(num_frames, len(inside))
    assert chosen[-1] == stamps[-1]
    assert [stamp.seq for stamp in chosen] == sorted({stamp.seq for stamp in chosen})
    assert set(chosen) <= set(inside)


def test_frames_lie_evenly_in_time_not_in_number() -> None:
    times = [0, 5, 10, 15, 16, 17, 18, 19, 20]  # the camera sent more towards the end
    chosen = choose_evenly([Stamp(0, n, float(t), 0.0) for n, t in enumerate(times)], 20, 5)
    assert [stamp.captured_s for stamp in chosen] == [0, 5, 10, 15, 20]


# With a real model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> SmolVLM2:
    directory: Path = write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny")
    before = torch.get_num_threads()
    model = from_name(directory, precision="f32", device="cpu", num_threads=1)
    torch.set_num_threads(before)
    return model


def test_frames_that_windows_have_shown_already_are_not_encoded_again(tiny: SmolVLM2) -> None:
    bench = Bench(tiny)
    for _ in range(16):
        bench.film(1)
        bench.worker.run_once()
    future = bench.requests.put(Request("drive", "Did a person leave?", last_s=15))
    bench.worker.run_once()
    answer = future.result(0)
    assert answer.end_s - answer.start_s == 15
    assert answer.timings.frames_encoded == 0
    assert answer.p_yes is not None
    assert answer.text
    broken = bench.requests.put(Request("drive", "Is it <image>?"))
    bench.worker.run_once()
    with pytest.raises(InferenceError, match="control token <image>"):
        broken.result(0)
