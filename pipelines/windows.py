"""Which frames make the next window, and whose turn is it?

Knows rings and times that are passed in; no clock, no model, no rules.

A camera's windows end on a grid, `stride_s` apart, that starts with its first complete window and
starts anew after a reconnect or a stall. A window is due from its place on the grid, and can be
given as soon as a frame is within half an interval of it. Of the cameras with a window due, the
one whose last window is longest ago has its turn: so each waits for at most one window of every
other, whatever their strides. (To go by the due times alone is not fair: a camera just before its
place on the grid would let another pass twice.) Places on the grid that pass while the model is
busy are skipped, and counted: the newest window is the one given, and the older ones never are.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipelines.coverage import RECENT_S, Coverage
from pipelines.ring import FrameRing, Stamp
from pipelines.types import Anchor, Window, WindowReason
from pipelines.window_plan import WindowPlan, choose_frames, choose_onward

__all__ = ["WindowCounts", "WindowPlan", "WindowScheduler"]

Waiting = Literal["disabled", "no_frames", "filling"]

_LONGEST_WAIT_S = 1.0
_POLL_S = 0.02  # between looks for a frame that is late


@dataclass(frozen=True, slots=True)
class WindowCounts:
    """What became of one camera's windows."""

    given: int = 0
    ran: int = 0
    failed: int = 0
    skipped: int = 0  # passed while the model was busy
    gated: int = 0  # not run because nothing moved
    blind_share: float = 0.0  # of all seconds the camera was enabled, see `Coverage`
    blind_share_recent: float = 0.0  # of the last five minutes
    waiting: Waiting | None = None  # why there is no window just now


class WindowScheduler:
    """Gives the most overdue camera's newest window. Thread-safe; see the module's text.

    `now_s` is always monotonic time, and never goes back. Seconds in which the motion gate kept a
    quiet camera from being run are not blind: the gate looked at every frame. A window that failed
    is blind, and so are the seconds in which a camera was away.
    """

    def __init__(self, cameras: Mapping[str, tuple[WindowPlan, FrameRing]], now_s: float) -> None:
        self._tracks = {name: _Track(name, *both, now_s) for name, both in cameras.items()}
        self._turns = 0
        self._lock = threading.Lock()

    def take_over(self, before: WindowScheduler) -> None:
        """Go on with the cameras of another one, used no more, that have the same plan and ring."""
        self._turns = before._turns
        for name, track in self._tracks.items():
            known = before._tracks.get(name)
            if known is not None and known.is_like(track):
                self._tracks[name] = known

    def next_window(self, now_s: float) -> Window | None:
        """The newest window of the camera that has waited longest, or None if none is due."""
        return next(iter(self.next_windows(now_s, 1)), None)

    def next_windows(self, now_s: float, most: int) -> list[Window]:
        """The newest windows of the `most` cameras that have waited longest, in that order."""
        windows: list[Window] = []
        with self._lock:
            due = [track for track in self._tracks.values() if track.look(now_s)]
            for track in sorted(due, key=lambda track: (track.turn, track.found_due_s)):
                if len(windows) == most:
                    break
                window = track.give(now_s)
                if window is not None:
                    self._turns += 1
                    track.turn = self._turns
                    windows.append(window)
        return windows

    def pass_over(self, now_s: float) -> None:
        """Skip what is due, and count it: there is no model that could look."""
        with self._lock:
            for track in self._tracks.values():
                if track.look(now_s):
                    track.pass_over()

    def due_in_s(self, now_s: float) -> float:
        """Seconds until a camera may have a window, as far as can be known; 0 if one has now.

        Never long: a camera that has no frames may get them at any time.
        """
        with self._lock:
            waits = [track.due_in_s(now_s) for track in self._tracks.values() if not track.disabled]
            return min([*waits, _LONGEST_WAIT_S])

    def lengthen(self, factor: int) -> None:
        """Make all strides `factor` times as long as planned, from each camera's next place on."""
        with self._lock:
            for track in self._tracks.values():
                track.stride_s = track.plan_stride_s * factor

    def ran(self, window: Window) -> None:
        """Note that `window` was analysed."""
        with self._lock:
            self._tracks[window.camera].ran(window)

    def failed(self, window: Window) -> None:
        """Note that `window` could not be analysed: it is not run again, the next one will be."""
        with self._lock:
            self._tracks[window.camera].failed()

    def enable(self, camera: str, now_s: float, *, enabled: bool) -> None:
        """Look at `camera`, or leave it alone. Disabled seconds are not blind. `KeyError`."""
        with self._lock:
            self._tracks[camera].enable(now_s, enabled=enabled)

    def is_enabled(self, camera: str) -> bool:
        """Whether `camera` is looked at. Raises `KeyError`."""
        with self._lock:
            return not self._tracks[camera].disabled

    def counts(self, camera: str, now_s: float) -> WindowCounts:
        """The figures of one camera. Raises `KeyError` for one that does not exist."""
        with self._lock:
            return self._tracks[camera].counts(now_s)


class _Track:
    """One camera's place on its grid. Guarded by the scheduler's lock."""

    def __init__(self, camera: str, plan: WindowPlan, ring: FrameRing, now_s: float) -> None:
        self.disabled = False
        self.found_due_s = math.inf  # the look that first found a window to give
        self.turn = 0  # among all windows given: those of one moment have an order, too
        self.last_given_s = -math.inf
        self.plan_stride_s = plan.stride_s
        self.stride_s = plan.stride_s  # as it is now, see `WindowScheduler.lengthen`
        self._camera = camera
        self._plan = plan
        self._ring = ring
        self._coverage = Coverage(now_s, settle_s=2 * plan.stride_s)
        self._counts: Counter[str] = Counter()
        self._waiting: Waiting | None = "no_frames"
        self._stamps: tuple[Stamp, ...] = ()  # as of the last look
        self._chosen: tuple[Stamp, ...] = ()  # of them, those of the window to be given
        self._begun: tuple[
            Stamp, ...
        ] = ()  # of the last window given, which an anchored one goes on
        self._epoch = -1
        self._place_s: float | None = None  # where on the grid the next window ends
        self._last_place_s = -math.inf
        self._moved_s = -math.inf  # when something last moved
        self._last_seq = -1  # of the newest frame that was in a window or passed the gate
        self._places = 0  # windows so far, whatever became of them

    def is_like(self, other: _Track) -> bool:
        """Whether it is of the same ring, by the same plan."""
        return other._plan == self._plan and other._ring is self._ring

    def look(self, now_s: float) -> bool:
        """Whether a window can be given now. Quiet windows are passed over here."""
        self._waiting = self._find(now_s)
        if self._waiting is not None:
            self._place_s, self.found_due_s = None, math.inf
            return False
        newest = self._chosen[-1]
        if self._place_s is None:
            self._place_s = max(newest.captured_s, self._last_place_s + self.stride_s)
        if newest.captured_s < self._reach_s(self._place_s):
            return False
        if self._reason(now_s) is None:
            first_s = min(self._chosen[0].captured_s, self._unseen()[0].captured_s)
            self._coverage.watch(first_s - self._plan.interval_s, newest.captured_s)
            self._counts["gated"] += 1 + self._advance(self._place_s)
            return False
        self.found_due_s = min(self.found_due_s, now_s)
        return True

    def give(self, now_s: float) -> Window | None:
        """The window that `look` found; None if its frames have left the ring since."""
        reason = self._reason(now_s)
        frames = self._ring.take([stamp.seq for stamp in self._chosen])
        if frames is None or reason is None or self._place_s is None:
            return None
        self._counts["skipped"] += self._advance(self._place_s)
        self._counts["given"] += 1
        self.last_given_s = now_s
        anchor = None
        if self._plan.anchor:
            anchor = Anchor(self._plan.num_frames, self._plan.most_frames)
            self._begun = self._chosen
        return Window(
            camera=self._camera,
            seq=self._places - 1,
            frames=frames,
            start_s=frames[0].captured_s,
            end_s=frames[-1].captured_s,
            reason=reason,
            due_s=self._since_s(self._last_place_s),
            anchor=anchor,
        )

    def pass_over(self) -> None:
        """Skip the window that `look` found."""
        if self._place_s is not None:
            self._counts["skipped"] += 1 + self._advance(self._place_s)

    def due_in_s(self, now_s: float) -> float:
        """Seconds until it is worth looking again."""
        if self.found_due_s < math.inf:
            return 0.0
        if self._place_s is None or not self._stamps:
            return max(_POLL_S, self._plan.interval_s / 2)
        next_frame_s = self._stamps[-1].captured_s + self._plan.interval_s
        return max(_POLL_S, max(self._reach_s(self._place_s), next_frame_s) - now_s)

    def ran(self, window: Window) -> None:
        # Each frame stands for the interval before it.
        self._counts["ran"] += 1
        self._coverage.watch(window.start_s - self._plan.interval_s, window.end_s)

    def failed(self) -> None:
        self._counts["failed"] += 1

    def enable(self, now_s: float, *, enabled: bool) -> None:
        self.disabled = not enabled
        self._coverage.enable(now_s, enabled=enabled)

    def counts(self, now_s: float) -> WindowCounts:
        return WindowCounts(
            **self._counts,
            blind_share=self._coverage.blind_share(now_s),
            blind_share_recent=self._coverage.blind_share(now_s, RECENT_S),
            waiting=self._waiting,
        )

    def _find(self, now_s: float) -> Waiting | None:
        """Choose the newest window's frames, or say why there is none."""
        if self.disabled:
            return "disabled"
        self._stamps = self._ring.stamps()
        if not self._stamps or now_s - self._stamps[-1].captured_s > self._plan.stale_s:
            return "no_frames"
        self._chosen = self._choose()
        if not self._chosen:
            return "filling"
        if self._chosen[-1].epoch != self._epoch:
            self._epoch = self._chosen[-1].epoch
            self._place_s, self.found_due_s = None, math.inf
        return None

    def _choose(self) -> tuple[Stamp, ...]:
        onward = choose_onward(self._begun, self._stamps, self._plan) if self._begun else None
        return onward or choose_frames(self._stamps, self._plan) or ()

    def _reason(self, now_s: float) -> WindowReason | None:
        if self._plan.gate == "always":
            return "stride"
        for stamp in self._unseen():
            if stamp.motion >= self._plan.motion_threshold:
                self._moved_s = stamp.captured_s
        if now_s - self._moved_s <= self._plan.linger_s:
            return "motion"
        return "idle" if now_s - self.last_given_s >= self._plan.max_idle_s else None

    def _unseen(self) -> list[Stamp]:
        return [stamp for stamp in self._stamps if stamp.seq > self._last_seq]

    def _reach_s(self, place_s: float) -> float:
        """A frame captured from then on is near enough to end the window of `place_s`."""
        return place_s - self._plan.interval_s / 2

    def _since_s(self, place_s: float) -> float:
        """When the first frame came that could end the window of `place_s`."""
        reach_s = self._reach_s(place_s)
        return next(stamp.captured_s for stamp in self._stamps if stamp.captured_s >= reach_s)

    def _advance(self, place_s: float) -> int:
        """Move to the place after the newest frame; how many places were passed over."""
        newest = self._chosen[-1]
        passed = int((newest.captured_s - self._reach_s(place_s)) // self.stride_s)
        self._last_place_s = place_s + passed * self.stride_s
        self._place_s = self._last_place_s + self.stride_s
        self._places += passed + 1
        self._last_seq = newest.seq
        self.found_due_s = math.inf
        return passed
