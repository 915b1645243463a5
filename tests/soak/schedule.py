"""Which faults come when?

Knows names and times, drawn from a seed; nothing of what a fault does.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

CALM_S: Final = 10.0  # at the beginning without any fault, so that there is something to disturb
# How long each kind lasts, in seconds. A cut, a reload and the like are over at once.
CAMERA: Final = {
    "disconnected": (2.0, 20.0),
    "stalled": (4.0, 25.0),
    "scrambled packets": (5.0, 20.0),
    "broken framing": (5.0, 15.0),
    "no answer": (5.0, 20.0),
    "error 500": (3.0, 15.0),
}
BROKER: Final = {"killed": (1.0, 15.0), "frozen": (3.0, 30.0), "lines cut": (0.0, 0.0)}
DISK: Final = {"full": (10.0, 30.0), "nearly full": (10.0, 30.0)}
SIGNAL: Final = {"reload": (0.0, 0.0), "reload of a mistake": (0.0, 0.0)}
RESTART: Final = {"killed": (0.5, 10.0), "stopped": (0.5, 5.0)}
# Memory is judged over one life of the process, so restarts come early and the last life is long.
RESTARTS_BEFORE: Final = 0.4


@dataclass(frozen=True, slots=True)
class Fault:
    """One of them, in seconds since the start."""

    at_s: float
    until_s: float
    part: str  # `camera NAME`, `broker`, `disk`, `daemon`, `configuration`
    kind: str


def schedule(
    seed: int, seconds: float, cameras: Sequence[str], *, has_disk: bool = True
) -> list[Fault]:
    """All faults, by their beginning. Those of one part never overlap; those of several may."""
    end_s = seconds
    rng = random.Random(seed)
    faults: list[Fault] = []
    for camera in cameras:
        faults += _of(rng, f"camera {camera}", CAMERA, (8.0, 40.0), end_s)
    faults += _of(rng, "broker", BROKER, (12.0, 45.0), end_s)
    if has_disk:
        faults += _of(rng, "disk", DISK, (25.0, 90.0), end_s)
    faults += _of(rng, "configuration", SIGNAL, (15.0, 60.0), end_s)
    faults += _of(rng, "daemon", RESTART, (20.0, 120.0), RESTARTS_BEFORE * end_s)
    return sorted(faults, key=lambda fault: fault.at_s)


def _of(
    rng: random.Random,
    part: str,
    kinds: Mapping[str, tuple[float, float]],
    pause_s: tuple[float, float],
    end_s: float,
) -> Iterator[Fault]:
    deck: list[str] = []
    at_s = CALM_S + rng.uniform(0.0, pause_s[0])
    while True:
        if not deck:  # each kind comes once before any comes twice
            deck = rng.sample(sorted(kinds), len(kinds))
        kind = deck.pop()
        until_s = at_s + rng.uniform(*kinds[kind])
        if until_s > end_s:
            return
        yield Fault(at_s, until_s, part, kind)
        at_s = until_s + rng.uniform(*pause_s)
