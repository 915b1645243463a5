"""How does a state look?

Knows no events: it paints a stage and what stands on it, at any size, by day or in the grey of an
infra-red lamp at night, with sensor noise. The same strokes can paint a class mask, which is the
ground truth of where everything is.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from pipelines.scenes.stage import HEIGHT, WIDTH, Kind, Stage, State, Thing, depth_scale
from pipelines.types import Image

CLASSES: Final[dict[Kind, int]] = {"person": 1, "car": 2, "dog": 3, "package": 4}
_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates: motion below a pixel stays smooth
_ONE = 1 << _SHIFT
Colour = tuple[int, int, int]


class Canvas:
    """A picture, and optionally its class mask, painted with the same strokes."""

    def __init__(self, image: Image, mask: npt.NDArray[np.uint8] | None = None) -> None:
        self.image = image
        self.mask = mask
        self.height, self.width = image.shape[:2]
        self.label = 0  # of the strokes that follow

    def _px(self, x: float, y: float) -> tuple[int, int]:
        return int(x * self.width * _ONE), int(y * self.height * _ONE)

    def polygon(self, points: list[tuple[float, float]], colour: Colour) -> None:
        """Fill a polygon of relative points."""
        pixels = np.array([self._px(x, y) for x, y in points], np.int32)
        cv2.fillPoly(self.image, [pixels], colour, cv2.LINE_AA, _SHIFT)
        if self.mask is not None and self.label:
            cv2.fillPoly(self.mask, [pixels], self.label, cv2.LINE_8, _SHIFT)

    def box(self, x: float, y: float, w: float, h: float, colour: Colour) -> None:
        """Fill a rectangle given by its upper left corner and size."""
        self.polygon([(x, y), (x + w, y), (x + w, y + h), (x, y + h)], colour)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """Fill an ellipse; `rx` relative to the width, `ry` to the height."""
        axes = (max(1, int(rx * self.width * _ONE)), max(1, int(ry * self.height * _ONE)))
        args = (self._px(x, y), axes, 0, 0, 360)
        cv2.ellipse(self.image, *args, colour, -1, cv2.LINE_AA, _SHIFT)
        if self.mask is not None and self.label:
            cv2.ellipse(self.mask, *args, self.label, -1, cv2.LINE_8, _SHIFT)

    def line(
        self, start: tuple[float, float], end: tuple[float, float], width: float, colour: Colour
    ) -> None:
        """Draw a stroke; `width` is relative to the picture's height."""
        thick = max(1, round(width * self.height))
        a, b = self._px(*start), self._px(*end)
        cv2.line(self.image, a, b, colour, thick, cv2.LINE_AA, _SHIFT)
        if self.mask is not None and self.label:
            cv2.line(self.mask, a, b, self.label, thick, cv2.LINE_8, _SHIFT)


def _colour(rng: np.random.Generator, low: int = 20, high: int = 235) -> Colour:
    r, g, b = rng.integers(low, high, 3)
    return int(r), int(g), int(b)


def _shade(colour: Colour, factor: float) -> Colour:
    r, g, b = (int(min(255, max(0, c * factor))) for c in colour)
    return r, g, b


class Painter:
    """Paints one stage's frames at one size, `[height_px, width_px, 3]` uint8 RGB.

    The background and the noise are made once; a 640x360 frame then takes about 2 ms on one core.
    """

    def __init__(self, stage: Stage, width_px: int, height_px: int) -> None:
        self.stage = stage
        rng = np.random.default_rng([stage.look_seed, 7])
        self._clothes = (_colour(rng), _colour(rng), _colour(rng, 60, 230))
        skin = 90 + int(rng.integers(0, 130))
        self._skin: Colour = (min(255, skin + 30), skin, max(0, skin - 25))
        self._car = _colour(rng, 15, 240)
        fur = int(rng.integers(20, 170))
        self._fur: Colour = (min(255, fur + 30), fur + 10, fur)
        paper = int(rng.integers(110, 190))
        self._paper: Colour = (paper + 40, paper, paper - 50)
        self._background = _background(rng, stage, width_px, height_px)
        self._noise = _noise(rng, night=stage.night, width_px=width_px, height_px=height_px)
        self._lamp = _lamp(rng, width_px, height_px) if stage.night else None
        self._gain = float(rng.uniform(0.55, 0.85) if stage.night else rng.uniform(0.82, 1.15))

    def paint(self, state: State, t: float) -> Image:
        """The frame of one moment, `t` seconds into the scene."""
        return self._expose(self._place(state, None), t)

    def paint_with_mask(self, state: State, t: float) -> tuple[Image, npt.NDArray[np.uint8]]:
        """The same, and each pixel's class `[H, W]`: 0 for background, else `CLASSES`."""
        mask = np.zeros(self._background.shape[:2], np.uint8)
        return self._expose(self._place(state, mask), t), mask

    def _place(self, state: State, mask: npt.NDArray[np.uint8] | None) -> Image:
        canvas = Canvas(self._background.copy(), mask)
        for thing in state.things():
            canvas.label = CLASSES[thing.kind]
            if thing.kind == "person":
                self._person(canvas, thing)
            elif thing.kind == "car":
                self._draw_car(canvas, thing)
            elif thing.kind == "dog":
                self._dog(canvas, thing)
            else:
                self._package(canvas, thing.x, thing.y, depth_scale(thing.y))
        return canvas.image

    def _expose(self, image: Image, t: float) -> Image:
        """Light, lamp and sensor noise."""
        gain = self._gain * (1.0 + 0.03 * np.sin(0.21 * t + self.stage.look_seed % 7))
        if self._lamp is not None:
            grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
            grey = cv2.multiply(grey, self._lamp, scale=gain / 160.0, dtype=cv2.CV_8U)
            image = np.repeat(np.asarray(grey, np.uint8)[:, :, None], 3, axis=2)
        else:
            image = np.asarray(cv2.convertScaleAbs(image, alpha=gain, beta=4), np.uint8)
        plane = self._noise[int(t * 97) % len(self._noise)]
        return np.asarray(cv2.add(image, plane, dtype=cv2.CV_8U), np.uint8)

    def _person(self, c: Canvas, p: Thing) -> None:
        s = depth_scale(p.y)
        h, w = HEIGHT["person"] * s, WIDTH["person"] * s
        shirt, trousers, hat = self._clothes
        bend = p.stooping * 0.22 * h
        hip, neck, head = p.y - 0.46 * h, p.y - 0.82 * h + bend, p.y - 0.91 * h + bend * 1.2
        lean = p.facing * p.stooping * 0.25 * w
        swing = (0.30 * np.sin(p.phase) if p.moving else 0.06) * w
        c.ellipse(p.x, p.y, 0.34 * w, 0.015 * s, _shade(self._fur, 0.4))  # the shadow at the feet
        for side in (-1, 1):
            c.line((p.x + side * 0.07 * w, hip), (p.x + side * swing, p.y), 0.085 * h, trousers)
        c.polygon(
            [
                (p.x - 0.20 * w, hip), (p.x + 0.20 * w, hip),
                (p.x + 0.26 * w + lean, neck), (p.x - 0.26 * w + lean, neck),
            ],
            shirt,
        )  # fmt: skip
        hand = 0.10 * h * p.stooping
        for side in (-1, 1):
            reach = -side * swing * 0.9 if not p.carrying else p.facing * 0.30 * w
            end = (p.x + reach + side * 0.10 * w + lean, hip - 0.02 * h + hand + bend)
            c.line(
                (p.x + side * 0.25 * w + lean, neck + 0.03 * h), end, 0.05 * h, _shade(shirt, 0.85)
            )
        c.ellipse(p.x + 1.5 * lean, head, 0.17 * w, 0.085 * h, self._skin)
        c.ellipse(p.x + 1.5 * lean, head - 0.035 * h, 0.18 * w, 0.055 * h, hat)
        if p.carrying:
            label, c.label = c.label, CLASSES["package"]
            self._package(
                c, p.x + p.facing * 0.22 * w + lean, hip + 0.08 * h + hand + bend, s * 0.95
            )
            c.label = label

    def _package(self, c: Canvas, x: float, y: float, s: float) -> None:
        w, h = WIDTH["package"] * s, HEIGHT["package"] * s
        c.box(x - w / 2, y - h, w, h, self._paper)
        c.polygon(
            [
                (x - w / 2, y - h), (x - w * 0.36, y - h * 1.22),
                (x + w * 0.64, y - h * 1.22), (x + w / 2, y - h),
            ],
            _shade(self._paper, 1.2),
        )  # fmt: skip
        c.box(x - w * 0.07, y - h, w * 0.14, h, _shade(self._paper, 0.6))

    def _draw_car(self, c: Canvas, car: Thing) -> None:
        s = depth_scale(car.y)
        w, h, f = WIDTH["car"] * s, HEIGHT["car"] * s, car.facing
        left, top = car.x - w / 2, car.y - h
        c.ellipse(car.x, car.y - 0.03 * h, 0.5 * w, 0.09 * h, (30, 30, 30))
        c.polygon(
            [
                (left, car.y - 0.18 * h), (left, top + 0.45 * h), (left + 0.15 * w, top + 0.38 * h),
                (car.x - 0.26 * w, top), (car.x + 0.26 * w, top),
                (left + 0.86 * w, top + 0.38 * h), (left + w, top + 0.5 * h),
                (left + w, car.y - 0.18 * h),
            ],
            self._car,
        )  # fmt: skip
        glass = (60, 75, 90)
        for side in (-1, 1):
            x0, x1, x2 = car.x + side * 0.02 * w, car.x + side * 0.23 * w, car.x + side * 0.30 * w
            c.polygon(
                [
                    (x0, top + 0.06 * h),
                    (x1, top + 0.06 * h),
                    (x2, top + 0.36 * h),
                    (x0, top + 0.36 * h),
                ],
                glass,
            )
            wheel = (car.x + side * 0.29 * w, car.y - 0.15 * h)
            c.ellipse(*wheel, 0.095 * w, 0.16 * h, (25, 25, 25))
            spoke = car.phase + side
            hub = (wheel[0] + 0.03 * w * np.cos(spoke), wheel[1] + 0.05 * h * np.sin(spoke))
            c.ellipse(*hub, 0.035 * w, 0.06 * h, (150, 150, 150))
        c.ellipse(car.x + f * 0.46 * w, top + 0.58 * h, 0.03 * w, 0.06 * h, (250, 245, 210))
        c.ellipse(car.x - f * 0.47 * w, top + 0.56 * h, 0.02 * w, 0.05 * h, (190, 30, 25))

    def _dog(self, c: Canvas, d: Thing) -> None:
        s = depth_scale(d.y)
        h, w, f = HEIGHT["dog"] * s, WIDTH["dog"] * s, d.facing
        back = d.y - 0.62 * h
        dark = _shade(self._fur, 0.75)
        for i, x in enumerate((-0.30, -0.22, 0.18, 0.27)):
            swing = 0.13 * w * np.sin(d.phase + i * 1.9)
            c.line((d.x + x * w, back), (d.x + x * w + swing, d.y), 0.10 * h, dark)
        c.ellipse(d.x, back, 0.36 * w, 0.22 * h, self._fur)
        c.ellipse(d.x + f * 0.38 * w, back - 0.26 * h, 0.14 * w, 0.16 * h, self._fur)
        c.ellipse(d.x + f * 0.48 * w, back - 0.20 * h, 0.07 * w, 0.08 * h, dark)
        c.line(
            (d.x - f * 0.33 * w, back - 0.05 * h),
            (d.x - f * 0.5 * w, back - 0.35 * h),
            0.09 * h,
            dark,
        )


_GROUNDS: Final[dict[str, Colour]] = {
    "driveway": (120, 118, 115),
    "porch": (150, 130, 105),
    "street": (95, 97, 102),
    "yard": (85, 130, 70),
    "indoors": (165, 130, 95),
}


def _background(rng: np.random.Generator, stage: Stage, width_px: int, height_px: int) -> Image:
    """A wall, a ground, the door, and decoration; still for the whole scene."""
    canvas = Canvas(np.zeros((height_px, width_px, 3), np.uint8))
    wall = _colour(rng, 90, 225)
    horizon = stage.door_y - rng.uniform(0.04, 0.10)
    far = (170, 195, 225) if stage.place in ("street", "yard") else wall
    canvas.box(0, 0, 1, 1, far)
    if stage.place == "street":
        x = -0.05
        while x < 1.0:
            step = rng.uniform(0.15, 0.3)
            canvas.box(x, rng.uniform(0.05, 0.25), step, 1.0, _colour(rng, 80, 200))
            x += step
    elif stage.place == "yard":
        canvas.box(0, rng.uniform(0.3, 0.4), 1, 1, _colour(rng, 90, 170))
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
    canvas.box(x - 0.012, foot - h - 0.02, w + 0.024, h + 0.02, _shade(wall, 1.25))
    door = _colour(rng, 40, 180)
    canvas.box(x, foot - h, w, h, door)
    canvas.box(x + 0.025, foot - h + 0.04, w - 0.05, h * 0.3, _shade(door, 0.8))
    canvas.ellipse(x + w * 0.86, foot - h * 0.45, 0.006, 0.011, (220, 200, 120))
    canvas.box(x - 0.02, foot, w + 0.04, 0.05, _shade(_GROUNDS[stage.place], 0.8))


def _decorate(rng: np.random.Generator, stage: Stage, canvas: Canvas, horizon: float) -> None:
    for _ in range(rng.integers(1, 4)):  # windows or pictures
        x = rng.uniform(0.02, 0.85)
        if abs(x + 0.06 - stage.door_x) > 0.18:
            y, w, h = rng.uniform(0.08, 0.25), rng.uniform(0.08, 0.14), rng.uniform(0.12, 0.2)
            canvas.box(x, y, w, h, _colour(rng, 40, 220))
            canvas.box(x + 0.01, y + 0.015, w - 0.02, h - 0.03, _colour(rng, 60, 200))
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
            canvas.line((0, y), (1, y), 0.005, _shade(_GROUNDS[stage.place], 0.75))
    for _ in range(rng.integers(0, 3)):  # stains and shadows on the ground
        colour = _shade(_GROUNDS[stage.place], rng.uniform(0.75, 1.15))
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


def _noise(
    rng: np.random.Generator, *, night: bool, width_px: int, height_px: int
) -> list[npt.NDArray[np.int16]]:
    """A few planes of sensor noise, used in turn: drawing new ones costs 10 ms a frame."""
    sigma = rng.uniform(4, 9) if night else rng.uniform(1, 4)
    planes = []
    for _ in range(5):
        grey = rng.normal(0, sigma, (height_px, width_px)).astype(np.int16)
        planes.append(np.repeat(grey[:, :, None], 3, axis=2))
    return planes


def _lamp(rng: np.random.Generator, width_px: int, height_px: int) -> npt.NDArray[np.uint8]:
    """An infra-red lamp: bright in the middle, dark towards the corners; 0..255."""
    y, x = np.mgrid[0 : 1 : height_px * 1j, 0 : 1 : width_px * 1j]
    cx, cy = rng.uniform(0.35, 0.65), rng.uniform(0.45, 0.7)
    falloff = np.exp(-(((x - cx) / 0.75) ** 2 + ((y - cy) / 0.8) ** 2))
    return np.asarray(falloff * 255, np.uint8)
