"""How is a part of a camera's picture looked at by itself?

Knows boxes, and the names of questions about them; no ring and no model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pipelines.polygons import Polygon
from pipelines.types import Image

_MARK: Final = " [zone "
_SMALLEST_PX: Final = 2


@dataclass(frozen=True, slots=True)
class Zone:
    """The box around a polygon, as shares of the picture's width and height, 0..1."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def around(cls, polygon: Polygon) -> Zone:
        """The smallest box that holds all corners."""
        xs, ys = zip(*polygon, strict=True)
        return cls(min(xs), min(ys), max(xs), max(ys))

    @property
    def name(self) -> str:
        """The same for the same box, whichever rule it is of."""
        return f"{self.left:g},{self.top:g} to {self.right:g},{self.bottom:g}"

    def crop(self, image: Image) -> Image:
        """A view of the pixels of `image` ([H, W, 3]) that the box touches."""
        height_px, width_px = image.shape[:2]
        left, right = _span(self.left, self.right, width_px)
        top, bottom = _span(self.top, self.bottom, height_px)
        return image[top:bottom, left:right]

    def question(self, text: str) -> str:
        """The name of a question about the zone: not that of the same one about all."""
        return f"{text}{_MARK}{self.name}]"


def plain_question(name: str) -> str:
    """The question itself, without its zone: what the model is asked."""
    return name.partition(_MARK)[0]


def _span(start: float, end: float, edge_px: int) -> tuple[int, int]:
    first = min(int(start * edge_px), edge_px - _SMALLEST_PX)
    return first, max(first + _SMALLEST_PX, -int(-end * edge_px // 1))
