"""How does a state look?

Knows no events: it paints a stage and what stands on it, at any size, by day or in the grey of an
infra-red lamp at night, with sensor noise.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from pipelines.scenes.backdrop import lamp_light, paint_backdrop, sensor_noise
from pipelines.scenes.canvas import Canvas, Colour, any_colour, shade
from pipelines.scenes.stage import HEIGHT, WIDTH, Kind, Stage, State, Thing, depth_scale
from pipelines.types import Image

CLASSES: Final[dict[Kind, int]] = {"person": 1, "car": 2, "dog": 3, "package": 4}


class Painter:
    """Paints one stage's frames at one size, `[height_px, width_px, 3]` uint8 RGB.

    The background and the noise are made once; a 640x360 frame then takes about 2 ms on one core.
    """

    def __init__(self, stage: Stage, width_px: int, height_px: int) -> None:
        self.stage = stage
        rng = np.random.default_rng([stage.look_seed, 7])
        self._clothes = (any_colour(rng), any_colour(rng), any_colour(rng, 60, 230))
        skin = 90 + int(rng.integers(0, 130))
        self._skin: Colour = (min(255, skin + 30), skin, max(0, skin - 25))
        self._car = any_colour(rng, 15, 240)
        fur = int(rng.integers(20, 170))
        self._fur: Colour = (min(255, fur + 30), fur + 10, fur)
        paper = int(rng.integers(110, 190))
        self._paper: Colour = (paper + 40, paper, paper - 50)
        self._background = paint_backdrop(rng, stage, width_px, height_px)
        self._noise = sensor_noise(rng, night=stage.night, width_px=width_px, height_px=height_px)
        self._lamp = lamp_light(rng, width_px, height_px) if stage.night else None
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
        c.ellipse(p.x, p.y, 0.34 * w, 0.015 * s, shade(self._fur, 0.4))  # the shadow at the feet
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
                (p.x + side * 0.25 * w + lean, neck + 0.03 * h), end, 0.05 * h, shade(shirt, 0.85)
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
            shade(self._paper, 1.2),
        )  # fmt: skip
        c.box(x - w * 0.07, y - h, w * 0.14, h, shade(self._paper, 0.6))

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
        dark = shade(self._fur, 0.75)
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
