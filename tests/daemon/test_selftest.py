"""Does the selftest let good questions pass, catch bad ones, and does the daemon remember it?"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from structlog.typing import EventDict
from typer.testing import CliRunner

from daemon.cli import app
from daemon.control import ControlError, ControlServer, ask
from daemon.mqtt.records import RuleSetting
from daemon.negation import negated
from daemon.questions import answers
from daemon.selftest import examine, light_of, twin_of
from daemon.selftest_memory import SelftestMemory
from daemon.store import Limits, Store
from daemon.telling import why_lines
from daemon.trial_questions import trial_answers
from pipelines.examples import Example, Examples
from pipelines.ring import FrameRing
from pipelines.rules import Debounce, Rule
from pipelines.scenes.draw import Painter
from pipelines.scenes.stage import State, random_stage
from pipelines.types import Frame
from pipelines.window_plan import WindowPlan
from pipelines.zones import Zone
from tests.fakes import FakeClock
from tests.sockets import listens

RULE = Rule("dog", ask="Is there a dog?")
TWIN = "Is there no dog?"
ARMED = {"dog": RuleSetting(armed=True, threshold=0.7)}
CONFIG = """
model: {{threads: 1}}
control: {{path: "{folder}/c.sock"}}
cameras:
  porch: {{source: "{source}"}}
rules:
  arrived: {{ask: "Did a person arrive?"}}
  biased: {{ask: "Is the scene empty?"}}
  close: {{ask: "Is there a dog?", zone: [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]}}
"""


def given(own: list[float], twin: float = 0.9) -> list[Mapping[str, float]]:
    return [{RULE.ask: p, TWIN: twin} for p in own]


@pytest.mark.parametrize(
    ("question", "contrary"),
    [
        ("Is there a person?", "Is there no person?"),
        ("Did a person arrive?", "Did no person arrive?"),
        ("Was a package delivered?", "Was no package delivered?"),
        ("Is an animal on the lawn?", "Is no animal on the lawn?"),
        ("Are there any cars?", "Are there no cars?"),
        ("Are there people?", "Are there no people?"),
        ("Is anyone there?", "Is no one there?"),
        ("Did someone leave?", "Did no one leave?"),
        ("Is anything moving?", "Is nothing moving?"),
        ("Is it night?", "Is it not night?"),
        ("Is the garage door open?", 'Is "no" the right answer to: Is the garage door open?'),
        ("Is the dog on a sofa?", 'Is "no" the right answer to: Is the dog on a sofa?'),
    ],
)
def test_every_question_has_a_contrary(question: str, contrary: str) -> None:
    assert negated(question) == contrary


def test_the_contrary_is_about_the_same_zone() -> None:
    zone = Zone(0.0, 0.0, 0.5, 1.0)
    assert twin_of(zone.question("Is there a dog?")) == zone.question("Is there no dog?")
    shown = Examples([Example(np.zeros((8, 8, 3), np.uint8), "a dog")])
    own, twin = (zone.question(shown.question(f"Is there {n} dog?")) for n in ("a", "no"))
    assert twin_of(own) == twin


def test_a_clear_no_passes() -> None:
    found = examine(RULE, RULE.ask, "day", given([0.05, 0.1, 0.3, 0.1]))
    assert (found.passed, found.highest, found.note) == (True, 0.3, "")
    assert found.swing == pytest.approx(0.2)


def test_no_to_both_passes_with_a_note() -> None:
    found = examine(RULE, RULE.ask, "day", given([0.1] * 4, twin=0.1))
    assert found.passed
    assert "smolwatch backtest dog" in found.note


def test_a_yes_bias_fails_at_close_below_already() -> None:
    found = examine(RULE, RULE.ask, "night", given([0.45] * 4))
    assert "above close_below: 0.4" in found.problems[0]
    assert "raises an alert" not in found.problems[0]
    worse = examine(RULE, RULE.ask, "night", given([0.75] * 4, twin=0.1))
    assert "raises an alert (open_above: 0.7)" in worse.problems[0]
    assert len(worse.problems) == 1


def test_yes_to_both_fails() -> None:
    found = examine(RULE, RULE.ask, "day", given([0.95] * 4, twin=0.97))
    assert "whatever it sees" in found.problems[1]


def test_a_roundabout_contrary_does_not_count() -> None:
    question = "Is the door open?"
    answers = [{question: 0.9, twin_of(question): 0.9}] * 4
    found = examine(Rule("door", ask=question), question, "day", answers, yes=True)
    assert found.passed
    assert "does not count" in found.note


def test_one_window_that_debounce_bears_is_no_bias_but_it_is_unstable() -> None:
    found = examine(RULE, RULE.ask, "day", given([0.1, 0.1, 0.45, 0.1, 0.1]))
    (problem,) = found.problems
    assert "p_yes moves by 0.35 between neighbouring windows" in problem
    assert "as much as from close_below: 0.4 to open_above: 0.7" in problem
    calm = examine(RULE, RULE.ask, "day", given([0.2, 0.2, 0.45, 0.2]))
    assert calm.passed
    once = Rule("dog", ask=RULE.ask, debounce=Debounce(1, 1))
    assert not examine(once, RULE.ask, "day", given([0.2, 0.2, 0.45, 0.2])).passed


def test_where_yes_is_right_no_fails() -> None:
    assert examine(RULE, RULE.ask, "day", given([0.9] * 4, twin=0.1), yes=True).passed
    found = examine(RULE, RULE.ask, "day", given([0.6] * 4, twin=0.1), yes=True)
    assert "below open_above: 0.7, though the right answer is yes" in found.problems[0]


@pytest.mark.parametrize("night", [False, True])
def test_the_light_is_seen_in_the_picture(night: bool) -> None:
    for seed in range(5):
        stage = random_stage(np.random.default_rng(seed), night=night)
        picture = Painter(stage, 320, 180).paint(State(), 0.0)
        assert light_of(picture) == ("night" if night else "day")


# The commands, with the bundled model


def write(folder: Path, source: str) -> Path:
    path = folder / "c.yaml"
    path.write_text(CONFIG.format(folder=folder, source=source))
    return path


def command(*arguments: object) -> tuple[int, list[dict[str, object]], str]:
    done = CliRunner().invoke(app, ["selftest", *map(str, arguments), "--json"])
    return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_a_good_question_passes_by_day_and_night(tmp_path: Path) -> None:
    path = write(tmp_path, "scene://porch?seed=3")
    code, found, err = command("arrived", "-c", path)
    assert code == 0, err
    assert [(one["light"], one["passed"]) for one in found] == [("day", True), ("night", True)]
    assert all(one["highest"] < 0.1 for one in found)  # type: ignore[operator]
    assert "not kept for the daemon's warnings" in err


def test_a_question_that_is_always_yes_there_fails_unless_yes_is_right(tmp_path: Path) -> None:
    path = write(tmp_path, "scene://porch?seed=3")
    code, found, _ = command("biased", "-c", path)
    assert code == 1
    assert [one["passed"] for one in found] == [False, False]
    assert "above close_below: 0.4" in str(found[0]["problems"])
    code, found, err = command("biased", "-c", path, "--yes", "Is the scene empty?")
    assert [one["problems"] for one in found] == [[], []], err


def test_a_recording_is_one_light_and_that_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, "rtsp://camera/s")
    clip = tmp_path / "night.mp4"
    url = "scene://porch?seed=3&event=empty&light=night"
    CliRunner().invoke(app, ["scene", "record", url, "--seconds", "16", "--out", str(clip)])
    code, found, err = command("close", "-c", path, "--video", clip)
    assert code == 0, err
    assert [one["light"] for one in found] == ["night"]
    assert str(found[0]["question"]).startswith("Is there a dog? [zone ")
    assert "only night was to be seen: test by day, too" in err


def test_without_pictures_nothing_is_tested(tmp_path: Path) -> None:
    code, found, err = command("arrived", "-c", write(tmp_path, "rtsp://camera/s"))
    assert (code, found) == (69, [])
    assert "no smolwatch answers" in err


def test_mistakes_are_told(tmp_path: Path) -> None:
    path = write(tmp_path, "scene://porch")
    code, _, err = command("arived", "-c", path)
    assert (code, "Did you mean arrived?" in err) == (1, True)
    assert command("-c", tmp_path / "none.yaml")[0] == 78


# The running daemon


@contextmanager
def daemon(
    folder: Path, ring: FrameRing, zones: Mapping[Zone, FrameRing], memory: SelftestMemory
) -> Iterator[Path]:
    plan = WindowPlan(gate="motion")
    told = trial_answers(None, {"porch": (plan, ring, zones)}, memory)
    server = ControlServer(folder / "c.sock", told)
    stop = threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,))
    thread.start()
    until = time.monotonic() + 20
    while not listens(folder / "c.sock") and time.monotonic() < until:
        time.sleep(0.01)
    try:
        yield folder / "c.sock"
    finally:
        stop.set()
        thread.join(20)


def quiet(rings: Mapping[str, FrameRing], count: int, motion: float = 0.0) -> None:
    """Drawn frames of an empty porch by day, into the rings of the whole and of zones."""
    stage = random_stage(np.random.default_rng(3), "porch", night=False)
    painter = Painter(stage, 128, 72)
    for n in range(count):
        image = painter.paint(State(), float(n))
        for view, ring in rings.items():
            ring.put(Frame("porch", 0, n, 50.0 + n, 1e9 + n, image, motion, None, view))


def test_the_daemons_quiet_frames_are_tested_and_the_result_is_kept(
    tmp_path: Path, logs: list[EventDict]
) -> None:
    path = write(tmp_path, "rtsp://camera/s")
    zone = Zone(0.0, 0.0, 0.5, 1.0)
    ring, close = FrameRing(30), FrameRing(30)
    quiet({"": ring, zone.name: close}, 16)
    # An older finding; the pass takes its place, and so the daemon says nothing of the rule.
    rules = {"porch": {"arrived": Rule("arrived", ask="Did a person arrive?")}}
    clock = FakeClock()
    from pipelines.smolvlm2.loading import from_name  # noqa: PLC0415 - seconds of PyTorch

    model_id = from_name("bundled", num_threads=1).model_id
    memory = SelftestMemory(None, rules, lambda: model_id, clock)
    memory.keep("porch", [finding(rule="arrived", question="Did a person arrive?", model=model_id)])
    assert list(memory.failed("porch")) == ["arrived"]
    with daemon(tmp_path, ring, {zone: close}, memory):
        code, found, err = command("-c", path, "--yes", "Is the scene empty?")
    assert code == 0, (err, found)
    assert {(one["rule"], one["light"], one["windows"]) for one in found} == {
        ("arrived", "day", 9), ("biased", "day", 9), ("close", "day", 9),
    }  # fmt: skip
    assert "test by night, too" in err
    assert "not kept" not in err
    assert memory.failed("porch") == {}
    assert [entry for entry in logs if entry["event"].startswith("rule.")] == []


def test_frames_in_which_something_moved_are_refused(tmp_path: Path) -> None:
    ring = FrameRing(30)
    memory = SelftestMemory(None, {"porch": {}}, lambda: "m", FakeClock())
    with daemon(tmp_path, ring, {}, memory) as path:
        with pytest.raises(ControlError, match="has 0 frames just now"):
            list(ask(path, {"op": "quiet_frames", "camera": "porch"}))
        quiet({"": ring}, 16, motion=0.02)
        with pytest.raises(ControlError, match="something moves at porch"):
            list(ask(path, {"op": "quiet_frames", "camera": "porch"}))


def finding(**changed: object) -> dict[str, object]:
    known = {
        "rule": "dog", "question": RULE.ask, "light": "day", "passed": False,
        "problems": ["p_yes is above close_below: 0.4"], "model": "m@1",
    }  # fmt: skip
    return {**known, **changed}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "s.db", Limits(), FakeClock())
    yield opened
    opened.close()


def memory_of(store: Store, rule: Rule = RULE, model: str = "m@1") -> SelftestMemory:
    return SelftestMemory(store, {"porch": {rule.name: rule}}, lambda: model, FakeClock())


def test_a_failed_rule_is_warned_of_at_the_start_and_when_it_is_armed(
    store: Store, logs: list[EventDict]
) -> None:
    memory_of(store).keep("porch", [finding()])
    assert logs == []  # nobody said yet that it may open
    after = memory_of(store)
    after.armed("porch", ARMED)
    assert [(log["event"], log["rule"], log["log_level"]) for log in logs] == [
        ("rule.selftest_failed", "dog", "warning")
    ]
    assert "above close_below: 0.4" in logs[0]["found"]
    after.armed("porch", ARMED)
    assert len(logs) == 1
    after.armed("porch", {"dog": RuleSetting(armed=False, threshold=0.7)})
    assert len(logs) == 1
    after.armed("porch", ARMED)
    assert len(logs) == 2


def test_another_question_model_or_a_pass_ends_the_warning(
    store: Store, logs: list[EventDict]
) -> None:
    memory = memory_of(store)
    memory.keep("porch", [finding()])
    assert list(memory.failed("porch")) == ["dog"]
    assert memory_of(store, model="m@2").failed("porch") == {}
    assert memory_of(store, Rule("dog", ask="Is there a large dog?")).failed("porch") == {}
    memory.keep("porch", [finding(light="night", passed=True)])
    assert list(memory.failed("porch")) == ["dog"]  # by day it still fails
    memory.keep("porch", [finding(passed=True)])
    assert memory_of(store).failed("porch") == {}
    assert logs == []


def test_why_says_that_the_selftest_failed(store: Store) -> None:
    memory = memory_of(store)
    memory.keep("porch", [finding()])
    told = answers(store, {"porch": ["dog"]}, memory.failed)["why"]
    (known,) = told({"op": "why", "camera": "porch", "at": 0})
    said = [line for line in why_lines(known, "dog") if line.startswith("dog: ")]
    assert len(said) == 1
    assert "failed the selftest by day" in said[0]
    assert not [line for line in why_lines(known, "cat") if "selftest" in line]
