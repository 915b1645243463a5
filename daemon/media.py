"""How do snapshots and clips of events come about?

Knows which rules want them, the rings they are made of, and the folder; no model and no broker.
"""

from __future__ import annotations

import dataclasses
import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from daemon.disk_trouble import in_words
from daemon.media_files import MediaFiles, name_of
from pipelines.clip import ClipError, read_snapshot, write_clip
from pipelines.clock import Clock
from pipelines.inference import Sink
from pipelines.packet_ring import PacketRing
from pipelines.types import Event, Outcome, Timings

log = structlog.get_logger(__name__)

_POLL_S: Final = 0.2  # the longest that a stop goes unnoticed
_MOST_JOBS: Final = 64  # that wait for their seconds to pass; more are dropped, and counted
_LOOK_AGAIN_S: Final = 5.0  # whether the disk takes pictures again
_LATE_S: Final = 2.0  # how long the ring may take to reach a clip's end, where a camera is away


@dataclass(frozen=True, slots=True)
class Wish:
    """What one rule at one camera wants of its alerts."""

    snapshot: bool
    before_s: float | None  # of the window that raised the alert; None: no clip
    after_s: float
    window_s: float  # how long such a window is

    @property
    def keep_s(self) -> float:
        """How far back the ring must reach, without the time that the model takes."""
        return self.window_s + (self.before_s or 0.0) + self.after_s


@dataclass(frozen=True, slots=True)
class _Job:
    event: Event
    wish: Wish
    snapshot: str | None


class MediaWriter:
    """A sink before the sink: alerts pass through at once, and what they show follows.

    `publish` only notes an alert that wants pictures; the thread (`run`) writes its snapshot at
    once, hands the JPEG to `show` (for MQTT), and its clip when the last second of it is there;
    then a `rule_update` of the incident names the files. A file that cannot be made is logged and
    counted, and the alert is none the worse for it.
    """

    def __init__(
        self,
        sink: Sink,
        files: MediaFiles,
        rings: Mapping[str, PacketRing],
        wishes: Mapping[tuple[str, str], Wish],
        *,
        show: Callable[[str, bytes], None],
        clock: Clock,
        new_id: Callable[[], str],
    ) -> None:
        self._sink = sink
        self._files = files
        self._rings = rings
        self._wishes = wishes  # by camera and rule
        self._show = show
        self._clock = clock
        self._new_id = new_id
        self._noted: deque[tuple[Event, Wish]] = deque()
        self._jobs: deque[_Job] = deque()
        self._news = threading.Event()
        self.trouble: str | None = None  # what keeps pictures from being kept, in words
        self._looked_s = -math.inf  # whether it still does
        self.counts: Counter[str] = Counter()  # snapshots, clips, failed, dropped

    def rewire(
        self, sink: Sink, rings: Mapping[str, PacketRing], wishes: Mapping[tuple[str, str], Wish]
    ) -> None:
        """Go on with other rules and cameras; what waits is finished from the rings it had."""
        self._rings = {**self._rings, **rings}
        self._sink, self._wishes = sink, wishes

    def publish(self, outcome: Outcome) -> None:
        """Hand the outcome on, and note what its alerts want. Neither blocks nor raises."""
        self._sink.publish(outcome)
        for event in outcome.events:
            wish = self._wishes.get((event.camera, event.rule or ""))
            if wish is None or event.event_type != "rule_match":
                continue
            if len(self._noted) + len(self._jobs) >= _MOST_JOBS:
                self.counts["dropped"] += 1
                continue
            self._noted.append((event, wish))
            self._news.set()

    def figures(self) -> dict[str, int]:
        """`counts`, what was deleted to make room, and what waits. From any thread."""
        waiting = len(self._noted) + len(self._jobs)
        return {**self.counts, "deleted": self._files.deleted, "waiting": waiting}

    def run(self, stop: threading.Event) -> None:
        """Write until `stop`; then what is still waiting is made of what there is."""
        while not stop.is_set():
            self.run_once()
            self._look_again()
            self._news.wait(_POLL_S)
            self._news.clear()
        self.run_once(ending=True)

    def run_once(self, *, ending: bool = False) -> None:
        """Write what can be written now."""
        while self._noted:
            event, wish = self._noted.popleft()
            self._jobs.append(_Job(event, wish, self._snapshot(event) if wish.snapshot else None))
        for _ in range(len(self._jobs)):
            job = self._jobs.popleft()
            if ending or self._is_ripe(job):
                self._finish(job)
            else:
                self._jobs.append(job)

    def _look_again(self) -> None:
        """Whether the trouble is over, though no rule wants a picture for the moment."""
        now_s = self._clock.monotonic_s()
        if self.trouble is None or now_s - self._looked_s < _LOOK_AGAIN_S:
            return
        self._looked_s = now_s
        error = self._files.refusal()
        self.trouble = _trouble(error) if error is not None else None

    def _is_ripe(self, job: _Job) -> bool:
        """Whether the clip's last second is in the ring, or will not come."""
        if job.wish.before_s is None:
            return True
        end_s = job.event.captured_s + job.wish.after_s
        newest_s = self._rings[job.event.camera].newest_s()
        return self._clock.monotonic_s() >= end_s + _LATE_S or (
            newest_s is not None and newest_s >= end_s
        )

    def _finish(self, job: _Job) -> None:
        clip = None if job.wish.before_s is None else self._clip(job.event, job.wish)
        media = {"snapshot": job.snapshot, "clip": clip}
        if not any(media.values()):
            return
        update = dataclasses.replace(
            job.event,
            event_id=self._new_id(),
            event_type="rule_update",
            timings=Timings(),
            text=None,
            media={name: file for name, file in media.items() if file is not None},
        )
        self._sink.publish(Outcome(update.camera, None, {}, (update,), None))

    def _snapshot(self, event: Event) -> str | None:
        def make(path: Path) -> None:
            jpeg = read_snapshot(self._rings[event.camera], event.captured_s)
            self._show(event.camera, jpeg)
            path.write_bytes(jpeg)

        return self._make(event, "snapshot", "jpg", make)

    def _clip(self, event: Event, wish: Wish) -> str | None:
        start_s = event.captured_s - wish.window_s - (wish.before_s or 0.0)
        ring = self._rings[event.camera]
        kept = ring.cut(start_s, event.captured_s + wish.after_s)
        return self._make(event, "clip", "mp4", lambda path: write_clip(kept, path))

    def _make(
        self, event: Event, what: str, suffix: str, make: Callable[[Path], None]
    ) -> str | None:
        name = name_of(event, suffix)
        try:
            has_room = self._files.write(name, make)
        except (ClipError, OSError) as error:
            self.counts["failed"] += 1
            why = str(error) if isinstance(error, ClipError) else error.strerror
            if isinstance(error, OSError):
                self.trouble = _trouble(error)
            log.warning("media.failed", what=what, camera=event.camera, rule=event.rule, error=why)
            return None
        self.trouble = None
        if not has_room:
            self.counts["dropped"] += 1
            return None
        self.counts[f"{what}s"] += 1
        return name


def _trouble(error: OSError) -> str:
    return f"no pictures are kept: {in_words(error, 'see media.dir')}"
