"""Do changed settings take effect in the running daemon, and again after a restart?"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from daemon.app import App, build_app
from daemon.config import load_config
from daemon.running import Running
from daemon.store import Limits, Store
from daemon.systemd import Notifier, Watchdog
from pipelines.clock import SystemClock
from tests.fakes import FakeModel
from tests.mosquitto import WAIT_S, wait_until

CONFIG = """
cameras:
  yard:
    source: scene://yard?seed=3&width=160
    window: {num_frames: 4, interval_s: 0.1, stride_s: 0.1}
    gate: always
    describe: {every_s: 1}
  shed:
    source: scene://porch?seed=3&width=160
    window: {num_frames: 4, interval_s: 0.1, stride_s: 0.1}
    gate: always
    describe: off
    enabled: false
rules:
  person:
    cameras: all
    ask: "Is there a person?"
    debounce: {needed: 1, of: 1}
    cooldown_s: 0
log: {events: events.jsonl}
"""


@contextmanager
def daemon(folder: Path, model: FakeModel, text: str = CONFIG) -> Iterator[App]:
    """The joined parts, running until the end of the block."""
    (folder / "c.yaml").write_text(text)
    clock = SystemClock()
    store = Store(folder / "s.db", Limits(), clock)
    app = build_app(load_config(folder / "c.yaml", {}), model, None, clock, store)
    notifier = Notifier()
    codes: list[int] = []
    thread = threading.Thread(
        target=lambda: codes.append(Running(app).run(Watchdog(notifier, None), notifier))
    )
    thread.start()
    try:
        yield app
    finally:
        app.workers.ended.set()
        thread.join(WAIT_S)
    assert codes == [0]


def told(folder: Path, event_type: str) -> int:
    log = folder / "events.jsonl"
    return log.read_text().count(f'"{event_type}"') if log.exists() else 0


def windows(model: FakeModel, camera: str) -> int:
    return sum(window.camera == camera for window, _, _ in list(model.asked))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_rule_that_is_disarmed_closes_and_stays_so_over_a_restart(tmp_path: Path) -> None:
    model = FakeModel({"Is there a person?": 0.9})
    with daemon(tmp_path, model) as app:
        wait_until(lambda: told(tmp_path, "rule_match") == 1, "an alert")
        app.switches.change("yard", {"rule/person/armed": False})
        wait_until(lambda: told(tmp_path, "rule_clear") == 1, "it is closed")
        seen = windows(model, "yard")
        wait_until(lambda: windows(model, "yard") > seen + 5, "it is still watched")
    with daemon(tmp_path, model) as app:
        assert not app.switches.settings.of("yard").rules["person"].armed
        seen = windows(model, "yard")
        wait_until(lambda: windows(model, "yard") > seen + 5, "it is watched")
        assert told(tmp_path, "rule_match") == 1
        app.switches.change("yard", {"rule/person/armed": True})
        wait_until(lambda: told(tmp_path, "rule_match") == 2, "an alert again")


def test_a_threshold_holds_at_once_and_over_a_restart(tmp_path: Path) -> None:
    model = FakeModel({"Is there a person?": 0.6})
    with daemon(tmp_path, model) as app:
        wait_until(lambda: windows(model, "yard") > 5, "windows")
        assert told(tmp_path, "rule_match") == 0
        app.switches.change("yard", {"rule/person/threshold": 0.5})
        wait_until(lambda: told(tmp_path, "rule_match") == 1, "an alert")
    with daemon(tmp_path, model):
        wait_until(lambda: told(tmp_path, "rule_match") == 2, "an alert after the restart")


def test_a_prompt_holds_at_once_and_over_a_restart(tmp_path: Path) -> None:
    model = FakeModel()
    with daemon(tmp_path, model) as app:
        app.switches.change("yard", {"prompt": "Who is it?"})
        wait_until(lambda: model.asked[-1:] and model.asked[-1][2] == "Who is it?", "the new one")
    model.asked.clear()
    with daemon(tmp_path, model):
        wait_until(lambda: any(prompt for _, _, prompt in list(model.asked)), "a description")
    assert {prompt for _, _, prompt in model.asked} == {None, "Who is it?"}


def test_a_camera_is_switched_off_and_on_again(tmp_path: Path) -> None:
    model = FakeModel({"Is there a person?": 0.9})
    with daemon(tmp_path, model) as app:
        wait_until(lambda: told(tmp_path, "rule_match") == 1, "an alert")
        app.switches.change("yard", {"enabled": False})
        wait_until(lambda: told(tmp_path, "rule_clear") == 1, "its incident is closed")
        wait_until(lambda: app.captures["yard"].health().state == "disabled", "it is off")
        frames, seen = app.captures["yard"].health().frames_in, windows(model, "yard")
        app.switches.change("shed", {"enabled": True})  # that one was off in the configuration
        wait_until(lambda: windows(model, "shed") > 5, "the other camera's windows")
        assert app.captures["yard"].health().frames_in == frames
        assert windows(model, "yard") == seen
        assert "of 1 cameras" in app.reporter.report()
    assert told(tmp_path, "rule_match") == 2  # one a camera
    model.asked.clear()
    with daemon(tmp_path, model) as app:
        wait_until(lambda: windows(model, "shed") > 5, "as it was before the restart")
        assert windows(model, "yard") == 0
        app.switches.change("yard", {"enabled": True})
        wait_until(lambda: windows(model, "yard") > 5, "windows again")
        wait_until(lambda: told(tmp_path, "rule_match") == 4, "alerts again")


def test_why_knows_that_the_camera_was_switched_off(tmp_path: Path) -> None:
    with daemon(tmp_path, FakeModel()) as app:
        wait_until(lambda: app.captures["shed"].health().state == "disabled", "it is off")
        assert app.store is not None
        store = app.store

        def causes() -> list[str]:
            rows = store._connection.execute("SELECT cause FROM spans WHERE camera = 'shed'")
            return [cause for (cause,) in rows]

        wait_until(lambda: "disabled" in causes(), "the stretch is written")
        assert "away" not in causes()


def test_what_was_answered_holds_though_the_process_died_before_it_was_done(
    tmp_path: Path,
) -> None:
    """Written down first: then the rule's own memory knows nothing of it."""
    store = Store(tmp_path / "s.db", Limits(), SystemClock())
    kept = '{"rule/person/armed": {"to": false, "from": true}}'
    store.remember("settings/yard", kept)
    store.close()
    model = FakeModel({"Is there a person?": 0.9})
    with daemon(tmp_path, model):
        wait_until(lambda: windows(model, "yard") > 5, "windows")
        assert told(tmp_path, "rule_match") == 0
