"""What may anybody ask the model about a camera's last seconds, and when is it answered?

Knows rings and deadlines; no model and no rules. Questions come from any thread and are taken by
the inference thread, in the order in which they came: one between two looks at windows, never two.
So a question waits for at most one look more than there are questions before it, and a window for
at most one question. Whoever asks when `MOST_WAITING` wait already is refused.
"""

from __future__ import annotations

import re
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from pipelines.clock import Clock
from pipelines.errors import RequestRefused, SmolwatchError
from pipelines.ring import FrameRing
from pipelines.types import Frame, Observation, Timings, Window
from pipelines.window_plan import WindowPlan, choose_evenly, choose_frames

MOST_WAITING: Final = 8
LONGEST_QUESTION: Final = 2000  # characters, as in the configuration

_ASKS_YES_OR_NO: Final = re.compile(
    r"(is|are|was|were|am|do|does|did|has|have|had|can|could|will|would|should|must|may)\b", re.I
)
_SAYS_YES_OR_NO: Final = re.compile(r"(yes|no)\b", re.I)


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted. Without a `question`: words for the newest window."""

    camera: str
    question: str | None = None
    last_s: float | None = None  # how far back; None: as far as a window
    patience_s: float = 60.0  # after which there is an error instead of an answer
    publish: bool = False  # tell everybody as a `describe` event, too


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said, of what, and where the time went."""

    request: Request
    text: str
    p_yes: float | None  # None where `is_yes_or_no` says that it means nothing
    start_s: float  # monotonic, of the first frame
    end_s: float
    wall_time: float  # Unix seconds of the newest frame
    num_frames: int
    frame: Frame  # the newest, masked as everything in a ring
    timings: Timings  # `queue_ms` is the time that the request waited
    model_id: str
    prompt_sha256: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """What requests about one camera are answered from."""

    ring: FrameRing
    plan: WindowPlan
    trouble: Callable[[], str | None] = field(default=lambda: None)  # why it cannot be asked


class Asked:
    """A request on its way: `future` has the answer, or the error that says why there is none."""

    def __init__(self, request: Request, now_s: float) -> None:
        self.request = request
        self.future: Future[Answer] = Future()
        self.put_s = now_s
        self.expires_s = now_s + request.patience_s
        self.taken_s: float | None = None
        self.settled = False


class Requests:
    """The questions that wait. Thread-safe; see the module's text.

    `counts`: answered, failed, refused (too many, or no frames), expired.
    """

    def __init__(self, cameras: Mapping[str, Outlook], clock: Clock) -> None:
        self._cameras = cameras
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: deque[Asked] = deque()
        self._running: Asked | None = None
        self._closed: str | None = None
        self.counts: Counter[str] = Counter()

    def put(self, request: Request) -> Future[Answer]:
        """Ask. The future's errors are `SmolwatchError`s; cancel it where nobody waits any more.

        Its callbacks run in the inference thread, and must be quick. Raises `RequestRefused` where
        it is plain already that there will be no answer.
        """
        asked = Asked(request, self._clock.monotonic_s())
        try:
            self._check(request)
            self._append(asked)
        except RequestRefused:
            self.counts["refused"] += 1
            raise
        return asked.future

    def take(self) -> Asked | None:
        """The next one, for the inference thread, which gives it to `answer` or `fail`."""
        self.expire()
        while True:
            with self._lock:
                if not self._waiting:
                    return None
                asked = self._waiting.popleft()
                if not asked.future.set_running_or_notify_cancel():
                    continue  # whoever asked has gone
                asked.taken_s = self._clock.monotonic_s()
                self._running = asked
            return asked

    def window(self, asked: Asked) -> Window:
        """The frames that it is about, as they are now. Raises `RequestRefused`."""
        request = asked.request
        self._check(request)
        outlook = self._cameras[request.camera]
        stamps, plan = outlook.ring.stamps(), outlook.plan
        chosen = choose_frames(stamps, plan) if request.last_s is None else None
        if not chosen:
            chosen = choose_evenly(stamps, request.last_s or plan.longest_span_s, plan.num_frames)
        frames = outlook.ring.take([stamp.seq for stamp in chosen])
        if not frames:
            raise RequestRefused(f"the last frames of {request.camera} are gone: ask again")
        start_s, end_s = frames[0].captured_s, frames[-1].captured_s
        return Window(request.camera, -1, frames, start_s, end_s, "request", asked.put_s)

    def answer(self, asked: Asked, window: Window, seen: Observation) -> None:
        """Give the answer to whoever asked. `seen.timings.queue_ms` is not looked at."""
        text = seen.description or ""
        question = asked.request.question
        timings = seen.timings
        waited_ms = ((asked.taken_s or asked.put_s) - asked.put_s) * 1e3
        answer = Answer(
            request=asked.request,
            text=text,
            p_yes=seen.answers[question] if question and is_yes_or_no(question, text) else None,
            start_s=seen.start_s,
            end_s=seen.end_s,
            wall_time=seen.wall_time,
            num_frames=len(window.frames),
            frame=window.frames[-1],
            timings=Timings(
                waited_ms, timings.encode_ms, timings.prefill_ms, timings.decode_ms,
                timings.frames_encoded,
            ),
            model_id=seen.model_id,
            prompt_sha256=seen.prompt_sha256,
        )  # fmt: skip
        if self._settle(asked, "answered"):
            asked.future.set_result(answer)

    def fail(self, asked: Asked, error: SmolwatchError) -> None:
        """Say why there is no answer."""
        if self._settle(asked, "failed"):
            asked.future.set_exception(error)

    def expire(self) -> None:
        """End those whose time is over, and say what they waited for. From any thread.

        Also the one that is being answered: whoever asked is told, and its answer comes to nothing.
        """
        now_s = self._clock.monotonic_s()
        with self._lock:
            over = [asked for asked in self._all() if now_s >= asked.expires_s]
            told = [(asked, self._standing(asked)) for asked in over]
        for asked, standing in told:
            after = f"{asked.request.camera}: no answer within {asked.request.patience_s:g} s"
            self._end(asked, "expired", f"{after}: {standing}; give it longer, or ask again later")

    @property
    def num_waiting(self) -> int:
        """How many wait, or are being answered."""
        with self._lock:
            return len(self._all())

    def standing(self, future: Future[Answer]) -> str:
        """What the request of `future` waits for, in words; empty when it waits no more."""
        with self._lock:
            found = (asked for asked in self._all() if asked.future is future)
            return next(map(self._standing, found), "")

    def close(self, reason: str) -> None:
        """End all that wait, and refuse what comes. From any thread, as often as wanted."""
        with self._lock:
            self._closed = reason
            left = self._all()
        for asked in left:
            self._end(asked, "failed", reason)

    def _check(self, request: Request) -> None:
        """Raise `RequestRefused` where the camera has nothing to answer from, or the question."""
        outlook = self._cameras.get(request.camera)
        if outlook is None:
            there = ", ".join(self._cameras)
            raise RequestRefused(f"there is no camera '{request.camera}'. There are: {there}")
        if request.question is not None:
            check_question(request.question)
        if request.last_s is not None and not request.last_s > 0:
            raise RequestRefused(f"the last {request.last_s:g} s hold nothing: ask for more")
        trouble = outlook.trouble()
        stamps = outlook.ring.stamps()
        age_s = self._clock.monotonic_s() - stamps[-1].captured_s if stamps else None
        if trouble is None and age_s is not None and age_s <= outlook.plan.stale_s:
            return
        silence = "has sent no picture yet" if age_s is None else f"sent nothing for {age_s:.0f} s"
        why = trouble or f"{silence}: look in the log, or try `smolwatch probe` on its address"
        raise RequestRefused(f"camera {request.camera} cannot be asked: {why}")

    def _append(self, asked: Asked) -> None:
        with self._lock:
            if self._closed is not None:
                raise RequestRefused(self._closed)
            self._waiting = deque(a for a in self._waiting if not a.future.cancelled())
            if len(self._waiting) >= MOST_WAITING:
                raise RequestRefused(
                    f"{MOST_WAITING} questions wait for the model already: ask again later"
                )
            self._waiting.append(asked)

    def _all(self) -> list[Asked]:
        return [*([self._running] if self._running else []), *self._waiting]

    def _standing(self, asked: Asked) -> str:
        if asked is self._running:
            running_s = self._clock.monotonic_s() - (asked.taken_s or asked.put_s)
            return f"the model has been answering for {running_s:.0f} s"
        ahead = self._all().index(asked)
        if ahead == 0:
            return "the model is looking at a window of a camera"
        return f"{ahead} other question{'s are' if ahead > 1 else ' is'} before it"

    def _end(self, asked: Asked, count: str, message: str) -> None:
        if self._settle(asked, count):
            asked.future.set_exception(RequestRefused(message))

    def _settle(self, asked: Asked, count: str) -> bool:
        """Whether it falls to the caller to fill the future: to one only, and to none if cancelled.

        The future itself is filled without the lock, since its callbacks may ask again.
        """
        with self._lock:
            if asked.settled:
                return False
            asked.settled = True
            if asked is self._running:
                self._running = None
            else:
                self._waiting.remove(asked)
                if not asked.future.set_running_or_notify_cancel():
                    return False
            self.counts[count] += 1
            return True


def is_yes_or_no(question: str, text: str) -> bool:
    """Whether p_yes says something: the question begins like one for yes or no, or the answer.

    Otherwise ("What colour is the car?") it would be the ratio of two words that nobody thought of.
    """
    return bool(_ASKS_YES_OR_NO.match(question.strip()) or _SAYS_YES_OR_NO.match(text.strip()))


def check_question(question: str) -> None:
    """Raise `RequestRefused` for a text that is no question."""
    if not question.strip():
        raise RequestRefused("the question is empty: write one, such as 'Is the gate open?'")
    if len(question) > LONGEST_QUESTION:
        raise RequestRefused(
            f"the question has {len(question)} characters; at most {LONGEST_QUESTION} are read"
        )
