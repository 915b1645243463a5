"""Is the model there, does it load, and is it fast enough for these cameras?

Knows how to load and to time it, and no file of it by name; what loads it decides whether anything
is fetched.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from daemon.findings import Finding
from pipelines.errors import InferenceError, ModelError, ModelUnavailable
from pipelines.types import Frame, Image, Look, VideoModel, Window
from pipelines.window_plan import WindowPlan

_ROUNDS: Final = 3
_MOST_S: Final = 60.0  # for the rounds of one camera
_BUSY: Final = 0.7  # more, and descriptions and bursts have no room


@dataclass(frozen=True, slots=True)
class Load:
    """What one camera asks of the model."""

    camera: str
    stride_s: float  # between windows
    look_s: float  # how long the model takes for one
    idle_s: float  # between windows while nothing moves

    @property
    def share(self) -> float:
        """Of the model's time, with every window run."""
        return self.look_s / self.stride_s


def check_model(
    name: str,
    load: Callable[[], VideoModel],
    plans: Mapping[str, tuple[WindowPlan, tuple[str, ...]]],
    *,
    beside: bool = False,
) -> Iterator[Finding]:
    """Load it, and look at made-up pictures as each camera's windows will have it look.

    `plans`: each camera's windows and questions. `beside`: a daemon runs meanwhile.
    """
    begun_s = time.monotonic()
    try:
        model = load()
    except ModelUnavailable as error:
        fix = f"smolwatch model pull {name}" if "/" not in name else None
        yield Finding("fail", "model", str(error), fix)
        return
    except ModelError as error:
        said, _, fix = str(error).partition("; ")
        yield Finding("fail", "model", said, fix or "fetch its files anew")
        return
    took_s = time.monotonic() - begun_s
    yield Finding("ok", "model", f"{model.model_id} loads in {took_s:.1f} s")
    try:
        loads = [
            Load(camera, plan.stride_s, look_s(model, plan, questions), _idle_s(plan))
            for camera, (plan, questions) in plans.items()
        ]
    except InferenceError as error:
        yield Finding("fail", "model", f"it cannot look: {error}", "look into the daemon's log")
        return
    yield from judged(loads, "beside the running daemon: " if beside else "")


def look_s(model: VideoModel, plan: WindowPlan, questions: Sequence[str]) -> float:
    """The median time for a window whose frames but the newest were seen before, in seconds.

    Raises `InferenceError`.
    """
    new = min(plan.num_frames, max(1, round(plan.stride_s / plan.interval_s)))
    edge = model.frame_edge_px
    picture = np.random.default_rng(0).integers(0, 256, (edge * 9 // 16, edge, 3), np.uint8)
    took: list[float] = []
    until_s = time.monotonic() + _MOST_S
    for number in range(_ROUNDS + 1):
        window = _window(plan, number * new, picture)
        begun_s = time.monotonic()
        [seen] = model.observe_many([Look(window, tuple(questions), None)])
        if isinstance(seen, InferenceError):
            raise seen
        took.append(time.monotonic() - begun_s)
        if time.monotonic() > until_s:
            break
    return statistics.median(took[1:] or took)  # the first has all frames to encode


def _window(plan: WindowPlan, first: int, picture: Image) -> Window:
    times = [plan.interval_s * (first + n) for n in range(plan.num_frames)]
    frames = tuple(
        Frame("doctor", 0, first + n, at, at, picture, 0.0) for n, at in enumerate(times)
    )
    return Window("doctor", first, frames, times[0], times[-1], "request", times[-1])


def _idle_s(plan: WindowPlan) -> float:
    return plan.stride_s if plan.gate == "always" else max(plan.stride_s, plan.max_idle_s)


def judged(loads: Sequence[Load], note: str = "") -> Iterator[Finding]:
    """Whether one model can serve all of them."""
    if not loads:
        return
    always = sum(load.look_s / load.idle_s for load in loads)
    moving = sum(load.share for load in loads)
    each = ", ".join(f"{one.camera} {one.look_s:.2g} s every {one.stride_s:g} s" for one in loads)
    text = f"{note}{each}: busy {always:.0%}, and {moving:.0%} while something moves everywhere"
    slowest = max(loads, key=lambda load: load.share)
    longer = slowest.stride_s * max(2, round(moving / _BUSY + 0.5))
    fix = (
        f"raise window.stride_s ({slowest.camera}'s first, to {longer:g}), take a smaller model, "
        "or see docs/troubleshooting.md on speed"
    )
    if always > 1.0:
        yield Finding("fail", "speed", f"{text}: windows are skipped all the time", fix)
    elif moving > 1.0:
        yield Finding("warn", "speed", f"{text}: then windows are skipped", fix)
    elif moving > _BUSY:
        yield Finding("warn", "speed", f"{text}: little room is left for descriptions", fix)
    else:
        yield Finding("ok", "speed", text)
