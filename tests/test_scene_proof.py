"""Are the shipped example rules right about drawn scenes, and does the proof notice if not?

Two of the proof's scripts are played anew in the slow tests; `make proof` plays all of them.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.rules import Debounce, Rule
from pipelines.scenes.verdict import Stretch
from tests.miss_cause import is_right
from tests.scene_proof import answered, prove_all, summary, without_reason

GOAL = 0.97


def test_an_alert_is_counted_for_one_incident_and_a_second_one_as_a_duplicate() -> None:
    wanted = [Stretch(20.0, 24.0, 19.0, 25.0), Stretch(27.0, 30.0, 26.0, 31.0)]
    assert [hits for _, hits in answered(wanted, [21.0])] == [[21.0], []]
    assert [hits for _, hits in answered(wanted, [26.0])] == [[26.0], []]
    assert [hits for _, hits in answered(wanted, [21.0, 24.0, 29.0])] == [[21.0, 24.0], [29.0]]
    assert [hits for _, hits in answered(wanted, [18.0, 34.5])] == [[], []]


def test_an_alert_of_nothing_that_happened_is_false_though_frames_could_not_tell() -> None:
    true = [Stretch(20.0, 20.5, 19.0, 25.0)]
    assert without_reason(true, [18.4, 18.6, 27.9, 28.1]) == [18.4, 28.1]
    assert without_reason([], [20.0]) == [20.0]


RULE = Rule("late", ask="Q?", open_above=0.7, debounce=Debounce(2, 3), cooldown_s=60.0)
COOLS = "true, but within cooldown_s: 60 of its last event"
SOFAR = "true, but only 1 so far of debounce: {needed: 2, of: 3}"
BELOW = "below open_above: 0.7"


@pytest.mark.parametrize(
    ("p_yes", "before", "verdict", "right"),
    [
        (0.6, [], BELOW, True),
        (0.7, [], BELOW, False),
        (0.6, [], SOFAR, False),
        (0.9, [], SOFAR, True),
        (0.9, [], "true, but the rule is disarmed", False),  # it never is in a proof
        (0.9, [], COOLS, False),
        (0.9, [("rule_clear", 30)], COOLS, True),
        (0.9, [("rule_clear", 90)], COOLS, False),
        (0.9, [("rule_match", 30)], "on", True),
        (0.9, [("rule_match", 30)], COOLS, False),
        (0.9, [("rule_match", 90), ("rule_clear", 80)], "on", False),
        (0.1, [("rule_clear", 0)], "closed: not above close_below: 0.4", True),
        (0.1, [("rule_clear", 9)], "closed: not above close_below: 0.4", False),
    ],
)
def test_a_wrong_cause_is_found_out(
    p_yes: float, before: list[tuple[str, float]], verdict: str, right: bool
) -> None:
    now = 1_700_000_000.0
    window = {"ended": now, "answers": {"Q?": p_yes}, "rules": {"late": verdict}}
    told = [
        {"event_type": kind, "ts": datetime.fromtimestamp(now - ago_s, UTC).isoformat()}
        for kind, ago_s in before
    ]
    assert is_right(RULE, window, told) is right


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_shipped_rules_are_right_about_two_scripts(tmp_path: Path) -> None:
    """Of each camera; too few for each rule's own figures, so they are taken together."""
    found = summary(list(prove_all(tmp_path, 2, os.cpu_count() or 1)))
    rules = found["rules"].values()
    incidents, alerts = sum(r["incidents"] for r in rules), sum(r["alerts"] for r in rules)
    assert len(rules) == 10
    assert incidents >= 80
    assert sum(r["duplicates"] for r in rules) == 0
    assert found["wrong_causes"] == []
    assert len(found["misses"]) <= (1 - GOAL) * incidents
    assert len(found["false_alarms"]) <= (1 - GOAL) * alerts
    assert found["times_real_time"] > 1.0
