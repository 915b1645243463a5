"""What flows through smolwatch?

Knows no stage: frames become windows, windows observations, observations events. Every record
is frozen and carries where and when it came from, so that latency can be read off at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from pipelines.errors import InferenceError

Image = npt.NDArray[np.uint8]  # [H, W, 3] RGB
FrameKey = tuple[str, int, int, str]  # camera, epoch, seq, view: names one frame's pixels for ever
WindowReason = Literal["stride", "motion", "idle", "request"]
EventType = Literal["rule_match", "rule_update", "rule_clear", "describe"]
Severity = Literal["info", "warning", "alert"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One sampled frame, at the model's size (long edge), read-only once it is in the ring."""

    camera: str
    epoch: int  # grows with every (re)connection, resolution change or timestamp jump
    seq: int  # counts sampled frames within the camera, never reused
    captured_s: float  # monotonic seconds, taken after the read
    wall_time: float  # Unix seconds, only shown
    image: Image  # [H, W, 3] uint8 RGB
    motion: float  # 0..1, share of the picture that changed since the frame before
    camera_time: float | None = None  # Unix seconds by the camera's own clock, where it sends it
    view: str = ""  # the zone it shows; empty: the whole picture

    @property
    def key(self) -> FrameKey:
        """The identity under which the frame's features may be cached."""
        return (self.camera, self.epoch, self.seq, self.view)


@dataclass(frozen=True, slots=True)
class Anchor:
    """That a window begins where the one before it began, and only grows at its end."""

    begun: int  # frames of the first window from this start on
    most: int  # frames it grows to; then there is another start


@dataclass(frozen=True, slots=True)
class Window:
    """The frames of one look at a camera, oldest first."""

    camera: str
    seq: int  # counts windows of this camera, run or not
    frames: tuple[Frame, ...]
    start_s: float  # monotonic, of the first frame
    end_s: float  # monotonic, of the last frame
    reason: WindowReason
    due_s: float  # monotonic time from which the window could have been run
    anchor: Anchor | None = None  # None: it slides

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame to the last."""
        return self.end_s - self.start_s

    @property
    def camera_time(self) -> float | None:
        """When the newest frame was taken, by the camera's own clock; None if it sends none."""
        return self.frames[-1].camera_time if self.frames else None


@dataclass(frozen=True, slots=True)
class Look:
    """What is wanted of one window."""

    window: Window
    questions: tuple[str, ...]
    prompt: str | None  # for words


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of one window went, in milliseconds."""

    queue_ms: float = 0.0  # newest frame captured -> inference begins
    encode_ms: float = 0.0  # pixels -> visual features, new frames only
    prefill_ms: float = 0.0  # prompt and all questions
    decode_ms: float = 0.0  # words, where asked for
    frames_encoded: int = 0  # how many of the window's frames were not in the cache
    frames_reused: int = 0  # how many new ones took the features of one like them instead

    @property
    def total_ms(self) -> float:
        """Newest frame captured -> observation made."""
        return self.queue_ms + self.encode_ms + self.prefill_ms + self.decode_ms


@dataclass(frozen=True, slots=True)
class Observation:
    """What the model said of one window. Pixels end here."""

    camera: str
    window_seq: int
    start_s: float
    end_s: float
    wall_time: float  # Unix seconds of the newest frame
    answers: Mapping[str, float]  # question text -> p_yes, 0..1
    description: str | None
    timings: Timings
    model_id: str
    prompt_sha256: str
    camera_time: float | None = None  # `wall_time` by the camera's own clock, where it sends it


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth telling: an incident opens, changes or closes, or words were made."""

    event_id: str  # ULID
    incident_id: str | None  # ULID shared by the events of one incident; None for `describe`
    event_type: EventType
    camera: str
    rule: str | None  # None for `describe`
    severity: Severity
    score: float | None  # p_yes of the rule's question
    wall_time: float  # Unix seconds of the newest frame it is about
    captured_s: float  # the same moment, monotonic
    text: str | None
    timings: Timings
    model_id: str
    prompt_sha256: str
    camera_time: float | None = None  # `wall_time` by the camera's own clock, where it sends it
    media: Mapping[str, str] | None = None  # `snapshot`, `clip` -> file name, once they are made


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one look at a camera led to, or the end of its incidents. Kept whole or not at all."""

    camera: str
    observation: Observation | None  # None: nothing was looked at, as when a camera is lost
    verdicts: Mapping[str, str]  # rule -> what held it back, or that it is on
    events: tuple[Event, ...]
    memory: str | None  # what the camera's rules go on from, see `RuleBook.memory`


class VideoModel(Protocol):
    """What the inference worker needs of a model (tests: `tests.fakes.FakeModel`)."""

    @property
    def model_id(self) -> str:
        """Name and revision, as shown in events."""
        ...

    @property
    def frame_edge_px(self) -> int:
        """The long edge to which frames are scaled before they enter the ring."""
        ...

    @property
    def writes(self) -> bool:
        """Whether it knows language at large; else it knows the sentences of its training only."""
        ...

    @property
    def max_tokens(self) -> int:
        """The most tokens that a prompt and what is written behind it have together."""
        ...

    def count_tokens(self, text: str) -> int:
        """How long a text is for the model. From any thread."""
        ...

    def write(self, task: str, max_tokens: int) -> Iterator[str]:
        """Follow a task in words alone: what is written so far, again and again, then all of it.

        Each step is short, and windows may be observed between two. Raises `InferenceError`.
        """
        ...

    @property
    def windows_at_once(self) -> int:
        """How many windows it runs in about the time of one; 1 where company is no gain."""
        ...

    def observe(self, window: Window, questions: Sequence[str], prompt: str | None) -> Observation:
        """Answer all `questions` about one window, and with `prompt` also describe it.

        Raises `InferenceError`. `Timings.queue_ms` is left at 0: the worker knows it.
        """
        ...

    def observe_many(self, looks: Sequence[Look]) -> Sequence[Observation | InferenceError]:
        """`observe` for several windows together: what comes of each, or why nothing does.

        Any number; `windows_at_once` of them at a time. One that fails leaves the others alone.
        """
        ...
