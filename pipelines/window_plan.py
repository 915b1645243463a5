"""What is a window of a camera made of?

Knows the plan a user writes and the frames there are; no time of day and no other camera.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pipelines.ring import Stamp

_STALE_S = 3.0  # the least age at which a newest frame no longer shows what is going on
_SPARE_FRAMES = 4  # that may arrive while the scheduler chooses
ASK_BACK_S = 30.0  # for questions about the last seconds
MOST_FRAMES = 64  # of a window: about 5000 tokens of the models' 8192
_ASK_BACK_FRAMES = 32  # at the most: 14 MB of 512x288


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """How one camera is looked at. Raises `ValueError` where it makes no sense."""

    num_frames: int = 8
    interval_s: float = 1.0  # between frames
    stride_s: float = 2.0  # between windows
    gate: Literal["always", "motion"] = "always"
    max_idle_s: float = 60.0  # with the motion gate, a quiet camera is still looked at this often
    anchor: bool = False  # windows grow from one start, to `most_frames`; then there is another
    motion_threshold: float = 0.004  # share of the picture; the weakest of 205 scene events: 0.013

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise ValueError(f"num_frames is {self.num_frames}; a window has at least one frame")
        if self.interval_s <= 0 or self.stride_s <= 0 or self.max_idle_s <= 0:
            raise ValueError("interval_s, stride_s and max_idle_s must be above 0")
        steps = self.stride_s / self.interval_s
        if round(steps) < 1 or abs(steps - round(steps)) > 1e-6:
            raise ValueError(
                f"stride_s ({self.stride_s}) must be a multiple of interval_s ({self.interval_s}), "
                "so that windows share frames and the model need not look at them twice"
            )
        if self.anchor and self.most_frames > MOST_FRAMES:
            raise ValueError(
                f"num_frames is {self.num_frames}; with anchor at most {MOST_FRAMES // 2}, since "
                "windows grow to twice as many"
            )
        if not 0.0 <= self.motion_threshold <= 1.0:
            raise ValueError(f"motion_threshold is {self.motion_threshold}; it lies in 0..1")

    @property
    def most_frames(self) -> int:
        """How many frames a window may have: never fewer than `num_frames`, when anchored more."""
        return 2 * self.num_frames if self.anchor else self.num_frames

    @property
    def span_s(self) -> float:
        """Seconds from a window's first frame to its last, if the camera is on time."""
        return (self.num_frames - 1) * self.interval_s

    @property
    def longest_span_s(self) -> float:
        """The most a window may span when frames come late: half as much again."""
        return 1.5 * self.span_s + 0.5 * self.interval_s

    @property
    def stale_s(self) -> float:
        """The age from which a camera's newest frame is too old for a window."""
        return max(_STALE_S, 2 * self.interval_s)

    @property
    def linger_s(self) -> float:
        """How long the motion gate stays open after the last motion.

        Until all motion has left the window and three windows more have been looked at, so that a
        debounced rule sees the whole event, and its end, before the camera is left alone.
        """
        return (self.most_frames - 1) * self.interval_s + 4 * self.stride_s

    @property
    def ring_capacity(self) -> int:
        """How many frames the camera's ring should hold, at one frame in `interval_s`.

        As many as windows need, and so many that questions can reach back `ASK_BACK_S`, as far as
        memory allows.
        """
        asked_back = min(math.ceil(ASK_BACK_S / self.interval_s) + 1, _ASK_BACK_FRAMES)
        return max(self.zone_capacity, asked_back)

    @property
    def zone_capacity(self) -> int:
        """How many frames a zone's ring should hold: nobody asks back about zones."""
        return self.most_frames + _SPARE_FRAMES


def choose_frames(stamps: Sequence[Stamp], plan: WindowPlan) -> tuple[Stamp, ...] | None:
    """The newest frame and those nearest to one, two... intervals before it, oldest first.

    All are of the newest frame's epoch, and no frame is used twice. None if there are too few, or
    if they lie so far apart that the window would not show what its plan says.
    """
    if not stamps:
        return None
    newest = stamps[-1]
    older = [stamp for stamp in stamps[:-1] if stamp.epoch == newest.epoch]
    chosen = [newest]
    for step in range(1, plan.num_frames):
        if not older:
            return None
        wanted_s = newest.captured_s - step * plan.interval_s
        nearest = min(range(len(older)), key=lambda i: abs(older[i].captured_s - wanted_s))
        chosen.append(older[nearest])
        older = older[:nearest]
    if newest.captured_s - chosen[-1].captured_s > plan.longest_span_s:
        return None
    return tuple(reversed(chosen))


def choose_onward(
    begun: Sequence[Stamp], stamps: Sequence[Stamp], plan: WindowPlan
) -> tuple[Stamp, ...] | None:
    """The frames of the window `begun`, and those that continue it up to the newest.

    None where it cannot go on: too long, after a reconnect, where frames came late or have left
    the ring.
    """
    newest, last = stamps[-1], begun[-1]
    if newest.epoch != last.epoch or stamps[0].seq > begun[0].seq:
        return None
    if newest.seq == last.seq:
        return tuple(begun)
    count = max(1, round((newest.captured_s - last.captured_s) / plan.interval_s))
    if len(begun) + count > plan.most_frames:
        return None
    between = [s for s in stamps if last.seq < s.seq and s.epoch == last.epoch]
    more = choose_frames(between, replace(plan, num_frames=count, anchor=False))
    if more is None or more[0].captured_s - last.captured_s > 2 * plan.interval_s:
        return None
    return (*begun, *more)


def choose_evenly(stamps: Sequence[Stamp], last_s: float, num_frames: int) -> tuple[Stamp, ...]:
    """`num_frames` of the last `last_s` seconds, evenly spaced in time, oldest first.

    The newest is among them, and of the oldest the one that is nearest to `last_s` before it. All
    of them if there are fewer; of any epoch, since a question may reach back over a reconnect.
    """
    if not stamps:
        return ()
    newest_s = stamps[-1].captured_s
    inside = [stamp for stamp in stamps if stamp.captured_s >= newest_s - last_s]
    span_s = newest_s - inside[0].captured_s
    chosen: list[Stamp] = []
    for left in range(num_frames, 0, -1):  # how many are to be chosen, this one too
        if len(inside) <= left:
            return (*chosen, *inside)
        wanted_s = newest_s - span_s * (left - 1) / max(1, num_frames - 1)
        reach = range(len(inside) - left + 1)  # so that enough remain for the rest
        nearest = min(reach, key=lambda i: abs(inside[i].captured_s - wanted_s))
        chosen.append(inside[nearest])
        inside = inside[nearest + 1 :]
    return tuple(chosen)
