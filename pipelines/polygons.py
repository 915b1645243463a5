"""Which part of a picture does a polygon mean?

Knows points relative to the picture's width and height, 0..1; no camera and no rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

Point = tuple[float, float]  # x and y, from the upper left corner
Polygon = tuple[Point, ...]

_SMALLEST = 1e-4  # share of the picture; a square of 1%


def problem_of(polygon: Sequence[Point]) -> str | None:
    """What is wrong with a polygon, and how to mend it; None if nothing is."""
    if len(polygon) < 3:
        return f"has {len(polygon)} points; expected at least three, such as a triangle's"
    for x, y in polygon:
        if not (0.0 <= x <= 1.0 and 0.0 <= y <= 1.0):
            return (
                f"has the point [{x:g}, {y:g}]; expected shares of the picture's width and height, "
                "from 0 (left, top) to 1 (right, bottom)"
            )
    if _crosses_itself(polygon):
        return "crosses itself; expected its corners in order around it"
    if _area(polygon) < _SMALLEST:
        return "is empty: its points lie on a line; expected an area"
    return None


def _area(polygon: Sequence[Point]) -> float:
    """The share of the picture within it (the shoelace formula)."""
    following = (*polygon[1:], polygon[0])
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(polygon, following, strict=True))) / 2


def _crosses_itself(polygon: Sequence[Point]) -> bool:
    edges = list(zip(polygon, (*polygon[1:], polygon[0]), strict=True))
    return any(
        _cross(*edges[i], *edges[j])
        for i, j in combinations(range(len(edges)), 2)
        if j - i not in {1, len(edges) - 1}  # neighbours share a corner
    )


def _cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether the edges a-b and c-d have a point in common."""
    turns = (_turn(a, b, c), _turn(a, b, d), _turn(c, d, a), _turn(c, d, b))
    if 0.0 in turns:
        return any(
            turn == 0.0 and _within(point, *edge)
            for turn, point, edge in zip(
                turns, (c, d, a, b), ((a, b), (a, b), (c, d), (c, d)), strict=True
            )
        )
    return turns[0] * turns[1] < 0 and turns[2] * turns[3] < 0


def _turn(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _within(point: Point, a: Point, b: Point) -> bool:
    """Whether a point of the line through `a` and `b` lies between them."""
    return all(min(a[i], b[i]) <= point[i] <= max(a[i], b[i]) for i in (0, 1))
