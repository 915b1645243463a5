"""Was anything lost, and did anything grow?

Knows what was recorded; pure.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from tests.soak.process import WATCHDOG_S, Life, Sample

MB: Final = 1 << 20
# Bytes between the first and the last third of a life's samples. Of a few minutes the first third
# is still warming up: caches, fragments, each thread's first allocation.
MEMORY_ROOM: Final = 24 * MB
SHORT_ROOM, SHORT_S = 64 * MB, 600.0
ROOM: Final = 4  # files and threads: a camera that is just connecting has some more
# Features of frames fill their 64 MiB in nine minutes, with nine cameras and the bundled model.
WARM_UP_S: Final = 540.0
FEW: Final = 30  # samples; fewer say nothing


@dataclass(slots=True)
class Recorded:
    """What came of a soak. Ids are those of `rule_*` events, each list in its own order."""

    told: Sequence[str]  # in the store and on its way, in the order of the store
    logged: Sequence[str]  # in the event log
    waiting: frozenset[str]  # still in the outbox when all was over
    arrived: Sequence[str]  # over MQTT
    lives: Sequence[Life]
    errors: Counter[str] = field(default_factory=Counter)  # log lines of that level, by event
    log_events: Counter[str] = field(default_factory=Counter)  # all log lines
    offline: Counter[str] = field(default_factory=Counter)  # how often a camera was, by cause
    windows: int = 0
    tracebacks: int = 0


def failures(recorded: Recorded) -> list[str]:
    """What is wrong, in words; none if all is well."""
    return [*_lost(recorded), *_disorder(recorded), *_costs(recorded), *_ends(recorded)]


def duplicates(recorded: Recorded) -> int:
    """How many arrived more than once, counting each further time."""
    return len(recorded.arrived) - len(set(recorded.arrived))


def lost(recorded: Recorded) -> list[str]:
    """What was told, and never arrived, and does not wait either."""
    there = set(recorded.arrived) | recorded.waiting
    told = dict.fromkeys([*recorded.told, *recorded.logged])
    return [event_id for event_id in told if event_id not in there]


def growth(life: Life, what: str) -> tuple[float, float] | None:
    """The medians of a figure in the first and the last third of a life after its warm-up."""
    settled = settled_samples(life)
    if len(settled) < FEW:
        return None
    third = len(settled) // 3
    values = [float(getattr(sample, what)) for sample in settled]
    return statistics.median(values[:third]), statistics.median(values[-third:])


def per_hour(life: Life, what: str) -> float | None:
    """The slope of a figure after the warm-up, by least squares."""
    settled = settled_samples(life)
    if len(settled) < FEW:
        return None
    times = [sample.at_s / 3600 for sample in settled]
    return statistics.linear_regression(times, [getattr(s, what) for s in settled]).slope


def settled_samples(life: Life) -> list[Sample]:
    """Those after the warm-up: nine minutes, or two fifths of a shorter life."""
    if not life.samples:
        return []
    begun_s, ended_s = life.samples[0].at_s, life.samples[-1].at_s
    warm_s = begun_s + min(WARM_UP_S, 0.4 * (ended_s - begun_s))
    return [sample for sample in life.samples if sample.at_s >= warm_s]


def _lost(recorded: Recorded) -> list[str]:
    gone = lost(recorded)
    found = [f"{len(gone)} alerts were lost: {', '.join(gone[:5])}"] if gone else []
    if not recorded.arrived:
        found.append("no alert arrived at all: nothing was tried")
    unknown = set(recorded.arrived) - set(recorded.told) - set(recorded.logged)
    if unknown:
        found.append(f"{len(unknown)} alerts arrived that the store knows nothing of")
    return found


def _disorder(recorded: Recorded) -> list[str]:
    place = {event_id: number for number, event_id in enumerate(recorded.told)}
    first = [place[one] for one in dict.fromkeys(recorded.arrived) if one in place]
    wrong = sum(later < earlier for earlier, later in pairwise(first))
    return [f"{wrong} alerts arrived before one that was told earlier"] if wrong else []


def _costs(recorded: Recorded) -> list[str]:
    longest = max(recorded.lives, key=lambda life: len(life.samples))
    is_short = longest.samples[-1].at_s - longest.samples[0].at_s < SHORT_S
    memory_room = SHORT_ROOM if is_short else MEMORY_ROOM
    found = []
    for what, room in (("memory", memory_room), ("files", ROOM), ("threads", ROOM)):
        grown = growth(longest, what)
        if grown is None:
            found.append(f"too few samples of {what}: the process lived too short")
        elif grown[1] - grown[0] > room:
            found.append(f"{what} grew from {grown[0]:,.0f} to {grown[1]:,.0f}")
    return found


def _ends(recorded: Recorded) -> list[str]:
    found = [
        f"a stop ended with {life.code} after {life.stop_took_s:.1f} s"
        for life in recorded.lives
        if life.how == "stopped" and life.code != 0
    ]
    found += [
        f"the watchdog heard nothing for {life.longest_unfed_s:.0f} s"
        for life in recorded.lives
        if life.longest_unfed_s > WATCHDOG_S
    ]
    if recorded.tracebacks:
        found.append(f"{recorded.tracebacks} tracebacks stand in the log")
    return found
