"""Is a rule tried over what the daemon has stored, as it is stored?"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from daemon.backtest import subject_of
from daemon.cli import app
from daemon.config import load_config
from daemon.control import ControlServer, ask
from daemon.mqtt.payloads import event_content
from daemon.questions import answers
from daemon.selftest_memory import SelftestMemory
from daemon.store import Limits, Store
from daemon.store_looks import PAGE
from daemon.stored_looks import read_past
from daemon.trial_questions import trial_answers
from pipelines.types import Observation, Outcome, Timings
from tests.daemon.events import match
from tests.fakes import FakeClock
from tests.sockets import listens

NOW = 1_700_000_000.0
RULES = """
model: {{threads: 1}}
media: {{dir: "{folder}"}}
control: {{path: "{folder}/c.sock"}}
cameras: {{porch: {{source: "rtsp://camera/s"}}}}
rules:
  dog: {{ask: "Is there a dog?", debounce: {{needed: 1, of: 1}}, cooldown_s: 0}}
  strict: {{ask: "Is there a dog?", open_above: 0.95, debounce: {{needed: 2, of: 2}}}}
  both: {{all: [{{rule: dog}}, {{ask: "Is there a cat?"}}], debounce: {{needed: 1, of: 1}}}}
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "c.yaml").write_text(RULES.format(folder=tmp_path))
    opened = Store(tmp_path / "s.db", Limits(), FakeClock(wall_time=NOW))
    judged = {"porch": ["dog", "strict", "both"]}
    memory = SelftestMemory(opened, {}, lambda: "m", FakeClock())
    told = {**answers(opened, judged), **trial_answers(opened, {}, memory)}
    server = ControlServer(tmp_path / "c.sock", told)
    stop = threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,))
    thread.start()
    until = time.monotonic() + 20
    while not listens(tmp_path / "c.sock") and time.monotonic() < until:
        time.sleep(0.01)
    yield opened
    stop.set()
    thread.join(20)
    opened.close()


def put(store: Store, at: float, **answers: float) -> None:
    asked = {f"Is there a {thing}?": p_yes for thing, p_yes in answers.items()}
    seen = Observation(
        "porch", 0, at - 7.0, at, at, asked, None, Timings(), "tiny@1", "0"
    )  # fmt: skip
    assert store.record(Outcome("porch", seen, {}, (), None), [])


def command(folder: Path, rule: str, *more: str) -> tuple[int, str, str]:
    since = datetime.fromtimestamp(NOW).astimezone().isoformat()
    done = CliRunner().invoke(
        app, ["backtest", rule, "-c", str(folder / "c.yaml"), "--since", since, *more]
    )
    return done.exit_code, done.stdout, done.stderr


def test_stored_answers_are_judged_by_the_configuration_of_now(
    store: Store, tmp_path: Path
) -> None:
    for n, p_yes in enumerate([0.1, 0.8, 0.9, 0.1, 0.1, 0.97, 0.99, 0.1, 0.1]):
        put(store, NOW + 100 + 2 * n, dog=p_yes, cat=0.0)
    alert = match(1, rule="dog", wall_time=NOW + 102)
    store.record(Outcome("porch", None, {}, (alert,), None), [event_content(alert, 1.0)])
    code, out, err = command(tmp_path, "dog", "--json")
    assert code == 0, err
    (reel,) = json.loads(out)["recordings"]
    assert [(i["opened_s"], i["closed_s"], i["peak"]) for i in reel["incidents"]] == [
        (102.0, 106.0, 0.9), (110.0, 114.0, 0.99),
    ]  # fmt: skip
    assert "1 alert of dog came in that time" in err
    code, out, _ = command(tmp_path, "strict", "--json")
    assert [i["opened_s"] for i in json.loads(out)["recordings"][0]["incidents"]] == [112.0]
    code, out, _ = command(tmp_path, "dog")
    opened = datetime.fromtimestamp(NOW + 102).astimezone()
    assert f"incident opens {opened:%Y-%m-%d %H:%M:%S}" in out


def test_what_is_older_is_left_out_and_pages_join(store: Store, tmp_path: Path) -> None:
    put(store, NOW - 5, dog=0.9)
    many = PAGE + 10
    with store._lock, store._transaction(durable=False):
        for n in range(many):
            at = NOW + (n + 1) // 2  # two at a time: the first page ends between them
            seen = Observation(
                "porch", 0, at - 7, at, at, {"Is there a dog?": 0.1}, None, Timings(), "m", "0"
            )
            store._rows.record(Outcome("porch", seen, {}, (), None), [], at)
    subject = subject_of(load_config(tmp_path / "c.yaml", {}), "dog", None)
    past = read_past(tmp_path / "c.sock", subject, NOW, NOW + many, None)
    assert past.stored == many == past.asked["Is there a dog?"]
    times = [look.end_s for look in past.reel.looks]
    assert times == sorted(times)
    assert past.model_ids == ("m",)


def test_time_in_which_nobody_looked_closes_what_was_open(store: Store, tmp_path: Path) -> None:
    put(store, NOW + 10, dog=0.9)
    for cause, since, until in (("away", 20, 30), ("away", 50, 200), ("quiet", 15, 19)):
        row = store.span("porch", cause, "no route", NOW + since, NOW + since)
        assert row is not None
        store.lengthen(row, NOW + until, 0)
    put(store, NOW + 210, dog=0.9)
    _, out, _ = command(tmp_path, "dog", "--json")
    incidents = json.loads(out)["recordings"][0]["incidents"]
    assert [(i["opened_s"], i["closed_s"]) for i in incidents] == [(10.0, 80.0), (210.0, None)]


def test_a_question_that_was_not_asked_is_named(store: Store, tmp_path: Path) -> None:
    put(store, NOW + 10, dog=0.9)
    code, out, err = command(tmp_path, "both")
    assert (code, out) == (1, "")
    assert "'Is there a cat?' was asked in 0 of 1 windows" in err
    assert "there are no clips of porch" in err


def test_clips_stand_in_for_what_was_not_asked(store: Store, tmp_path: Path) -> None:
    put(store, NOW + 10, dog=0.9)
    clip = tmp_path / "porch-01HF0000000000000000000000.mp4"
    CliRunner().invoke(
        app, ["scene", "record", "scene://porch?event=empty", "--seconds", "8", "--out", str(clip)]
    )
    code, out, err = command(tmp_path, "both")
    assert code == 0, err
    assert "tried on 1 clip of" in err
    assert "porch-01HF0000000000000000000000.mp4: 0:08.0 long, 1 window" in out


def test_snapshots_of_that_time_are_its_pictures(store: Store, tmp_path: Path) -> None:
    put(store, NOW + 10, dog=0.9)
    picture = cv2.imencode(".jpg", np.full((360, 640, 3), 200, np.uint8))[1].tobytes()
    (tmp_path / "porch-x.jpg").write_bytes(picture)
    update = match(
        2, rule="dog", wall_time=NOW + 10, event_type="rule_update",
        media={"snapshot": "porch-x.jpg"},
    )  # fmt: skip
    store.record(Outcome("porch", None, {}, (update,), None), [event_content(update, 1.0)])
    out = tmp_path / "out"
    assert command(tmp_path, "dog", "--out", str(out))[0] == 0
    assert "data:image/jpeg" in (out / "report.html").read_text()


def test_the_daemon_is_asked_only_what_it_knows(store: Store, tmp_path: Path) -> None:
    assert list(ask(tmp_path / "c.sock", {"op": "breaks", "camera": "none", "since": 0})) == []
