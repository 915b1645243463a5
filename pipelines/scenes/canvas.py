"""How are strokes painted?

Knows no things: relative coordinates in, pixels out. The same strokes can paint a class mask, which
is the ground truth of where everything is.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from pipelines.types import Image

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


def any_colour(rng: np.random.Generator, low: int = 20, high: int = 235) -> Colour:
    """A colour with each channel in `[low, high)`."""
    r, g, b = rng.integers(low, high, 3)
    return int(r), int(g), int(b)


def shade(colour: Colour, factor: float) -> Colour:
    """The colour, darker (`factor` below 1) or lighter."""
    r, g, b = (int(min(255, max(0, c * factor))) for c in colour)
    return r, g, b
