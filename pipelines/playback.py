"""What would the daemon have seen of a recording?

Knows one recording and one camera's settings; no YAML and no report. Capture, windows, gate,
zones, model and rules are the daemon's own, on a clock that moves only while somebody waits: for
the next picture, that is. So it runs as fast as it can, and like a daemon whose model keeps up.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pipelines.capture import CaptureWorker, scale_to_edge
from pipelines.ids import new_ulid
from pipelines.inference import Describing, InferenceWorker, Watch
from pipelines.mask import Mask
from pipelines.packet_ring import encode_jpeg
from pipelines.polygons import Polygon
from pipelines.ring import FrameRing
from pipelines.rules import Rule, RuleBook
from pipelines.sources import FrameSource
from pipelines.types import Event, Image, Observation, Outcome, VideoModel
from pipelines.window_plan import WindowPlan
from pipelines.windows import WindowCounts, WindowScheduler
from pipelines.zones import Zone

THUMBNAIL_PX: Final = 320


class PlayClock:
    """Time that passes only while somebody waits, and then at once. See `pipelines.clock.Clock`."""

    def __init__(self, wall_time: float) -> None:
        self._now_s = 0.0
        self._begun = wall_time

    def monotonic_s(self) -> float:
        """Seconds waited so far."""
        return self._now_s

    def wall_time(self) -> float:
        """Unix seconds: the recording's beginning and the seconds since."""
        return self._begun + self._now_s

    def wait(self, stop: threading.Event, timeout_s: float) -> bool:
        """Let the time pass; True if `stop` is set."""
        self._now_s += max(0.0, timeout_s)
        return stop.is_set()


@dataclass(frozen=True, slots=True)
class View:
    """How a camera is looked at, and what is judged of it."""

    name: str  # features are cached under it: another name for each recording
    plan: WindowPlan
    rules: tuple[Rule, ...]
    prompt: str  # for words
    describing: Describing | None = None  # words on a schedule
    mask: tuple[Polygon, ...] = ()
    zones: tuple[Zone, ...] = ()


class Playback:
    """One recording. `run` it once; then the rest says what came of it."""

    def __init__(
        self, model: VideoModel, source: FrameSource, clock: PlayClock, view: View
    ) -> None:
        self._view = view
        self._clock = clock
        ring = FrameRing(view.plan.ring_capacity)
        zones = {zone: FrameRing(view.plan.zone_capacity) for zone in view.zones}
        self._capture = CaptureWorker(
            view.name, source, ring, clock,
            sample_interval_s=view.plan.interval_s, frame_edge_px=model.frame_edge_px,
            mask=Mask(view.mask) if view.mask else None, zones=zones,
        )  # fmt: skip
        now_s = clock.monotonic_s()
        self._scheduler = WindowScheduler({view.name: (view.plan, ring)}, now_s)
        book = RuleBook(view.name, view.rules, new_ulid)
        watch = Watch(book, view.describing, view.prompt, zones)
        self._sink = _Kept()
        self._inference = InferenceWorker(
            model, self._scheduler, {view.name: watch}, self._sink, clock, new_ulid
        )
        self._pts_s: dict[float, float] = {}  # captured_s -> time stamp
        self.thumbnails: dict[float, bytes] = {}  # captured_s of an alert -> JPEG
        self.length_s = 0.0  # as far as it was played

    def run(self, stop: threading.Event) -> Iterator[tuple[float, Image]]:
        """Play to the end; gives each sampled picture, looked at, and the clock's time of it.

        Raises `SourceError`, and `InferenceError` where the model fails again and again.
        """
        for picture in self._capture.steps(stop):
            if picture.pts_s is not None:
                self.length_s = max(self.length_s, picture.pts_s)
            if picture.image is None or picture.damaged:
                continue
            now_s = self._clock.monotonic_s()
            self._pts_s[now_s] = now_s if picture.pts_s is None else picture.pts_s
            while self._inference.run_once():
                self._illustrate(picture.image, now_s)
            yield now_s, picture.image

    @property
    def looks(self) -> tuple[Observation, ...]:
        """What the model said, in its order; times by the playback's clock."""
        return tuple(self._sink.looks)

    @property
    def events(self) -> tuple[Event, ...]:
        """What the daemon would have told."""
        return tuple(self._sink.events)

    @property
    def counts(self) -> WindowCounts:
        """Windows run, and kept from being run by the motion gate."""
        return self._scheduler.counts(self._view.name, self._clock.monotonic_s())

    def place_s(self, captured_s: float) -> float:
        """Where in the recording the frame of `captured_s` is, in seconds.

        The two differ only where the recording has gaps.
        """
        return self._pts_s.get(captured_s, captured_s)

    def _illustrate(self, image: Image, now_s: float) -> None:
        newest = self._sink.events[-1:]
        if newest and newest[0].captured_s == now_s and now_s not in self.thumbnails:
            self.thumbnails[now_s] = encode_jpeg(scale_to_edge(image, THUMBNAIL_PX))


class _Kept:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.looks: list[Observation] = []
        self.events: list[Event] = []

    def publish(self, outcome: Outcome) -> None:
        if outcome.observation is not None:
            self.looks.append(outcome.observation)
        self.events += outcome.events
