"""What stands in for the edges: clock, cameras, model, broker?

Knows no test. Only edges are faked; everything between them is real in the tests.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from pipelines.errors import InferenceError, SourceError
from pipelines.sources.base import Picture
from pipelines.sources.url import SourceUrl
from pipelines.types import Event, Look, Observation, Outcome, Timings, Window


class FakeClock:
    """Time that passes only when told: by `advance`, or by a `wait` that runs to its end."""

    def __init__(self, start_s: float = 1000.0, wall_time: float = 1_700_000_000.0) -> None:
        self._now_s = start_s
        self._wall_offset_s = wall_time - start_s
        self._lock = threading.Lock()
        self.waits: list[float] = []  # every time-out asked for, in order

    def monotonic_s(self) -> float:
        return self._now_s

    def wall_time(self) -> float:
        return self._now_s + self._wall_offset_s

    def wait(self, stop: threading.Event, timeout_s: float) -> bool:
        self.waits.append(timeout_s)
        if not stop.is_set():
            self.advance(timeout_s)
        return stop.is_set()

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._now_s += seconds

    def step_wall(self, seconds: float) -> None:
        """The host's clock is set: wall time jumps, monotonic time does not."""
        self._wall_offset_s += seconds


class FakeSource:
    """A camera that plays a script: pictures are returned, errors raised, and then it ends.

    With a `clock`, `frame_s` pass before each picture. The script may set `stop` by itself: an
    `Event` in it is set when its turn comes, and the read returns None.
    """

    def __init__(
        self,
        script: Iterable[Picture | SourceError | threading.Event],
        clock: FakeClock | None = None,
        frame_s: float = 1.0,
        open_error: SourceError | None = None,
    ) -> None:
        self.url = SourceUrl("rtsp://user:hunter2@camera.test/stream")
        self.opened = 0
        self.closed = 0
        self._script = iter(script)
        self._clock = clock
        self._frame_s = frame_s
        self._open_error = open_error

    def open(self) -> None:
        self.opened += 1
        if self._open_error is not None:
            raise self._open_error

    def read(self, sample_interval_s: float, stop: threading.Event) -> Picture | None:
        if self._clock is not None:
            self._clock.advance(self._frame_s)
        step = next(self._script, None)
        if isinstance(step, SourceError):
            raise step
        if isinstance(step, threading.Event):
            step.set()
            return None
        return step

    def close(self) -> None:
        self.closed += 1


class FakeModel:
    """A model that answers what it was told to, and remembers what it was asked.

    `p_yes`: question -> probability, or a function of the window. `fail` windows raise first.
    """

    model_id = "fake@0"
    frame_edge_px = 64
    max_tokens = 8192

    def __init__(
        self,
        p_yes: Mapping[str, float] | Callable[[Window, str], float] | None = None,
        description: str = "Something happens.",
        fail: int = 0,
        written: Sequence[str] | None = None,
        windows_at_once: int = 1,
    ) -> None:
        self.windows_at_once = windows_at_once
        self.together: list[int] = []  # how many looks came at once
        """`written`: the steps of every text; None: it cannot write."""
        self.tasks: list[str] = []
        self.writes = written is not None
        self._written = written or ()
        self.asked: list[tuple[Window, tuple[str, ...], str | None]] = []
        self._p_yes = p_yes or {}
        self._description = description
        self._fail = fail

    def count_tokens(self, text: str) -> int:
        return -(-len(text) // 4)

    def write(self, task: str, max_tokens: int) -> Iterator[str]:
        self.tasks.append(task)
        yield from self._written

    def observe(self, window: Window, questions: Sequence[str], prompt: str | None) -> Observation:
        self.asked.append((window, tuple(questions), prompt))
        if self._fail > 0:
            self._fail -= 1
            raise InferenceError(f"window {window.seq} of camera {window.camera}: no memory")
        return Observation(
            camera=window.camera,
            window_seq=window.seq,
            start_s=window.start_s,
            end_s=window.end_s,
            wall_time=window.frames[-1].wall_time,
            answers={question: self._answer(window, question) for question in questions},
            description=None if prompt is None else self._description,
            timings=Timings(encode_ms=20.0, prefill_ms=10.0),
            model_id=self.model_id,
            prompt_sha256="0" * 64,
        )

    def observe_many(self, looks: Sequence[Look]) -> list[Observation | InferenceError]:
        self.together.append(len(looks))
        seen: list[Observation | InferenceError] = []
        for look in looks:
            try:
                seen.append(self.observe(look.window, look.questions, look.prompt))
            except InferenceError as error:
                seen.append(error)
        return seen

    def _answer(self, window: Window, question: str) -> float:
        if callable(self._p_yes):
            return self._p_yes(window, question)
        return self._p_yes.get(question, 0.0)


class FakeSink:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.outcomes: list[Outcome] = []

    def publish(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.events += outcome.events
