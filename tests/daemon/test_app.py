"""Are the parts joined as they should be?"""

import os
import threading
from pathlib import Path

import pytest

from daemon.app import App, build_app
from daemon.config import ConfigError, load_config
from daemon.running import CAPTURE_BOUND_S, Running
from daemon.systemd import Notifier, Watchdog
from pipelines import errors
from pipelines.clock import SystemClock
from pipelines.errors import SourceError
from tests.fakes import FakeModel
from tests.mosquitto import wait_until

CONFIG = """
cameras:
  yard:
    source: scene://yard?seed=3&width=160
    window: {num_frames: 4, interval_s: 0.1, stride_s: 0.1}
    gate: always
    describe: {every_s: 1}
  off: {source: "scene://porch", enabled: false}
rules:
  person: {cameras: [yard], ask: "Is there a person?", debounce: {needed: 1, of: 1}}
log: {events: events.jsonl}
store: off
"""


def app_of(folder: Path, text: str, model: FakeModel) -> App:
    path = folder / "smolwatch.yaml"
    path.write_text(text)
    config = load_config(path, os.environ)
    return build_app(config, model, None, SystemClock())


def run(app: App) -> tuple[threading.Thread, list[int]]:
    codes: list[int] = []
    notifier = Notifier()
    thread = threading.Thread(
        target=lambda: codes.append(Running(app).run(Watchdog(notifier, None), notifier))
    )
    thread.start()
    return thread, codes


def test_from_a_scene_to_the_event_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    app = app_of(tmp_path, CONFIG, FakeModel({"Is there a person?": 0.9}))
    assert list(app.captures) == ["yard", "off"]
    thread, codes = run(app)
    log = tmp_path / "events.jsonl"
    wait_until(lambda: log.exists() and len(log.read_text().splitlines()) >= 2, "two events")
    wait_until(lambda: app.inference.windows_run >= 10, "windows")
    health = app.reporter.camera_health("yard")
    assert health.windows_run >= 8
    assert health.problem is None
    assert health.latency_ms_p50 is not None
    app.workers.ended.set()
    thread.join(10)
    assert codes == [0]
    types = [line.split('"event_type":"')[1].split('"')[0] for line in log.read_text().splitlines()]
    assert types[0] == "rule_match"
    assert types[-1] == "rule_clear"  # what was open is closed with the daemon
    assert "describe" in types


def test_a_model_that_breaks_ends_the_daemon_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = app_of(tmp_path, CONFIG, FakeModel(fail=10**6))
    thread, codes = run(app)
    thread.join(30)
    assert codes == [1]
    assert app.workers.failed == "inference"


def test_a_source_that_nothing_reads_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cameras\.yard\.source: .* no scene 'beach'"):
        app_of(tmp_path, CONFIG.replace("scene://yard", "scene://beach"), FakeModel())


def test_a_camera_that_is_retried_slowly_is_not_called_stuck() -> None:
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, SourceError)]
    assert max(kind.backoff_cap_s for kind in kinds) + 30 < CAPTURE_BOUND_S


def test_a_stop_does_not_wait_for_a_model_in_the_middle_of_a_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    inside, release = threading.Event(), threading.Event()

    def slow(window: object, question: str) -> float:
        inside.set()
        release.wait(60)
        return 0.0

    app = app_of(tmp_path, CONFIG, FakeModel(slow))
    thread, codes = run(app)
    assert inside.wait(30)
    app.workers.ended.set()
    thread.join(20)  # the model would take a minute
    assert codes == [0]
    release.set()
    assert app.workers.join(10, "inference") == ()


def test_longer_strides_are_told_as_a_problem_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = app_of(tmp_path, CONFIG + "throttle: {cpu_share: 0.5}\n", FakeModel({}))
    assert app.throttling is not None
    [status] = app.front.answers["top"]({})
    assert status["problem"] is None
    app.throttling._throttle.factor, app.throttling._throttle.reason = 4, "82 C (limit 80)"
    [status] = app.front.answers["top"]({})
    assert status["problem"] == "all strides are 4 times as long: 82 C (limit 80)"
