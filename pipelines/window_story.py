"""What becomes of one window?

Knows a camera's rules, zones and descriptions; no schedule, no requests, and nothing of where
events go. The alert goes first; words, which take many decoding steps, follow in an event of their
own. Stories of several windows are told side by side (`together`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Protocol

from pipelines.clock import Clock
from pipelines.ring import FrameRing
from pipelines.rules import RuleBook
from pipelines.together import Looking, Story
from pipelines.types import Event, Look, Observation, Outcome, Timings, Window
from pipelines.zones import Zone, plain_question

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


class WindowStories:
    """Tells what becomes of windows. For one thread: the books are its own."""

    def __init__(
        self,
        watches: Mapping[str, Watch],
        sink: Sink,
        clock: Clock,
        new_id: Callable[[], str],
        is_still_wanted: Callable[[str], bool],
    ) -> None:
        """`is_still_wanted`: of a camera, whether what the model has seen may still be judged."""
        self.windows = 0  # analysed since the start
        self.events = 0  # published since the start
        self._watches = dict(watches)
        self._sink = sink
        self._clock = clock
        self._new_id = new_id
        self._is_still_wanted = is_still_wanted
        self._described_s: dict[str, float] = {}
        self._latencies: dict[str, deque[float]] = {
            name: deque(maxlen=_LATENCIES) for name in watches
        }

    def take_over(self, before: WindowStories, cameras: Collection[str]) -> None:
        """Count on from where other stories ended. `cameras`: those that are as they were."""
        self.windows, self.events = before.windows, before.events
        for name in cameras:
            self._latencies[name] = before._latencies[name]
            if name in before._described_s:
                self._described_s[name] = before._described_s[name]

    def book(self, camera: str) -> RuleBook:
        """The rules of a camera."""
        return self._watches[camera].book

    def prompt(self, camera: str) -> str:
        """What its descriptions are asked for with."""
        watch = self._watches[camera]
        return watch.describing.prompt if watch.describing else watch.prompt

    def reword(self, camera: str, prompt: str) -> None:
        """Ask for this camera's descriptions in other words from now on."""
        watch = self._watches[camera]
        describing = watch.describing and replace(watch.describing, prompt=prompt)
        self._watches[camera] = replace(watch, prompt=prompt, describing=describing)

    def latencies_ms(self, camera: str) -> tuple[float, ...]:
        """Newest frame captured -> answers made, of the camera's last windows."""
        return tuple(self._latencies[camera])

    def settle(self, book: RuleBook, reason: str) -> None:
        """Close a camera's open incidents."""
        events = book.settle(reason, self._clock.monotonic_s(), self._clock.wall_time())
        self.publish(book, None, {}, events)

    def settle_all(self, reason: str) -> None:
        """Close all that is open."""
        for watch in self._watches.values():
            self.settle(watch.book, reason)

    def describe(self, camera: str, told: Observation) -> None:
        """Tell words that were asked for. No rule is judged by it: who asks makes no alert."""
        self.publish(self.book(camera), told, {}, (self._description(told),))

    def publish(
        self,
        book: RuleBook,
        seen: Observation | None,
        verdicts: Mapping[str, str],
        events: tuple[Event, ...],
    ) -> None:
        """Hand on what a look led to, with what the camera's rules go on from."""
        self.events += len(events)
        self._sink.publish(Outcome(book.camera, seen, verdicts, events, book.memory()))

    def tell(self, window: Window) -> Story:
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
            self.publish(watch.book, seen, watch.book.verdicts, events)
            words_due = words_due or watch.book.wants_words
        self.windows += 1
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
        [told] = yield from self._observe([Look(window, (), self.prompt(window.camera))])
        if not self._is_still_wanted(window.camera):
            return
        events = watch.book.judge_words(replace(told, answers=answers))
        if watch.describing is not None:
            self._described_s[window.camera] = window.end_s
            events = (*events, self._description(told))
        self.publish(watch.book, told, watch.book.verdicts, events)

    def _observe(self, looks: Sequence[Look]) -> Looking:
        """Have the model look, together with what other windows want of it."""
        began_s = self._clock.monotonic_s()
        seen = yield looks
        return [placed(one, look.window, began_s) for one, look in zip(seen, looks, strict=True)]

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


def _zoned(window: Window, ring: FrameRing) -> Window | None:
    frames = ring.take([frame.seq for frame in window.frames])
    return None if frames is None else replace(window, frames=frames)


def _is_about(question: str, zone: Zone | None) -> bool:
    text = plain_question(question)
    return question == (text if zone is None else zone.question(text))


def placed(seen: Observation, window: Window, began_s: float) -> Observation:
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
        frames_reused=one.frames_reused + two.frames_reused,
    )
