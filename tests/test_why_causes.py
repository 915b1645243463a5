"""Does `why` give the right cause for each kind of miss?

Drawn scenes and the bundled model: what is asked about really happens and is really seen, and one
thing at a time keeps the rule from opening. `why` must name just that, as the configuration does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from daemon.config import Config, load_config
from daemon.store_queries import why
from daemon.telling import why_lines
from pipelines.errors import InferenceError, SourceError
from pipelines.scenes.verdict import Stretch, Verdict
from pipelines.smolvlm2.loading import from_name
from pipelines.smolvlm2.model import SmolVLM2
from pipelines.sources.base import Picture
from pipelines.sources.scene import SceneSource
from pipelines.types import Look, Observation
from tests.fakes import FakeClock
from tests.scene_play import ScenePlay

LEFT = "Did a person walk past to the left?"
DELIVERED = "Was a package delivered?"

# Twice somebody walks past, and between that a package is brought. Each rule lacks one thing.
RULES = """
cameras:
  porch:
    source: "scene://porch?seed=0&light=day&start_s=10&pause_s=12&events=person_cross_left,\
package_deliver,person_cross_left"
    window: {{num_frames: 8, interval_s: 1, stride_s: 1}}
    describe: off
    {camera}
rules:
  fine: {{ask: "{delivered}"}}
  strict: {{ask: "{delivered}", open_above: 1.0}}
  stubborn: {{ask: "{delivered}", debounce: {{needed: 9, of: 9}}}}
  patient: {{ask: "{delivered}", for_s: 60}}
  at_night: {{ask: "{delivered}", active: {{from: "{hour:02}:00", to: "{then:02}:00"}}}}
  disarmed: {{ask: "{delivered}"}}
  both: {{all: [{{ask: "{delivered}"}}, {{rule: other}}]}}
  other: {{ask: "Is there a dog?"}}
  follows: {{sequence: [{{ask: "Is there a dog?"}}, {{ask: "{delivered}", within_s: 60}}]}}
  seldom: {{ask: "{left}", cooldown_s: 600}}
"""


@pytest.fixture(scope="module")
def model() -> SmolVLM2:
    return from_name("bundled", engine="torch", num_threads=1)


def configured(folder: Path, camera: str = "") -> Config:
    """The rules, with more to be said of the camera. The hours are those that are not now."""
    hour = (time.localtime(FakeClock().wall_time()).tm_hour + 3) % 24
    path = folder / "c.yaml"
    path.write_text(
        RULES.format(camera=camera, delivered=DELIVERED, left=LEFT, hour=hour, then=(hour + 2) % 24)
    )
    return load_config(path, {})


def missed(play: ScenePlay, question: str, which: int = 0) -> Stretch:
    """When the answer to `question` really was yes, for the `which`th time."""
    verdict = Verdict(play.scripts["porch"], play.app.config.cameras["porch"].plan())
    return verdict.expected(question, 2, 8.0, 70.0)[which]


def told(play: ScenePlay, rule: str, at_s: float) -> list[str]:
    """What `smolwatch why porch --at ... --rule ...` prints."""
    return list(why_lines(why(play.path, "porch", play.begun + at_s), rule))


def verdicts(play: ScenePlay, rule: str, was: Stretch) -> list[str]:
    """What it says of each window in which the answer was yes."""
    windows = why(play.path, "porch", play.begun + was.start_s)["windows"]
    inside = [w for w in windows if was.start_s <= w["ended"] - play.begun <= was.end_s]
    assert len(inside) >= 3
    return [window["rules"][rule] for window in inside]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, model: SmolVLM2) -> ScenePlay:
    folder = tmp_path_factory.mktemp("why")
    with ScenePlay(configured(folder), model, folder / "why.db") as play:
        play.app.switches.change("porch", {"rule/disarmed/armed": False})
        play.watch(62.0)
    return play


def test_the_others_would_have_opened_but_for_what_they_lack(played: ScenePlay) -> None:
    was = missed(played, DELIVERED)
    [at_s] = played.alerts_s("porch", "fine")
    assert was.early_s - 0.5 <= at_s <= was.late_s + 3.0
    for rule in ("strict", "stubborn", "patient", "at_night", "disarmed", "both", "follows"):
        assert played.alerts_s("porch", rule) == []
    assert verdicts(played, "fine", was)[-1] == "on"


@pytest.mark.parametrize(
    ("rule", "cause"),
    [
        ("strict", "below open_above: 1"),
        ("stubborn", "true, but only 6 so far of debounce: {needed: 9, of: 9}"),
        ("patient", "true, but not yet for_s: 60"),
        ("at_night", 'true, but outside active: {from: "'),
        ("disarmed", "true, but the rule is disarmed"),
        ("both", "below open_above: 0.7"),
        ("other", "below open_above: 0.7"),
        ("follows", "sequence: waiting for step 1: 'Is there a dog?'"),
    ],
)
def test_a_verdict_names_the_condition_that_was_not_met(
    played: ScenePlay, rule: str, cause: str
) -> None:
    was = missed(played, DELIVERED)
    said = verdicts(played, rule, was)
    assert said[-1].startswith(cause)
    # What a person reads: the answer beside the verdict, of the same window.
    lines = told(played, rule, was.start_s)
    assert f"  {rule}: {said[-1]}" in lines
    assert any(
        line.startswith(f"  {DELIVERED}  p_yes 0.9") or "p_yes 1.00" in line for line in lines
    )


def test_a_cooldown_is_told_of_the_second_time_only(played: ScenePlay) -> None:
    assert len(played.alerts_s("porch", "seldom")) == 1
    first, second = missed(played, LEFT), missed(played, LEFT, 1)
    assert verdicts(played, "seldom", first)[-1] == "on"
    cause = "true, but within cooldown_s: 600 of its last event"
    assert verdicts(played, "seldom", second)[-1] == cause


def test_what_the_gate_took_for_stillness_is_told(tmp_path: Path, model: SmolVLM2) -> None:
    """Everything is masked: nothing can move, and no window is run."""
    masked = configured(tmp_path, "mask: [[[0, 0], [1, 0], [1, 1], [0, 1]]]")
    with ScenePlay(masked, model, tmp_path / "why.db") as play:
        play.watch(45.0)
    was = missed(play, DELIVERED)
    lines = told(play, "fine", was.start_s)
    assert not [line for line in lines if line.startswith("window ")]
    [line] = [line for line in lines if line.startswith("no window was run from ")]
    assert line.endswith(" windows: quiet: nothing moved (gate: motion)")


class Busy:
    """The model, which at one window takes as long as it is told; the cameras go on meanwhile."""

    def __init__(self, model: SmolVLM2, at_s: float, seconds: float) -> None:
        self.play: ScenePlay | None = None
        self._model, self._at_s, self._seconds = model, at_s, seconds

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)

    def observe_many(self, looks: Sequence[Look]) -> list[Observation | InferenceError]:
        assert self.play is not None
        if self.play.now_s >= self._at_s:
            self._at_s = float("inf")
            self.play.let_pass(self._seconds)
        return self._model.observe_many(looks)


def test_windows_that_passed_while_the_model_was_busy_are_told(
    tmp_path: Path, model: SmolVLM2
) -> None:
    busy = Busy(model, at_s=23.0, seconds=20.0)
    config = configured(tmp_path, "gate: always")
    with ScenePlay(config, busy, tmp_path / "why.db") as play:  # type: ignore[arg-type]
        busy.play = play
        play.watch(48.0)
    was = missed(play, DELIVERED)
    assert was.start_s > 24.0
    assert was.late_s < 42.0
    assert play.alerts_s("porch", "fine") == []
    lines = told(play, "fine", was.start_s)
    [line] = [line for line in lines if line.startswith("porch was blind from ")]
    assert line.endswith(" windows: busy: the model was busy with other windows")


class TellingClock(FakeClock):
    """Time passes in small steps, and somebody else has a turn after each."""

    def __init__(self) -> None:
        super().__init__()
        self.each: Callable[[], None] = lambda: None

    def wait(self, stop: threading.Event, timeout_s: float) -> bool:
        while timeout_s > 0.0 and not stop.is_set():
            self.advance(min(0.25, timeout_s))
            timeout_s -= 0.25
            self.each()
        return stop.is_set()


class Unplugged(SceneSource):
    """A camera whose cable is out between two seconds of its script."""

    def read(self, sample_interval_s: float, stop: threading.Event) -> Picture | None:
        self._check()
        return super().read(sample_interval_s, stop)

    def open(self) -> None:
        self._check()
        super().open()

    def _check(self) -> None:
        if self.started_s is not None and 20.0 < self._clock.monotonic_s() - self.started_s < 50.0:
            raise SourceError("no route to host 10.0.0.5")


@pytest.mark.parametrize("how", ["unplugged", "switched off"])
def test_a_blind_camera_is_told_with_the_cause(
    tmp_path: Path, model: SmolVLM2, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The camera's own thread body, so that it is lost, tried again and found as it is live."""
    clock, stop = TellingClock(), threading.Event()
    if how == "unplugged":
        monkeypatch.setattr(
            "daemon.ground.open_source", lambda url, clock, **_: Unplugged(url, clock)
        )
    with ScenePlay(configured(tmp_path), model, tmp_path / "why.db", clock) as play:
        play.app.sources["porch"].open()

        def turn() -> None:
            if how == "switched off" and 20.0 < play.now_s < 20.5:
                play.app.switches.change("porch", {"enabled": False})
            if how == "switched off" and play.now_s > 50.0:
                play.app.switches.change("porch", {"enabled": True})
            play.judge()
            if play.now_s > 62.0:
                stop.set()

        clock.each = turn
        play.app.captures["porch"].run(stop)
    was = missed(play, DELIVERED)
    assert 20.0 < was.start_s < was.end_s < 50.0
    assert play.alerts_s("porch", "fine") == []
    assert len(play.alerts_s("porch", "seldom")) == 1  # it looks again afterwards: too late for one
    lines = told(play, "fine", was.start_s)
    [line] = [line for line in lines if line.startswith("porch was blind from ")]
    assert line.endswith({
        "unplugged": ": away: no route to host 10.0.0.5",
        "switched off": ": disabled: the camera is switched off",
    }[how])  # fmt: skip
