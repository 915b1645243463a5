"""What does the bundled model learn from?

Knows no model: it draws training clips, each a few frames of one act as a camera would deliver
them (any frame rate, frames repeated and dropped, through H.264), with their truth in both orders.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import av
import cv2
import numpy as np
import numpy.typing as npt

from pipelines.scenes.acts import EVENT_NAMES, Act, EventName, events_of, random_act
from pipelines.scenes.draw import Painter
from pipelines.scenes.stage import random_stage
from pipelines.scenes.truth import WindowTruth
from pipelines.types import Image

FRAMES: Final = 8
WIDTH_PX: Final = 128  # the bundled model's frame, before it is squashed to a square
HEIGHT_PX: Final = 72
GRID: Final = 16  # patches an axis


@dataclass(frozen=True)
class Clip:
    """One training clip."""

    event: EventName
    frames: npt.NDArray[np.uint8]  # [8, 72, 128, 3] RGB; unused ones are black
    classes: npt.NDArray[np.uint8]  # [8, 16, 16] of `draw.CLASSES`, 0 for background
    times_s: tuple[float, ...]  # of the used frames, from the window's start
    truth: WindowTruth


def draw_event(rng: np.random.Generator, event: EventName | None = None) -> Act:
    """An act of `event` (any, if left out) on a random stage where it can happen."""
    name = event if event is not None else EVENT_NAMES[rng.integers(len(EVENT_NAMES))]
    while True:
        stage = random_stage(rng)
        if name in events_of(stage.place):
            return random_act(rng, name, stage)


def draw_clip(rng: np.random.Generator) -> Clip:
    """One clip, all of it drawn from `rng`."""
    act = draw_event(rng)
    times = _frame_times(rng, act)
    shown = _repeated(rng, len(times))
    width = 640 if rng.random() < 0.2 else 320
    painter = Painter(act.stage, width, width * 9 // 16)
    drawn = [painter.paint_with_mask(act.state_at(times[i]), 10.0 + times[i]) for i in shown]
    images = [image for image, _ in drawn]
    if rng.random() < 0.75:
        images = through_h264(images, crf=int(rng.integers(20, 35)))
    frames = np.zeros((FRAMES, HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    classes = np.zeros((FRAMES, GRID, GRID), np.uint8)
    shrink = cv2.INTER_AREA if rng.random() < 0.7 else cv2.INTER_LINEAR_EXACT
    for i, (image, (_, mask)) in enumerate(zip(images, drawn, strict=True)):
        frames[i] = cv2.resize(image, (WIDTH_PX, HEIGHT_PX), interpolation=shrink)
        classes[i] = patch_classes(mask)
    start = times[0]
    return Clip(
        act.event,
        frames,
        classes,
        tuple(t - start for t in times),
        WindowTruth.of([act.state_at(times[i]) for i in shown], night=act.stage.night),
    )


def _frame_times(rng: np.random.Generator, act: Act) -> list[float]:
    """Times of the frames in seconds of the act: most windows hold all of it, some a part."""
    num_frames = FRAMES if rng.random() < 0.85 else int(rng.integers(4, FRAMES))
    interval = rng.uniform(0.95, 1.15) if rng.random() < 0.5 else rng.uniform(0.4, 1.4)
    steps = np.full(num_frames, interval)
    if rng.random() < 0.5:
        steps *= rng.uniform(0.8, 1.2, num_frames)
    if rng.random() < 0.15:
        steps[rng.integers(num_frames)] *= 2  # a frame was dropped
    times = np.cumsum(steps)
    span = float(times[-1] - times[0])
    slack = span - act.duration_s
    if slack > 0.2 and rng.random() < 0.6:
        begin = -rng.uniform(0.05, slack)
    else:
        begin = rng.uniform(-span * 1.05, act.duration_s * 1.05)
    return [float(t) for t in times - times[0] + begin]


def _repeated(rng: np.random.Generator, count: int) -> list[int]:
    """Which drawn frame each shown frame is: now and then the one before is shown again."""
    shown = list(range(count))
    if rng.random() < 0.15:
        i = int(rng.integers(1, count))
        shown[i] = shown[i - 1]
    return shown


def patch_classes(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """`[H, W]` pixel classes to `[16, 16]` patch classes: the commonest with 15% or more."""
    small = cv2.resize(mask, (GRID * 8, GRID * 8), interpolation=cv2.INTER_NEAREST)
    patches = small.reshape(GRID, 8, GRID, 8).transpose(0, 2, 1, 3).reshape(GRID, GRID, 64)
    counts = np.stack([(patches == c).sum(-1) for c in range(1, 5)], -1)  # [16, 16, classes]
    best = counts.argmax(-1) + 1
    return np.where(counts.max(-1) >= 10, best, 0).astype(np.uint8)


def encode_h264(images: Sequence[Image], fps: int, crf: int, target: io.IOBase | str) -> None:
    """Write frames as an H.264 MP4; `target` is a path or a seekable binary file."""
    # Moving the index to the front reopens the target by its name: only files have one.
    options = {"movflags": "faststart"} if isinstance(target, str) else {}
    with av.open(target, "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        stream.options = {"crf": str(crf), "preset": "veryfast"}
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def through_h264(images: Sequence[Image], crf: int) -> list[Image]:
    """The frames as they come out of an H.264 stream: what a camera's compression leaves."""
    buffer = io.BytesIO()
    encode_h264(images, 10, crf, buffer)
    buffer.seek(0)
    with av.open(buffer, "r") as container:
        decoded = container.decode(video=0)
        return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in decoded]
