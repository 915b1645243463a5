"""Is the demo a proof? It must fail when something is wrong."""

import re
import subprocess
import sys

import numpy as np
import pytest

from daemon.demo_judge import Heard, Shown, judge
from pipelines.rules import Rule
from pipelines.scenes.script import Script
from pipelines.scenes.stage import random_stage
from pipelines.window_plan import WindowPlan

ARRIVED = Rule("car_arrived", "Did a car arrive?")
LEFT = Rule("car_left", "Did a car leave?")


def shown() -> dict[str, Shown]:
    """A car arrives at 12 s and leaves again some 12 s later."""
    stage = random_stage(np.random.default_rng(1), "driveway")
    script = Script(stage, 1, ["car_arrive", "car_leave"], (12.0, 12.0), (9.0, 9.0))
    plan = WindowPlan(num_frames=8, interval_s=1.0, stride_s=1.0)
    return {"drive": Shown(script, plan, (ARRIVED, LEFT), 50.0)}


def alert(rule: str, at_s: float) -> dict[str, object]:
    return {"camera": "drive", "rule": rule, "at_s": at_s}


def test_all_expected_and_all_true() -> None:
    heard = Heard(alerts=[alert("car_arrived", 16.0), alert("car_left", 28.0)])
    judgement = judge(shown(), heard, 2)
    assert judgement.problems == ()
    assert judgement.expected == 2


@pytest.mark.parametrize(
    ("alerts", "says"),
    [
        ([alert("car_arrived", 16.0)], "missing: car_left on drive"),
        ([], "missing: car_arrived on drive"),
        (
            [alert("car_arrived", 16.0), alert("car_left", 28.0), alert("car_left", 45.0)],
            "false: car_left on drive at 45.0 s",
        ),
        (
            [alert("car_arrived", 16.0), alert("car_arrived", 18.0), alert("car_left", 28.0)],
            "2 times: car_arrived on drive",
        ),
        ([alert("car_left", 16.0), alert("car_left", 28.0)], "missing: car_arrived"),
    ],
)
def test_what_is_wrong_is_named(alerts: list[dict[str, object]], says: str) -> None:
    problems = judge(shown(), Heard(alerts=alerts), 0).problems
    assert any(problem.startswith(says) for problem in problems), problems


def test_too_little_to_see_is_a_problem() -> None:
    heard = Heard(alerts=[alert("car_arrived", 16.0), alert("car_left", 28.0)])
    assert judge(shown(), heard, 3).problems == ("only 2 kinds of alerts; 3 were to be seen",)


def test_what_comes_at_the_very_end_is_not_expected() -> None:
    cameras = shown()
    was = cameras["drive"]
    cameras["drive"] = Shown(was.script, was.plan, was.rules, 17.0)
    assert judge(cameras, Heard(), 0).expected == 0


def test_the_demo_itself() -> None:
    """Two cameras, the bundled model, the embedded broker; it judges itself."""
    done = subprocess.run(
        [sys.executable, "-m", "daemon.cli", "demo"],
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.strip().splitlines()[-1]
    found = re.fullmatch(
        r"demo: (\d+) windows, (\d+) descriptions, (\d+) alerts, (\d+) expected, "
        r"p50 latency (\d+) ms",
        last,
    )
    assert found, last
    windows, descriptions, alerts, expected, _ = map(int, found.groups())
    assert windows >= 30
    assert descriptions >= 4
    assert alerts >= expected >= 3
    assert "Traceback" not in done.stderr
