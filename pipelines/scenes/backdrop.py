"""What stands still behind everything, and how does light and noise fall on it?

Knows no actors: a wall, a ground, the door and decoration, drawn once for a stage.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from pipelines.scenes.canvas import Canvas, Colour, any_colour, shade
from pipelines.scenes.stage import Stage
from pipelines.types import Image

_GROUNDS: Final[dict[str, Colour]] = {
    "driveway": (120, 118, 115),
    "porch": (150, 130, 105),
    "street": (95, 97, 102),
    "yard": (85, 130, 70),
    "indoors": (165, 130, 95),
}


def paint_backdrop(rng: np.random.Generator, stage: Stage, width_px: int, height_px: int) -> Image:
    """A wall, a ground, the door, and decoration; still for the whole scene."""
    canvas = Canvas(np.zeros((height_px, width_px, 3), np.uint8))
    wall = any_colour(rng, 90, 225)
    horizon = stage.door_y - rng.uniform(0.04, 0.10)
    far = (170, 195, 225) if stage.place in ("street", "yard") else wall
    canvas.box(0, 0, 1, 1, far)
    if stage.place == "street":
        x = -0.05
        while x < 1.0:
            step = rng.uniform(0.15, 0.3)
            canvas.box(x, rng.uniform(0.05, 0.25), step, 1.0, any_colour(rng, 80, 200))
            x += step
    elif stage.place == "yard":
        canvas.box(0, rng.uniform(0.3, 0.4), 1, 1, any_colour(rng, 90, 170))
        for x in np.arange(0, 1, rng.uniform(0.05, 0.09)):
            canvas.line((x, 0.36), (x, horizon), 0.008, (70, 60, 50))
    ground = tuple(
        int(v) for v in np.clip(np.array(_GROUNDS[stage.place]) + rng.integers(-25, 26, 3), 0, 255)
    )
    canvas.box(0, horizon, 1, 1, (ground[0], ground[1], ground[2]))
    _decorate(rng, stage, canvas, horizon)
    _door(rng, stage, canvas, wall)
    return _textured(rng, canvas.image)


def _door(rng: np.random.Generator, stage: Stage, canvas: Canvas, wall: Colour) -> None:
    w, h = rng.uniform(0.13, 0.17), rng.uniform(0.42, 0.5)
    x, foot = stage.door_x - w / 2, stage.door_y - 0.03
    canvas.box(x - 0.06, foot - h - 0.08, w + 0.12, h + 0.08, wall)
    canvas.box(x - 0.012, foot - h - 0.02, w + 0.024, h + 0.02, shade(wall, 1.25))
    door = any_colour(rng, 40, 180)
    canvas.box(x, foot - h, w, h, door)
    canvas.box(x + 0.025, foot - h + 0.04, w - 0.05, h * 0.3, shade(door, 0.8))
    canvas.ellipse(x + w * 0.86, foot - h * 0.45, 0.006, 0.011, (220, 200, 120))
    canvas.box(x - 0.02, foot, w + 0.04, 0.05, shade(_GROUNDS[stage.place], 0.8))


def _decorate(rng: np.random.Generator, stage: Stage, canvas: Canvas, horizon: float) -> None:
    for _ in range(rng.integers(1, 4)):  # windows or pictures
        x = rng.uniform(0.02, 0.85)
        if abs(x + 0.06 - stage.door_x) > 0.18:
            y, w, h = rng.uniform(0.08, 0.25), rng.uniform(0.08, 0.14), rng.uniform(0.12, 0.2)
            canvas.box(x, y, w, h, any_colour(rng, 40, 220))
            canvas.box(x + 0.01, y + 0.015, w - 0.02, h - 0.03, any_colour(rng, 60, 200))
    if stage.place != "indoors":
        for _ in range(rng.integers(0, 4)):  # bushes
            x, r = rng.uniform(0, 1), rng.uniform(0.03, 0.07)
            green = (
                int(rng.integers(30, 80)),
                int(rng.integers(80, 140)),
                int(rng.integers(30, 70)),
            )
            canvas.ellipse(x, horizon - r * 0.3, r, r * 1.1, green)
    if stage.place in ("driveway", "street"):
        for x in np.arange(rng.uniform(-0.1, 0), 1, 0.22):  # lane marks or slabs
            canvas.line((x, 0.84), (x + 0.1, 0.84), 0.008, (190, 190, 180))
    if stage.place in ("porch", "indoors"):
        for y in np.linspace(horizon, 1, 7)[1:]:  # boards
            canvas.line((0, y), (1, y), 0.005, shade(_GROUNDS[stage.place], 0.75))
    for _ in range(rng.integers(0, 3)):  # stains and shadows on the ground
        colour = shade(_GROUNDS[stage.place], rng.uniform(0.75, 1.15))
        canvas.ellipse(
            rng.uniform(0, 1), rng.uniform(0.85, 1), rng.uniform(0.05, 0.2), 0.03, colour
        )


def _textured(rng: np.random.Generator, image: Image) -> Image:
    """Soft stains and grain, so that no surface is one flat colour."""
    height, width = image.shape[:2]
    total = np.zeros((height, width), np.float32)
    for cells, strength in ((6, 14.0), (24, 7.0), (90, 5.0)):
        coarse = rng.normal(0, strength, (cells, cells)).astype(np.float32)
        total += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(image + total[:, :, None], 0, 255), np.uint8)


def sensor_noise(
    rng: np.random.Generator, *, night: bool, width_px: int, height_px: int
) -> list[npt.NDArray[np.int16]]:
    """A few planes of sensor noise, used in turn: drawing new ones costs 10 ms a frame."""
    sigma = rng.uniform(4, 9) if night else rng.uniform(1, 4)
    planes = []
    for _ in range(5):
        grey = rng.normal(0, sigma, (height_px, width_px)).astype(np.int16)
        planes.append(np.repeat(grey[:, :, None], 3, axis=2))
    return planes


def lamp_light(rng: np.random.Generator, width_px: int, height_px: int) -> npt.NDArray[np.uint8]:
    """An infra-red lamp: bright in the middle, dark towards the corners; 0..255."""
    y, x = np.mgrid[0 : 1 : height_px * 1j, 0 : 1 : width_px * 1j]
    cx, cy = rng.uniform(0.35, 0.65), rng.uniform(0.45, 0.7)
    falloff = np.exp(-(((x - cx) / 0.75) ** 2 + ((y - cy) / 0.8) ** 2))
    return np.asarray(falloff * 255, np.uint8)
