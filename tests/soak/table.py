"""What is shown of a soak?

Knows what was recorded, and makes lines of it; judges nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tests.soak.recorder import Arrival
from tests.soak.schedule import Fault
from tests.soak.verdict import MB, Recorded, duplicates, growth, lost, per_hour


def table(
    recorded: Recorded,
    faults: Sequence[Fault],
    arrivals: Sequence[Arrival],
    spans: Mapping[str, float],
    seed: int,
    seconds: float,
) -> Iterator[str]:
    """Lines of Markdown."""
    yield f"\n| soak of {seconds / 60:g} min, seed {seed} | |\n|---|---|"
    for name, value in _rows(recorded, faults, arrivals, spans):
        yield f"| {name} | {value} |"


def _rows(
    recorded: Recorded,
    faults: Sequence[Fault],
    arrivals: Sequence[Arrival],
    spans: Mapping[str, float],
) -> Iterator[tuple[str, str]]:
    kinds = Counter((fault.part.partition(" ")[0], fault.kind) for fault in faults)
    for part in ("camera", "broker", "disk", "daemon", "configuration"):
        found = {kind: count for (of, kind), count in kinds.items() if of == part}
        yield f"faults: {part} ({sum(found.values())})", _counts(found)
    health = _last_health(arrivals)
    yield "windows that the model looked at", f"{recorded.windows:,}"
    told = set(recorded.told) | set(recorded.logged)
    gone, arrived = len(lost(recorded)), len(set(recorded.arrived))
    yield (
        "alerts told, arrived, again, waiting, lost",
        f"{len(told):,}, {arrived:,}, {duplicates(recorded)}, {len(recorded.waiting)}, {gone}",
    )
    yield f"cameras offline ({recorded.offline.total()})", _counts(recorded.offline)
    links = recorded.log_events
    yield (
        "links to the broker, reloads, reloads refused",
        f"{links['mqtt.connected']}, {links['config.reloaded']}, {links['config.refused']}",
    )
    yield (
        "blind in the last life, % a camera",
        ", ".join(f"{name} {one['blind_time_pct']}" for name, one in health.items()),
    )
    yield "camera-seconds without a window", _counts({k: round(v) for k, v in spans.items()})
    yield from _costs(recorded)
    disk = {k: n for k, n in links.items() if k.startswith(("store.", "media.", "eventlog."))}
    yield "said of the disk", _counts(disk) or "nothing"
    yield "errors in the log", _counts(recorded.errors) or "none"


def _costs(recorded: Recorded) -> Iterator[tuple[str, str]]:
    longest = max(recorded.lives, key=lambda life: len(life.samples))
    lived_s = longest.samples[-1].at_s - longest.begun_s if longest.samples else 0.0
    yield "lives of the daemon, the longest", f"{len(recorded.lives)}, {lived_s / 60:.1f} min"
    for what, unit in (("memory", MB), ("files", 1), ("threads", 1)):
        grown, slope = growth(longest, what), per_hour(longest, what)
        if grown is not None and slope is not None:
            first, last = (value / unit for value in grown)
            yield (
                f"{what}{' in MB' if unit == MB else ''}, first and last third",
                f"{first:,.0f}, {last:,.0f} ({slope / unit:+.1f} an hour)",
            )
    stops = [life.stop_took_s for life in recorded.lives if life.how == "stopped"]
    yield "clean stops, the longest", f"{len(stops)}, {max(stops, default=0.0):.1f} s"
    unfed = max(life.longest_unfed_s for life in recorded.lives)
    yield "longest silence towards the watchdog", f"{unfed:.0f} s"


def _last_health(arrivals: Sequence[Arrival]) -> dict[str, dict[str, object]]:
    found = {}
    for arrival in arrivals:
        parts = arrival.topic.split("/")
        if parts[-1] == "health" and parts[1] != "bridge" and arrival.payload:
            found[parts[1]] = arrival.content
    return found


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
