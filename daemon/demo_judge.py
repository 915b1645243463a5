"""Were the demo's alerts true, and were they all there?

Knows scripts, rules and what was heard; nothing of how it was run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pipelines.rules import Rule
from pipelines.scenes.script import Script
from pipelines.scenes.verdict import Stretch, Verdict
from pipelines.window_plan import WindowPlan

# What happens in the last seconds is not expected: the alert may not have come before the end.
_TAIL_S: Final = 5.0
_EARLY_S: Final = 0.5
_LATE_S: Final = 3.0  # an alert may come so long after the last window that shows its reason


@dataclass
class Heard:
    """What arrived over MQTT, each event with `at_s`: the script's second of its newest frame."""

    alerts: list[dict[str, Any]] = field(default_factory=list)
    descriptions: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Shown:
    """What one camera showed, and what was asked of it."""

    script: Script
    plan: WindowPlan
    rules: tuple[Rule, ...]
    seen_s: float  # how long it was watched


@dataclass(frozen=True, slots=True)
class Judgement:
    """`problems` in words, empty if all is well; how many alerts were `expected`."""

    problems: tuple[str, ...]
    expected: int


def judge(shown: Mapping[str, Shown], heard: Heard, least_kinds: int) -> Judgement:
    """Hold what was heard against what was shown."""
    problems: list[str] = []
    expected = 0
    for camera, was in shown.items():
        verdict = Verdict(was.script, was.plan)
        first_s, last_s = was.plan.span_s + 1.0, was.seen_s - _TAIL_S
        for rule in was.rules:
            alerts = [a for a in heard.alerts if (a["camera"], a["rule"]) == (camera, rule.name)]
            wanted = verdict.expected(rule.ask, rule.debounce.needed, first_s, last_s)
            expected += len(wanted)
            problems += _missing(camera, rule, wanted, alerts)
            problems += [
                f"false: {rule.name} on {camera} at {alert['at_s']:.1f} s"
                for alert in alerts
                if verdict.is_false(rule.ask, alert["at_s"])
            ]
    kinds = {alert["rule"] for alert in heard.alerts}
    if len(kinds) < least_kinds:
        problems.append(f"only {len(kinds)} kinds of alerts; {least_kinds} were to be seen")
    return Judgement(tuple(problems), expected)


def _missing(
    camera: str, rule: Rule, wanted: list[Stretch], alerts: list[dict[str, Any]]
) -> list[str]:
    """Each stretch must have led to one alert."""
    problems = []
    for stretch in wanted:
        count = sum(_answers(alert, stretch) for alert in alerts)
        where = f"{rule.name} on {camera}, true at {stretch.start_s:.1f}-{stretch.end_s:.1f} s"
        if count != 1:
            problems.append(f"missing: {where}" if count == 0 else f"{count} times: {where}")
    return problems


def _answers(alert: dict[str, Any], stretch: Stretch) -> bool:
    return bool(stretch.early_s - _EARLY_S <= alert["at_s"] <= stretch.late_s + _LATE_S)
