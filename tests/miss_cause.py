"""Does `why` tell the right cause of a miss?

Knows a rule, what is stored and what was missed. The cause is found again from the stored answers
and events alone, and what `why` said is held against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from daemon.store_events import EventFilter, events
from daemon.store_queries import why
from pipelines.rules import Rule
from pipelines.scenes.verdict import Stretch


@dataclass(frozen=True, slots=True)
class Cause:
    """What `why` says of the windows of a miss, and what is wrong with that; empty if all is right.

    A miss of which nothing is said is wrong, too.
    """

    said: tuple[str, ...]
    wrong: tuple[str, ...]


def cause_of_miss(path: Path, camera: str, rule: Rule, begun: float, missed: Stretch) -> Cause:
    """Ask `why` of the moment from which the rule's answer was yes."""
    first, last = begun + missed.start_s, begun + missed.end_s
    known = why(path, camera, first)
    windows = [w for w in known["windows"] if first - 0.5 <= w["ended"] <= last + 0.5]
    if not windows:
        spans = tuple(f"{span['cause']}: {span['detail']}" for span in known["spans"])
        return Cause(spans, () if spans else (f"nothing is known of {missed}",))
    told = [e for _, e in events(path, EventFilter(limit=100_000, camera=camera, rule=rule.name))]
    said = []
    wrong = []
    for window in windows:
        p_yes, verdict = window["answers"][rule.ask], window["rules"][rule.name]
        said.append(f"{window['ended'] - begun:.1f} s: p_yes {p_yes:.3f}, {verdict}")
        if not is_right(rule, window, [e for e in told if _time(e) <= window["ended"] + 0.001]):
            wrong.append(said[-1])
    return Cause(tuple(said), tuple(wrong))


def is_right(rule: Rule, window: dict[str, Any], before: list[dict[str, Any]]) -> bool:
    """Whether the verdict follows from the answer and the rule's events until then."""
    p_yes, verdict = window["answers"][rule.ask], window["rules"][rule.name]
    last = before[-1] if before else None
    if last is not None and last["event_type"] != "rule_clear":
        return bool(verdict == "on")
    if p_yes < rule.open_above:
        closed = last is not None and _time(last) >= window["ended"] - 0.001
        lacks = (
            f"closed: not above close_below: {rule.close_below:g}"
            if closed
            else (f"below open_above: {rule.open_above:g}")
        )
        return bool(verdict == lacks)
    cools = last is not None and window["ended"] - _time(last) < rule.cooldown_s
    if verdict == f"true, but within cooldown_s: {rule.cooldown_s:g} of its last event":
        return cools
    # One window was true, and not yet enough of them.
    needed, of = rule.debounce.needed, rule.debounce.of
    counts = [f"true, but only {n} so far of debounce: {{needed: {needed}, of: {of}}}"
              for n in range(1, needed)]  # fmt: skip
    return verdict in counts


def _time(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["ts"]).timestamp()
