"""Who calls the model, and in what order is everything told?

Knows windows, rules and the model; not cameras, and nothing of where events go. One thread: it
pulls the most overdue window, so that no queue of stale windows can exist. The alert goes first;
words, which take many decoding steps, follow in an event of their own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from typing import Protocol

import structlog

from pipelines.clock import Clock
from pipelines.errors import InferenceError, RequestRefused
from pipelines.requests import Requests
from pipelines.ring import FrameRing
from pipelines.rules import Rule, RuleBook
from pipelines.rules.incident import Incident
from pipelines.together import Looking, Story, tell_together
from pipelines.types import Event, Look, Observation, Outcome, Timings, VideoModel, Window
from pipelines.windows import WindowScheduler
from pipelines.writing import Writings
from pipelines.zones import Zone, plain_question

FAILURES_IN_A_ROW = 5  # then the model itself is broken: end, and let systemd start afresh
_LONGEST_WAIT_S = 0.25  # without a window; a stop is noticed within it
_STOPPING = "smolwatch is stopping: ask again when it runs"
_LATENCIES = 100  # observations over which the median is taken


class Sink(Protocol):
    """Where outcomes go (`daemon.sink.EventSink`; tests: `tests.fakes.FakeSink`)."""

    def publish(self, outcome: Outcome) -> None:
        """Take what one look led to. Must neither block on a network nor raise for one."""
        ...


@dataclass(frozen=True, slots=True)
class Describing:
    """Descriptions of one camera on a schedule."""

    every_s: float
    prompt: str


@dataclass(frozen=True, slots=True)
class Watch:
    """All that is done with one camera's windows."""

    book: RuleBook
    describing: Describing | None  # None: only where a rule wants words
    prompt: str  # for words that rules want
    zones: Mapping[Zone, FrameRing] = field(default_factory=dict)


class InferenceWorker:
    """The inference thread. `run` loops, `run_once` tells the story of one window."""

    def __init__(
        self,
        model: VideoModel,
        scheduler: WindowScheduler,
        watches: Mapping[str, Watch],
        sink: Sink,
        clock: Clock,
        new_id: Callable[[], str],
        *,
        requests: Requests | None = None,
        writings: Writings | None = None,
        away: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`away`: why there is no model to look with just now; None while there is one."""
        self._model = model
        self._away = away
        self._hands_over = False
        self._scheduler = scheduler
        self._watches = dict(watches)
        self._sink = sink
        self._clock = clock
        self._new_id = new_id
        self._requests = requests or Requests({}, clock)
        self._writings = writings or Writings(clock)
        self._described_s: dict[str, float] = {}
        self._orders: deque[Callable[[], None]] = deque()  # of other threads: books are ours
        self._failures = 0
        self._windows = 0
        self._events = 0
        self._latencies: dict[str, deque[float]] = {
            name: deque(maxlen=_LATENCIES) for name in watches
        }
        self.heartbeat_s = clock.monotonic_s()  # moves with every look, run or not

    def run(self, stop: threading.Event) -> None:
        """Run windows and answer requests until `stop`, then close what is open.

        Raises the last `InferenceError` after `FAILURES_IN_A_ROW`. However it ends, nobody is left
        waiting for an answer.
        """
        try:
            while not stop.is_set():
                if not self.run_once():
                    wait_s = self._scheduler.due_in_s(self._clock.monotonic_s())
                    self._clock.wait(stop, min(wait_s, _LONGEST_WAIT_S))
            self._take_orders()
        finally:
            self._requests.close(_STOPPING)
            self._writings.close(_STOPPING)
        if self._hands_over:
            return
        for watch in self._watches.values():
            self._settle(watch.book, "smolwatch was stopped")

    def hand_over(self) -> None:
        """Leave open what is open when `run` ends: another worker goes on with it."""
        self._hands_over = True

    def take_over(self, before: InferenceWorker, cameras: Collection[str]) -> None:
        """Count on from where another worker ended. `cameras`: those that are as they were."""
        self._windows, self._events = before._windows, before._events
        for name in cameras:
            self._latencies[name] = before._latencies[name]
            if name in before._described_s:
                self._described_s[name] = before._described_s[name]

    def book(self, camera: str) -> RuleBook:
        """The rules of a camera; to be used while `run` does not."""
        return self._watches[camera].book

    def run_once(self) -> bool:
        """Answer a request, run the most overdue windows, write on; False if there was nothing.

        Windows go together as far as the model gains by it (`windows_at_once`).
        """
        self.heartbeat_s = self._clock.monotonic_s()
        self._take_orders()
        away = self._away()
        if away is not None:
            self._refuse_requests(away)
            self._scheduler.pass_over(self.heartbeat_s)
            return False
        answered = self._answer_request()
        self.heartbeat_s = self._clock.monotonic_s()
        windows = self._scheduler.next_windows(self.heartbeat_s, self._model.windows_at_once)
        if not windows:
            return self._writings.step(self._model, idle=not answered) or answered
        errors = tell_together(self._model, [self._watch(window) for window in windows])
        for window, error in zip(windows, errors, strict=True):
            self._note(window, error)
        self._writings.step(self._model, idle=False)
        return True

    def arm(self, camera: str, rule: str, *, armed: bool) -> None:
        """Let a rule open, or close it and keep it so, before anything is judged. From any thread.

        Raises `KeyError` for a camera or rule that there is not.
        """
        self._check(camera, rule)
        self._orders.append(partial(self._arm, camera, rule, armed=armed))

    def tune(self, camera: str, rule: Rule) -> None:
        """Judge the rule of that name by other thresholds from now on. From any thread.

        Raises `KeyError` for a camera or rule that there is not.
        """
        self._check(camera, rule.name)
        self._orders.append(partial(self._watches[camera].book.tune, rule))

    def reword(self, camera: str, prompt: str) -> None:
        """Ask for this camera's descriptions in other words from now on. From any thread."""
        self._orders.append(partial(self._reword, camera, prompt))

    def camera_lost(self, camera: str, reason: str) -> None:
        """Close the camera's open incidents before anything is judged. From any thread."""
        book = self._watches[camera].book
        self._orders.append(partial(self._settle, book, reason))

    @property
    def windows_run(self) -> int:
        """Windows analysed since the start."""
        return self._windows

    @property
    def events(self) -> int:
        """Events published since the start."""
        return self._events

    def open_incidents(self, camera: str) -> Mapping[str, Incident]:
        """Rule name -> its incident, of the camera's rules that are on. From any thread."""
        return self._watches[camera].book.open_incidents

    def latencies_ms(self, camera: str) -> tuple[float, ...]:
        """Newest frame captured -> answers made, of the camera's last windows."""
        return tuple(self._latencies[camera])

    def _take_orders(self) -> None:
        """What other threads asked for, in their order: books belong to this one."""
        while self._orders:
            self._orders.popleft()()

    def _arm(self, camera: str, rule: str, *, armed: bool) -> None:
        book = self._watches[camera].book
        now_s, now = self._clock.monotonic_s(), self._clock.wall_time()
        self._publish(book, None, {}, book.arm(rule, now_s, now, armed=armed))

    def _reword(self, camera: str, prompt: str) -> None:
        watch = self._watches[camera]
        describing = watch.describing and replace(watch.describing, prompt=prompt)
        self._watches[camera] = replace(watch, prompt=prompt, describing=describing)

    def _check(self, camera: str, rule: str) -> None:
        if rule not in {known.name for known in self._watches[camera].book.rules}:
            raise KeyError(rule)

    def _is_still_wanted(self, camera: str) -> bool:
        """Whether answers may be judged: the model may have taken a minute for them.

        A rule that was disarmed meanwhile is, then, and a camera that was disabled is not seen.
        """
        self._take_orders()
        return self._scheduler.is_enabled(camera)

    def _note(self, window: Window, error: InferenceError | None) -> None:
        """Count a window that was run, or was not. Raises `error` if too many failed in a row."""
        if error is None:
            self._scheduler.ran(window)
            self._failures = 0
            return
        self._scheduler.failed(window)
        self._failures += 1
        structlog.get_logger(__name__).warning(
            "window.failed", camera=window.camera, in_a_row=self._failures, error=str(error)
        )
        if self._failures >= FAILURES_IN_A_ROW:
            raise error

    def _refuse_requests(self, away: str) -> None:
        """Those that came before the model went."""
        while (asked := self._requests.take()) is not None:
            self._requests.fail(asked, RequestRefused(f"{away}: ask again when it is there"))

    def _answer_request(self) -> bool:
        """One at most. What it fails with is told to who asked: the fault may be the question's."""
        asked = self._requests.take()
        if asked is None:
            return False
        question = asked.request.question
        watch = self._watches[asked.request.camera]
        try:
            window = self._requests.window(asked)
            questions = () if question is None else (question,)
            prompt = question or (watch.describing.prompt if watch.describing else watch.prompt)
            began_s = self._clock.monotonic_s()
            seen = _placed(self._model.observe(window, questions, prompt), window, began_s)
        except (InferenceError, RequestRefused) as error:
            self._requests.fail(asked, error)
            return True
        if not self._is_still_wanted(window.camera):
            off = RequestRefused(f"camera {window.camera} was switched off meanwhile")
            self._requests.fail(asked, off)
            return True
        if asked.request.publish:
            # No rule is judged by it: who asks to see something makes no alert.
            self._publish(watch.book, seen, {}, (self._description(seen),))
        self._requests.answer(asked, window, seen)
        return True

    def _watch(self, window: Window) -> Story:
        """Tell what becomes of one window."""
        watch = self._watches[window.camera]
        questions = watch.book.questions
        answers: Mapping[str, float] = {}
        words_due = self._words_due(window, watch)
        if questions:
            seen = yield from self._ask(window, watch, questions)
            if not self._is_still_wanted(window.camera):
                return
            answers = seen.answers
            events = watch.book.judge(seen)
            self._publish(watch.book, seen, watch.book.verdicts, events)
            words_due = words_due or watch.book.wants_words
        self._windows += 1
        if words_due or not questions:
            yield from self._describe(window, self._watches[window.camera], answers)

    def _ask(
        self, window: Window, watch: Watch, questions: tuple[str, ...]
    ) -> Generator[Sequence[Look], Sequence[Observation], Observation]:
        """Ask each zone its questions, and the whole picture last: words come of it next.

        A zone whose frames are gone already has no answers. The times are those of all together.
        """
        views = [(_zoned(window, ring), zone) for zone, ring in watch.zones.items()]
        looks: list[Look] = []
        names: list[dict[str, str]] = []  # of each look: plain question -> question
        for view, zone in (*views, (window, None)):
            asked = {plain_question(q): q for q in questions if _is_about(q, zone)}
            if view is not None and (asked or (zone is None and not looks)):
                looks.append(Look(view, tuple(asked), None))
                names.append(asked)
        parts = yield from self._observe(looks)
        answers = {
            asked[text]: p_yes
            for asked, part in zip(names, parts, strict=True)
            for text, p_yes in part.answers.items()
        }
        seen = replace(parts[-1], answers=answers, timings=reduce(_sum, [p.timings for p in parts]))
        self._latencies[window.camera].append(seen.timings.total_ms)
        return seen

    def _describe(self, window: Window, watch: Watch, answers: Mapping[str, float]) -> Story:
        """Words for a window whose alerts are out already; features and prompt are still warm."""
        prompt = watch.describing.prompt if watch.describing else watch.prompt
        [told] = yield from self._observe([Look(window, (), prompt)])
        if not self._is_still_wanted(window.camera):
            return
        events = watch.book.judge_words(replace(told, answers=answers))
        if watch.describing is not None:
            self._described_s[window.camera] = window.end_s
            events = (*events, self._description(told))
        self._publish(watch.book, told, watch.book.verdicts, events)

    def _observe(self, looks: Sequence[Look]) -> Looking:
        """Have the model look, together with what other windows want of it."""
        began_s = self._clock.monotonic_s()
        seen = yield looks
        return [_placed(one, look.window, began_s) for one, look in zip(seen, looks, strict=True)]

    def _words_due(self, window: Window, watch: Watch) -> bool:
        if watch.describing is None:
            return False
        last_s = self._described_s.get(window.camera)
        return last_s is None or window.end_s - last_s >= watch.describing.every_s

    def _description(self, told: Observation) -> Event:
        return Event(
            event_id=self._new_id(),
            incident_id=None,
            event_type="describe",
            camera=told.camera,
            rule=None,
            severity="info",
            score=None,
            wall_time=told.wall_time,
            captured_s=told.end_s,
            text=told.description,
            timings=told.timings,
            model_id=told.model_id,
            prompt_sha256=told.prompt_sha256,
            camera_time=told.camera_time,
        )

    def _settle(self, book: RuleBook, reason: str) -> None:
        events = book.settle(reason, self._clock.monotonic_s(), self._clock.wall_time())
        self._publish(book, None, {}, events)

    def _publish(
        self,
        book: RuleBook,
        seen: Observation | None,
        verdicts: Mapping[str, str],
        events: tuple[Event, ...],
    ) -> None:
        self._events += len(events)
        self._sink.publish(Outcome(book.camera, seen, verdicts, events, book.memory()))


def _zoned(window: Window, ring: FrameRing) -> Window | None:
    frames = ring.take([frame.seq for frame in window.frames])
    return None if frames is None else replace(window, frames=frames)


def _is_about(question: str, zone: Zone | None) -> bool:
    text = plain_question(question)
    return question == (text if zone is None else zone.question(text))


def _placed(seen: Observation, window: Window, began_s: float) -> Observation:
    """What the model cannot know: how long the window waited, and the camera's own time."""
    queued = replace(seen.timings, queue_ms=(began_s - window.end_s) * 1e3)
    return replace(seen, timings=queued, camera_time=window.camera_time)


def _sum(one: Timings, two: Timings) -> Timings:
    return Timings(
        queue_ms=one.queue_ms,
        encode_ms=one.encode_ms + two.encode_ms,
        prefill_ms=one.prefill_ms + two.prefill_ms,
        decode_ms=one.decode_ms + two.decode_ms,
        frames_encoded=one.frames_encoded + two.frames_encoded,
    )
