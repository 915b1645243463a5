"""Who calls the model, and when?

Knows windows, requests and the model; not cameras, and not what becomes of a window, which
`window_story` tells. One thread: it pulls the most overdue window, so that no queue of stale
windows can exist.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping
from functools import partial

import structlog

from pipelines.clock import Clock
from pipelines.errors import InferenceError, RequestRefused
from pipelines.requests import Requests
from pipelines.rules import Rule, RuleBook
from pipelines.rules.incident import Incident
from pipelines.together import tell_together
from pipelines.types import VideoModel, Window
from pipelines.window_story import Describing, Sink, Watch, WindowStories, placed
from pipelines.windows import WindowScheduler
from pipelines.writing import Writings

__all__ = ["Describing", "InferenceWorker", "Sink", "Watch"]

FAILURES_IN_A_ROW = 5  # then the model itself is broken: end, and let systemd start afresh
_LONGEST_WAIT_S = 0.25  # without a window; a stop is noticed within it
_STOPPING = "smolwatch is stopping: ask again when it runs"


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
        self._clock = clock
        self._stories = WindowStories(watches, sink, clock, new_id, self._is_still_wanted)
        self._requests = requests or Requests({}, clock)
        self._writings = writings or Writings(clock)
        self._orders: deque[Callable[[], None]] = deque()  # of other threads: books are ours
        self._failures = 0
        self.batches = 0  # times that windows were run, those that were due together
        self.busy_s = 0.0  # spent with the model
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
        if not self._hands_over:
            self._stories.settle_all("smolwatch was stopped")

    def hand_over(self) -> None:
        """Leave open what is open when `run` ends: another worker goes on with it."""
        self._hands_over = True

    def take_over(self, before: InferenceWorker, cameras: Collection[str]) -> None:
        """Count on from where another worker ended. `cameras`: those that are as they were."""
        self._stories.take_over(before._stories, cameras)
        self.batches, self.busy_s = before.batches, before.busy_s

    def book(self, camera: str) -> RuleBook:
        """The rules of a camera; to be used while `run` does not."""
        return self._stories.book(camera)

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
        began_s = self.heartbeat_s
        was_busy = self._use_model()
        self.busy_s += self._clock.monotonic_s() - began_s  # of a turn without work, microseconds
        return was_busy

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
        self._orders.append(partial(self._stories.book(camera).tune, rule))

    def reword(self, camera: str, prompt: str) -> None:
        """Ask for this camera's descriptions in other words from now on. From any thread."""
        self._orders.append(partial(self._stories.reword, camera, prompt))

    def camera_lost(self, camera: str, reason: str) -> None:
        """Close the camera's open incidents before anything is judged. From any thread."""
        self._orders.append(partial(self._stories.settle, self._stories.book(camera), reason))

    @property
    def windows_run(self) -> int:
        """Windows analysed since the start."""
        return self._stories.windows

    @property
    def events(self) -> int:
        """Events published since the start."""
        return self._stories.events

    def open_incidents(self, camera: str) -> Mapping[str, Incident]:
        """Rule name -> its incident, of the camera's rules that are on. From any thread."""
        return self._stories.book(camera).open_incidents

    def latencies_ms(self, camera: str) -> tuple[float, ...]:
        """Newest frame captured -> answers made, of the camera's last windows."""
        return self._stories.latencies_ms(camera)

    def _take_orders(self) -> None:
        """What other threads asked for, in their order: books belong to this one."""
        while self._orders:
            self._orders.popleft()()

    def _arm(self, camera: str, rule: str, *, armed: bool) -> None:
        book = self._stories.book(camera)
        now_s, now = self._clock.monotonic_s(), self._clock.wall_time()
        self._stories.publish(book, None, {}, book.arm(rule, now_s, now, armed=armed))

    def _check(self, camera: str, rule: str) -> None:
        if rule not in {known.name for known in self._stories.book(camera).rules}:
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

    def _use_model(self) -> bool:
        """See `run_once`."""
        answered = self._answer_request()
        self.heartbeat_s = self._clock.monotonic_s()
        windows = self._scheduler.next_windows(self.heartbeat_s, self._model.windows_at_once)
        if not windows:
            return self._writings.step(self._model, idle=not answered) or answered
        self.batches += 1
        errors = tell_together(self._model, [self._stories.tell(window) for window in windows])
        for window, error in zip(windows, errors, strict=True):
            self._note(window, error)
        self._writings.step(self._model, idle=False)
        return True

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
        default = self._stories.prompt(asked.request.camera)
        try:
            window = self._requests.window(asked)
            questions = () if question is None else (question,)
            prompt = question or default
            began_s = self._clock.monotonic_s()
            seen = placed(self._model.observe(window, questions, prompt), window, began_s)
        except (InferenceError, RequestRefused) as error:
            self._requests.fail(asked, error)
            return True
        if not self._is_still_wanted(window.camera):
            off = RequestRefused(f"camera {window.camera} was switched off meanwhile")
            self._requests.fail(asked, off)
            return True
        if asked.request.publish:
            self._stories.describe(window.camera, seen)
        self._requests.answer(asked, window, seen)
        return True
