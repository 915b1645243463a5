"""Is everything told, once, and in the right order?"""

import itertools
import threading

import numpy as np
import pytest

from pipelines.errors import InferenceError
from pipelines.inference import FAILURES_IN_A_ROW, Describing, InferenceWorker, Watch
from pipelines.ring import FrameRing
from pipelines.rules import Debounce, Rule, RuleBook
from pipelines.types import Frame
from pipelines.windows import WindowPlan, WindowScheduler
from tests.fakes import FakeClock, FakeModel, FakeSink

ASK = "Did a car arrive?"


class Bench:
    """One camera whose frames the test puts, and the worker that looks at them."""

    def __init__(
        self,
        model: FakeModel,
        *,
        describe: bool = False,
        every_s: float | None = None,
        rules: bool = True,
    ) -> None:
        self.clock = FakeClock()
        self.ring = FrameRing(12)
        plan = WindowPlan(num_frames=4, interval_s=1.0, stride_s=1.0)
        self.scheduler = WindowScheduler({"drive": (plan, self.ring)}, self.clock.monotonic_s())
        rule = Rule("car", ASK, debounce=Debounce(1, 1), cooldown_s=0.0, describe=describe)
        ids = map(str, itertools.count())
        self.book = RuleBook("drive", [rule] if rules else [], lambda: next(ids))
        describing = Describing(every_s, "What is it?") if every_s is not None else None
        self.sink = FakeSink()
        self.model = model
        self.worker = InferenceWorker(
            model, self.scheduler, {"drive": Watch(self.book, describing, "Words?")},
            self.sink, self.clock, lambda: next(ids),
        )  # fmt: skip
        self._seq = itertools.count()

    def see(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1.0)
            now_s, image = self.clock.monotonic_s(), np.zeros((8, 8, 3), np.uint8)
            self.ring.put(
                Frame("drive", 0, next(self._seq), now_s, self.clock.wall_time(), image, 0.0)
            )
            self.clock.advance(0.05)
            self.worker.run_once()

    @property
    def told(self) -> list[str]:
        return [event.event_type for event in self.sink.events]


def test_nothing_is_run_before_a_window_is_full() -> None:
    bench = Bench(FakeModel())
    bench.see(3)
    assert bench.model.asked == []
    assert not bench.worker.run_once()
    bench.see(1)
    assert len(bench.model.asked) == 1


def test_the_alert_goes_out_before_the_model_is_asked_for_words() -> None:
    model = FakeModel({ASK: 0.9})
    bench = Bench(model, describe=True)
    told_when_asked: list[list[str]] = []
    observe = model.observe

    def watching(window, questions, prompt):  # type: ignore[no-untyped-def]
        told_when_asked.append(list(bench.told))
        return observe(window, questions, prompt)

    model.observe = watching  # type: ignore[method-assign]
    bench.see(4)
    assert told_when_asked == [[], ["rule_match"]]
    assert bench.told == ["rule_match", "rule_update"]
    match, update = bench.sink.events
    assert match.text is None
    assert update.text == "Something happens."
    assert update.incident_id == match.incident_id
    window, questions, prompt = model.asked[1]
    assert (questions, prompt) == ((), "Words?")
    assert window is model.asked[0][0]


def test_words_come_on_their_schedule_and_not_more_often() -> None:
    bench = Bench(FakeModel({ASK: 0.0}), every_s=5.0)
    bench.see(16)
    described = [event.captured_s for event in bench.sink.events]
    assert bench.told == ["describe"] * 3
    assert [b - a for a, b in itertools.pairwise(described)] == pytest.approx([5.25, 5.25])
    assert bench.sink.events[0].text == "Something happens."
    assert bench.sink.events[0].rule is None


def test_a_camera_without_rules_is_only_described() -> None:
    bench = Bench(FakeModel(), every_s=1.0, rules=False)
    bench.see(5)
    assert bench.told == ["describe", "describe"]
    assert all(questions == () for _, questions, _ in bench.model.asked)


def test_latency_counts_from_the_newest_frame() -> None:
    bench = Bench(FakeModel({ASK: 0.9}))
    bench.see(4)
    timings = bench.sink.events[0].timings
    assert timings.queue_ms == pytest.approx(50.0)
    assert timings.total_ms == pytest.approx(80.0)
    assert bench.worker.latencies_ms("drive") == pytest.approx((80.0,))


def test_a_window_that_fails_is_skipped_and_counted() -> None:
    bench = Bench(FakeModel({ASK: 0.9}, fail=2))
    bench.see(6)
    counts = bench.scheduler.counts("drive", bench.clock.monotonic_s())
    assert (counts.failed, counts.ran) == (2, 1)
    assert bench.told == ["rule_match"]


def test_a_model_that_always_fails_ends_the_worker() -> None:
    bench = Bench(FakeModel(fail=1000))
    with pytest.raises(InferenceError, match="no memory"):
        bench.see(3 + FAILURES_IN_A_ROW)
    assert len(bench.model.asked) == FAILURES_IN_A_ROW


def test_a_lost_camera_closes_its_incidents() -> None:
    bench = Bench(FakeModel({ASK: 0.9}))
    bench.see(4)
    bench.worker.camera_lost("drive", "drive is unreachable")
    bench.worker.run_once()
    assert bench.told == ["rule_match", "rule_clear"]
    clear = bench.sink.events[1]
    assert clear.text == "drive is unreachable"
    assert clear.incident_id == bench.sink.events[0].incident_id


def test_the_end_closes_what_is_open() -> None:
    bench = Bench(FakeModel({ASK: 0.9}))
    bench.see(4)
    stop = threading.Event()
    stop.set()
    bench.worker.run(stop)
    assert bench.told == ["rule_match", "rule_clear"]
    assert bench.worker.events == 2


def test_a_rule_disarmed_while_the_model_looks_raises_no_alert() -> None:
    bench: Bench

    def disarm(_window: object, _question: str) -> float:
        bench.worker.arm("drive", "car", armed=False)
        return 0.9

    bench = Bench(FakeModel(disarm))
    bench.see(8)
    assert bench.told == []
    assert len(bench.model.asked) == 5  # it went on being watched


def test_a_camera_switched_off_while_the_model_looks_is_not_judged() -> None:
    bench: Bench

    def switch_off(_window: object, _question: str) -> float:
        bench.scheduler.enable("drive", bench.clock.monotonic_s(), enabled=False)
        bench.worker.camera_lost("drive", "drive was switched off")
        return 0.9

    bench = Bench(FakeModel(switch_off), every_s=1.0)
    bench.see(8)
    assert bench.told == []
    assert len(bench.model.asked) == 1


def test_another_threshold_holds_from_the_next_answer_on() -> None:
    bench = Bench(FakeModel({ASK: 0.6}))
    bench.see(6)
    assert bench.told == []
    (rule,) = bench.book.rules
    bench.worker.tune("drive", rule.opening_at(0.5))
    bench.see(1)
    assert bench.told == ["rule_match"]
    with pytest.raises(KeyError):
        bench.worker.tune("drive", Rule("nobody", "?"))


def test_another_prompt_is_asked_with_from_then_on() -> None:
    bench = Bench(FakeModel(), every_s=1.0)
    bench.see(4)
    bench.worker.reword("drive", "Who is it?")
    bench.see(1)
    prompts = [prompt for _, _, prompt in bench.model.asked if prompt is not None]
    assert prompts == ["What is it?", "Who is it?"]


def test_orders_are_carried_out_before_the_end() -> None:
    bench = Bench(FakeModel({ASK: 0.9}))
    stop = threading.Event()
    bench.see(4)
    assert bench.told == ["rule_match"]
    bench.worker.arm("drive", "car", armed=False)
    stop.set()
    bench.worker.run(stop)
    assert bench.book.disarmed == {"car"}
    assert bench.sink.events[-1].text == "the rule was disarmed"
