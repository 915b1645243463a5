"""Would the soak notice?"""

from collections.abc import Callable
from typing import Any

import pytest

from tests.soak.process import Life, Sample
from tests.soak.schedule import CALM_S, RESTARTS_BEFORE, schedule
from tests.soak.verdict import MB, Recorded, duplicates, failures

CAMERAS = ("drive", "gate", "porch", "door")


def life(
    minutes: float = 11,
    memory: Callable[[float], float] = lambda _: 400 * MB,
    files: Callable[[float], float] = lambda _: 40,
    **rest: Any,
) -> Life:
    times = [2.0 * n for n in range(round(minutes * 30))]
    samples = [Sample(at_s, round(memory(at_s)), round(files(at_s)), 20) for at_s in times]
    return Life(0.0, samples, ready_s=1.0, how="stopped", code=0, **rest)


def recorded(**changes: Any) -> Recorded:
    ids = ["a", "b", "c"]
    kept: dict[str, Any] = {
        "told": ids, "logged": ids, "waiting": frozenset(), "arrived": ids, "lives": [life()]
    }  # fmt: skip
    return Recorded(**kept | changes)


def test_all_is_well_with_alerts_that_arrived_again() -> None:
    again = recorded(arrived=["a", "b", "a", "b", "c"])
    assert failures(again) == []
    assert duplicates(again) == 2


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"arrived": ["a", "c"]}, "1 alerts were lost: b"),
        ({"told": ["a", "b"], "arrived": ["a", "b"]}, "lost: c"),
        ({"arrived": []}, "no alert arrived at all"),
        ({"arrived": ["b", "a", "c"]}, "before one that was told earlier"),
        ({"arrived": ["a", "b", "c", "d"]}, "knows nothing of"),
        ({"lives": [life(minutes=1)]}, "lived too short"),
        ({"lives": [life(memory=lambda s: 400 * MB + s * MB / 10)]}, "memory grew"),
        ({"lives": [life(files=lambda s: 40 + s // 30)]}, "files grew"),
        ({"lives": [life(longest_unfed_s=61.0)]}, "watchdog"),
        ({"tracebacks": 1}, "traceback"),
    ],
)
def test_what_goes_wrong_is_named(changes: dict[str, Any], word: str) -> None:
    assert any(word in one for one in failures(recorded(**changes)))


def test_an_alert_that_waits_for_the_next_start_is_not_lost() -> None:
    assert failures(recorded(arrived=["a", "b"], waiting=frozenset({"c"}))) == []


def test_warming_up_is_no_growth() -> None:
    warm = life(memory=lambda s: min(400.0, 200 + 2 * s) * MB)
    assert failures(recorded(lives=[warm])) == []


def test_a_stop_that_fails_is_named() -> None:
    bad = life()
    bad.code = 1
    assert any("ended with 1" in one for one in failures(recorded(lives=[bad])))


def test_half_an_hour_has_every_kind_of_fault_and_a_long_last_life() -> None:
    faults = schedule(7, 1800.0, CAMERAS)
    kinds = {(fault.part.partition(" ")[0], fault.kind) for fault in faults}
    assert len(kinds) == 6 + 3 + 2 + 2 + 2
    assert min(fault.at_s for fault in faults) >= CALM_S
    restarts = [fault for fault in faults if fault.part == "daemon"]
    assert len(restarts) >= 2
    assert max(fault.until_s for fault in restarts) <= RESTARTS_BEFORE * 1800.0
    assert faults == schedule(7, 1800.0, CAMERAS) != schedule(8, 1800.0, CAMERAS)


def test_faults_of_one_part_do_not_overlap() -> None:
    until_s: dict[str, float] = {}
    for fault in schedule(3, 600.0, CAMERAS):
        assert fault.at_s >= until_s.get(fault.part, 0.0)
        until_s[fault.part] = fault.until_s
