"""In which order are rules judged?

Knows names and references alone. A rule comes after those that it refers to, so that it sees what
the same window changed; else the order is the configuration's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def judging_order(references: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """The names in order. Raises `ValueError` for a circle, see `circle`; others are ignored."""
    ordered: dict[str, None] = {}
    waiting = dict(references)
    while waiting:
        ready = [
            name for name, others in waiting.items()
            if all(other in ordered or other not in references for other in others)
        ]  # fmt: skip
        if not ready:
            raise ValueError(f"rules refer to each other in a circle: {', '.join(waiting)}")
        ordered[ready[0]] = None
        del waiting[ready[0]]
    return tuple(ordered)


def circle(name: str, references: Mapping[str, Iterable[str]]) -> tuple[str, ...] | None:
    """The way from a rule through others back to itself, both ends included; None without one."""
    ways: list[tuple[str, ...]] = [(name,)]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        for other in references.get(way[-1], ()):
            if other == name:
                return (*way, name)
            if other not in seen:
                seen.add(other)
                ways.append((*way, other))
    return None
