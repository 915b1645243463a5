"""Does a backtest find in recordings what is in them, and show it?"""

from __future__ import annotations

import json
import os
import re
import threading
from datetime import datetime
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from daemon.backtest import Reel, Result, Subject, play, subject_of, try_rule, view_of
from daemon.backtest_files import open_recording, url_of
from daemon.backtest_page import page
from daemon.cli import app
from daemon.config import Config, load_config
from pipelines.capture import scale_to_edge
from pipelines.clock import SystemClock
from pipelines.playback import Playback, PlayClock
from pipelines.rules.replay import incident_spans, replay
from pipelines.smolvlm2.loading import from_name
from pipelines.smolvlm2.model import SmolVLM2
from pipelines.sources import open_source
from pipelines.types import Observation, Timings
from tests.fakes import FakeModel

RULES = """
model: {threads: 1}
cameras:
  porch: {source: "scene://porch?seed=3", window: {num_frames: 8, interval_s: 1, stride_s: 1}}
  yard: {source: "scene://yard?seed=3", gate: always}
rules:
  arrived: {cameras: [porch], ask: "Did a person arrive?", cooldown_s: 5}
  left: {cameras: [porch], ask: "Did a person leave?", cooldown_s: 5}
  visit:
    cameras: [porch]
    sequence: [{rule: arrived}, {ask: "Did a person leave?", within_s: 60}]
  nobody_left: {cameras: [porch], all: [{ask: "Did a person arrive?"}, {not: {rule: left}}]}
  anywhere: {ask: "Is there a dog?"}
  evenings: {cameras: [porch], ask: "Did a person arrive?", active: {from: "20:00", to: "22:00"}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration, and 40 s in which a person arrives and leaves, with their truth."""
    place = tmp_path_factory.mktemp("backtest")
    (place / "c.yaml").write_text(RULES)
    url = "scene://porch?seed=3&events=person_arrive,person_leave&start_s=9"
    done = CliRunner().invoke(
        app,
        ["scene", "record", url, "--seconds", "40", "--out", str(place / "visit.mp4"),
         "--truth", str(place / "truth.yaml"), "-c", str(place / "c.yaml")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return place


@pytest.fixture(scope="module")
def config(folder: Path) -> Config:
    return load_config(folder / "c.yaml", {})


@cache
def bundled() -> SmolVLM2:
    return from_name("bundled", num_threads=1)


@pytest.fixture(scope="module")
def played(folder: Path, config: Config) -> tuple[Subject, Reel]:
    """`visit` refers to `arrived` and asks what `left` asks: all that the tests need."""
    subject = subject_of(config, "visit", None)
    recording = open_recording(folder / "visit.mp4", "visit.mp4", SystemClock(), 1e9)
    *steps, reel = play(config, subject, bundled(), recording, "porch#0")
    assert isinstance(reel, Reel)
    assert steps == sorted(steps)  # what a progress bar shows
    return subject, reel


def truth(folder: Path, rule: str) -> list[tuple[float, float]]:
    entries = yaml.safe_load((folder / "truth.yaml").read_text())["visit.mp4"]
    sure = [e for e in entries if e["rule"] == rule and not e.get("maybe")]
    return [(e["start_s"], e["end_s"]) for e in sure]


def command(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["backtest", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


def test_the_truth_of_a_recorded_scene_is_what_the_script_plays(folder: Path) -> None:
    ((arrives, stands),) = truth(folder, "arrived")
    ((goes, gone),) = truth(folder, "left")
    assert 8.0 < arrives < stands < goes < gone < 40.0
    assert 1.5 < stands - arrives < 4.5  # how long walking in takes
    assert 1.5 < gone - goes < 4.5


@pytest.mark.parametrize("rule", ["arrived", "left"])
def test_incidents_have_the_right_times(
    folder: Path, config: Config, played: tuple[Subject, Reel], rule: str
) -> None:
    subject = subject_of(config, rule, None)
    found = try_rule(subject, played[1], None).incidents
    ((start_s, end_s),) = truth(folder, rule)
    assert len(found) == 1
    # All of the event is in the window, and two windows a second apart agree: then it opens.
    assert start_s + 1.0 <= found[0].opened_s <= end_s + 3.0
    assert found[0].evidence_s <= start_s
    # It closes when the windows begin after the event, two of them.
    assert found[0].closed_s == pytest.approx(end_s + 7.0, abs=3.0)


def test_the_curve_is_what_the_model_answers(
    folder: Path, config: Config, played: tuple[Subject, Reel]
) -> None:
    """The windows again, made by hand from the file's frames at whole seconds."""
    subject, reel = played
    source = open_source(url_of(folder / "visit.mp4"), PlayClock(0.0))
    view = view_of(config, subject, "again")
    fresh = from_name("bundled", num_threads=1)
    playback = Playback(FakeModel({}), source, PlayClock(0.0), view)
    images = [image for _, image in playback.run(threading.Event())]
    assert len(images) == 40
    small = [scale_to_edge(image, fresh.frame_edge_px) for image in images]
    question = "Did a person arrive?"
    curve = {round(look.end_s): look.answers[question] for look in reel.looks if look.answers}
    assert len(curve) > 20
    for end in list(curve)[::5]:
        told = fresh.observe_images(small[end - 7 : end + 1], range(8), [question], None)
        assert told.answers[question] == pytest.approx(curve[end], abs=2e-3)


def test_judged_again_the_answers_lead_to_the_events_of_the_daemons_own_worker(
    folder: Path, config: Config
) -> None:
    subject = subject_of(config, "visit", None)
    clock = PlayClock(0.0)
    source = open_source(url_of(folder / "visit.mp4"), clock)

    def arrives(window: object, question: str) -> float:
        end_s = window.end_s  # type: ignore[attr-defined]
        return 0.9 if (12 if "arrive" in question else 24) <= end_s < 30 else 0.1

    playback = Playback(FakeModel(arrives), source, clock, view_of(config, subject, "p"))
    for _ in playback.run(threading.Event()):
        pass
    told = [(e.rule, e.captured_s) for e in playback.events if e.event_type == "rule_match"]
    assert {rule for rule, _ in told} == {"arrived", "visit"}
    for rule in ("arrived", "visit"):
        book = subject.book("p", subject.rule.open_above, subject.rule.close_below)
        spans = incident_spans(replay(book, rule, playback.looks))
        assert [(rule, span.opened_s) for span in spans] == [one for one in told if one[0] == rule]


@pytest.mark.parametrize(("rule", "count"), [("visit", 1), ("nobody_left", 1)])
def test_rules_of_several_conditions(
    config: Config, played: tuple[Subject, Reel], rule: str, count: int
) -> None:
    subject = subject_of(config, rule, "porch")
    assert {"visit": {"arrived"}, "nobody_left": {"left"}}[rule] < {r.name for r in subject.rules}
    assert len(try_rule(subject, played[1], None).incidents) == count


def test_two_recordings_share_no_features(folder: Path, config: Config) -> None:
    """Frames of both have the same numbers, and the model keeps features by them."""
    subject = subject_of(config, "arrived", None)
    clip = folder / "still.mp4"
    url = "scene://porch?seed=3&event=empty"
    CliRunner().invoke(app, ["scene", "record", url, "--seconds", "12", "--out", str(clip)])
    highest = []
    for n, path in enumerate([folder / "visit.mp4", clip]):
        recording = open_recording(path, path.name, SystemClock(), 0.0)
        reel = list(play(config, subject, bundled(), recording, f"share#{n}"))[-1]
        assert isinstance(reel, Reel)
        highest.append(max(look.answers["Did a person arrive?"] for look in reel.looks))
    assert highest[0] > 0.9
    assert highest[1] < 0.1


class Reader(HTMLParser):
    """What a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_command_tells_shows_and_writes(folder: Path, tmp_path: Path) -> None:
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    os.link(folder / "visit.mp4", recordings / "visit.mp4")
    (recordings / "broken.mp4").write_bytes(b"no video")
    code, out, err = command(
        "arrived", recordings, "-c", folder / "c.yaml", "--truth", folder / "truth.yaml",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert code == 1  # one could not be tried
    assert "broken.mp4: not tried" in out
    assert len(re.findall(r"incident opens 0:1\d\.\d, closes 0:\d\d\.\d", out)) == 1
    assert "1 true event: 1 found, 0 missed; 0 false, 0 duplicate" in out
    assert "0.7         0.4      1.00   1.00  <- configured" in out
    assert "proposed: open_above" in out
    assert "too little: with 1 true event," in out
    assert "report.html" in err
    png = (tmp_path / "out" / "p_yes-1.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    seen = Reader()
    seen.feed((tmp_path / "out" / "report.html").read_text())
    pictures = [attrs["src"] or "" for tag, attrs in seen.tags if tag == "img"]
    assert [picture.partition(";")[0] for picture in pictures] == [
        "data:image/png", "data:image/jpeg",
    ]  # fmt: skip
    assert not [tag for tag, _ in seen.tags if tag in ("script", "link", "iframe")]
    assert ("meta", "viewport") in [(tag, attrs.get("name")) for tag, attrs in seen.tags]
    draft = yaml.safe_load((tmp_path / "out" / "truth-draft.yaml").read_text())
    assert [entry["rule"] for entry in draft["visit.mp4"]] == ["arrived"]


def test_json_is_one_object(folder: Path) -> None:
    code, out, _ = command("arrived", folder / "visit.mp4", "-c", folder / "c.yaml", "--json")
    told = json.loads(out)
    assert code == 0
    (reel,) = told["recordings"]
    (incident,) = reel["incidents"]
    assert incident["peak"] > 0.9
    assert incident["duration_s"] == pytest.approx(incident["closed_s"] - incident["opened_s"])
    assert len(reel["p_yes"]) == reel["windows_run"]
    assert "score" not in told


def test_hours_are_those_of_the_recording(folder: Path, config: Config) -> None:
    subject = subject_of(config, "evenings", None)
    counts = []
    for begun in (datetime(2026, 3, 4, 21, 0).timestamp(), datetime(2026, 3, 4, 12, 0).timestamp()):  # noqa: DTZ001 - the machine's own time
        looks = [
            Observation(
                "porch", 0, t - 7.0, t, begun + t, {"Did a person arrive?": 0.9}, None,
                Timings(), "m", "0",
            )
            for t in (10.0, 11.0, 12.0)
        ]  # fmt: skip
        reel = Reel("r", 40.0, begun, tuple(looks))
        counts.append(len(try_rule(subject, reel, None).incidents))
    assert counts == [1, 0]


def test_text_in_the_page_is_escaped(config: Config) -> None:
    subject = subject_of(config, "arrived", None)
    one = try_rule(subject, Reel("<script>alert(1)</script>.mp4", 1.0, 0.0, ()), None)
    told = page(Result(subject, "m", (one,), {"<b>.mp4": "<i>bad</i>"}), [None])
    seen = Reader()
    seen.feed(told)
    assert not [tag for tag, _ in seen.tags if tag in ("script", "b", "i")]
    assert "<script>alert(1)</script>.mp4" in seen.text


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["arived", "x.mp4"], 1, "Did you mean arrived?"),
        (["anywhere", "x.mp4"], 1, "--camera"),
        (["anywhere", "x.mp4", "--camera", "attic"], 1, "not judged on 'attic'"),
        (["arrived"], 2, "name recordings"),
        (["arrived", "x.mp4", "--since", "1d"], 2, "--since"),
        (["arrived", "x.mp4", "--truth", "none.yaml"], 1, "none.yaml: cannot be read"),
        (["arrived", ".", "--begins", "noon"], 1, "'noon' is no time"),
        (["arrived", "empty"], 1, "no video file is in there"),
        (["arrived", "--since", "1d", "--socket", "none.sock"], 1, "no smolwatch answers"),
    ],
)
def test_mistakes_are_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], code: int, says: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    result, _, err = command(*arguments, "-c", folder / "c.yaml")
    assert (result, says in err) == (code, True), err


def test_a_wrong_configuration_is_78(tmp_path: Path) -> None:
    assert command("arrived", "x.mp4", "-c", tmp_path / "none.yaml")[0] == 78
