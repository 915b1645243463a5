"""How does a drawn camera become a recording with its truth?

Knows scripts, pixels and H.264; no model. Pictures are encoded as they are drawn, so that an hour
needs no more memory than a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av

from pipelines.scenes.address import SceneAddress
from pipelines.scenes.draw import Painter
from pipelines.scenes.verdict import Verdict
from pipelines.window_plan import WindowPlan

CRF: Final = 24  # as `pipelines.scenes.render`
GOP_S: Final = 2.0  # between keyframes, as a camera sends them
_STEP_S: Final = 0.25
_NEED: Final = 2  # windows that must show it: as many as a rule's debounce wants by default


@dataclass(frozen=True, slots=True)
class Shown:
    """A stretch of a recording, in seconds, in which something happens."""

    start_s: float
    end_s: float
    maybe: bool  # nobody can be asked to find it, see `shown`


def film(scene: SceneAddress, seconds: float, out: Path) -> Iterator[float]:
    """Write an MP4 of the scene's first `seconds`; gives the seconds written, again and again.

    Raises `OSError`.
    """
    painter = Painter(scene.stage, scene.width_px, scene.height_px)
    rate = Fraction(scene.fps).limit_denominator(1000)
    with av.open(str(out), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height = scene.width_px // 2 * 2, scene.height_px
        stream.pix_fmt = "yuv420p"
        stream.gop_size = round(GOP_S * scene.fps)
        stream.thread_count = 1
        stream.options = {"crf": str(CRF), "preset": "veryfast"}
        for tick in range(round(seconds * scene.fps)):
            t = tick / scene.fps
            image = painter.paint(scene.script.state_at(t), t)[:, : stream.width]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            yield t
        container.mux(stream.encode())


def shown(
    scene: SceneAddress, question: str, plan: WindowPlan, seconds: float, needed: int = _NEED
) -> tuple[Shown, ...]:
    """When that happens what `question` asks about.

    A `maybe` is what fewer than `needed` windows of `plan` can show, and what none shows plainly:
    somebody is half in the picture. Raises `KeyError` for a question whose truth the scenes do not
    know.
    """
    verdict = Verdict(scene.script, plan)
    found: list[Shown] = []
    unsure: list[float] = []  # ends of windows of which it is not false, since the last that is
    sure: list[float] = []  # those of them that show it
    steps = int((seconds - plan.span_s) / _STEP_S)
    for n in range(steps + 2):
        t = plan.span_s + n * _STEP_S
        answer = verdict.answer(question, t) if n <= steps else False
        if answer is not False:
            unsure.append(t)
            sure += [t] if answer else []
        elif unsure:
            enough = bool(sure) and sure[-1] - sure[0] >= needed * plan.stride_s + 2 * _STEP_S
            ends = sure or unsure
            found.append(_span(ends[0], ends[-1], plan, maybe=not enough))
            unsure, sure = [], []
    return tuple(found)


def _span(first_s: float, last_s: float, plan: WindowPlan, *, maybe: bool) -> Shown:
    """From ends of windows to the time itself.

    Windows that end from `b` to `a + span` show an event from `a` to `b` whole; those from `a` to
    `b + span` show some of a state that lasts from `a` to `b`. Either way the two times are what
    is left when the last window's span is taken off.
    """
    start_s, end_s = sorted((first_s, last_s - plan.span_s))
    return Shown(round(max(0.0, start_s), 2), round(end_s, 2), maybe)
