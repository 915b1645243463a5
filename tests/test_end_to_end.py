"""Does the installed daemon do its job, from a real stream to a real broker?"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pipelines.scenes.clips import encode_h264
from pipelines.scenes.draw import Painter
from pipelines.scenes.script import Script
from pipelines.scenes.stage import random_stage
from tests.mosquitto import Subscriber, mosquitto, wait_until
from tests.rtsp_server import Login, RtspServer

FOOTAGE = Path(__file__).parent.parent.parent / "shared" / "footage"
PASSWORD = "hunter2-s3cret"


class Daemon:
    """`smolwatch run` in a process of its own, told of a notify socket as systemd would."""

    def __init__(self, folder: Path, config: str, settings: dict[str, str]) -> None:
        self.folder = folder
        path = folder / "smolwatch.yaml"
        path.write_text(config)
        self.log_path = folder / "daemon.log"
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(folder / "notify"))
        self._notify.settimeout(0.2)
        self._said = ""
        env = os.environ | {
            "NOTIFY_SOCKET": str(folder / "notify"),
            "WATCHDOG_USEC": "3000000",
            "CAMERA_PASSWORD": PASSWORD,
            **settings,
        }
        with self.log_path.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "daemon.cli", "run", "-c", str(path)],
                stdout=log, stderr=log, env=env,
            )  # fmt: skip

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def said(self, message: str) -> bool:
        """Whether systemd has been told `message`."""
        try:
            while True:
                self._said += self._notify.recv(4096).decode() + "\n"
        except TimeoutError:
            return message in self._said

    def end(self) -> int:
        """SIGTERM; raises if it takes longer than the five seconds that a service has."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=5)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=5)
        self._notify.close()


@contextmanager
def daemon(folder: Path, config: str, **settings: str) -> Iterator[Daemon]:
    """`settings`: of its environment."""
    running = Daemon(folder, config, settings)
    try:
        yield running
    finally:
        running.close()


@pytest.fixture(scope="module")
def driveway(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """28 s of H.264 in which a car arrives and leaves again; looped, it goes on without a jump."""
    path = tmp_path_factory.mktemp("clip") / "driveway.mp4"
    stage = random_stage(np.random.default_rng(5), "driveway", night=False)
    script = Script(stage, 5, ["car_arrive", "car_leave"], (4.0, 4.0), (9.0, 9.0))
    painter = Painter(stage, 640, 360)
    images = [painter.paint(script.state_at(t / 10), t / 10) for t in range(280)]
    encode_h264(images, 10, 24, str(path))
    return path


def config(broker_port: int, cameras: dict[str, str], rules: str = "") -> str:
    mqtt = f"mqtt: {{broker: '127.0.0.1:{broker_port}'}}"
    lines = [mqtt, "model: {threads: 1}", "cameras:"]
    for name, url in cameras.items():
        lines += [
            f"  {name}:",
            f"    source: '{url}'",
            "    window: {num_frames: 8, interval_s: 0.5, stride_s: 0.5}",
            "    gate: always",
            "    describe: {every_s: 2}",
        ]
    return "\n".join([*lines, rules, "log: {events: events.jsonl}"])


RULES = """
rules:
  car_arrived: {ask: "Did a car arrive?", cooldown_s: 1, describe: true}
  car_left: {ask: "Did a car leave?", cooldown_s: 1, severity: warning}
"""


def windows_run(listener: Subscriber, camera: str) -> int:
    health = listener.on(f"smolwatch/{camera}/health")
    return int(str(health[-1].content["windows_run"])) if health else 0


def test_from_an_rtsp_camera_to_alerts_over_mqtt(
    tmp_path: Path, driveway: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        mosquitto(tmp_path) as broker,
        RtspServer(driveway, login=Login("cam", PASSWORD)) as camera,
        Subscriber(broker.port, "smolwatch/#") as listener,
    ):
        address = camera.url.replace(PASSWORD, "{CAMERA_PASSWORD}")
        with daemon(tmp_path, config(broker.port, {"drive": address}, RULES)) as running:
            wait_until(lambda: running.said("READY=1"), "READY for systemd", 60)
            listener.wait_for_state("smolwatch/bridge/state", "online")
            listener.wait_for_state("smolwatch/drive/availability", "online")

            def matches() -> set[str]:
                events = [m.content for m in listener.on("smolwatch/drive/event")]
                return {str(e["rule"]) for e in events if e["event_type"] == "rule_match"}

            wait_until(lambda: matches() == {"car_arrived", "car_left"}, "both alerts", 75)

            def told(kind: str) -> bool:
                return any(
                    m.content["event_type"] == kind for m in listener.on("smolwatch/drive/event")
                )

            wait_until(lambda: told("rule_update") and told("describe"), "words", 60)
            events = [m.content for m in listener.on("smolwatch/drive/event")]
            update = next(e for e in events if e["event_type"] == "rule_update")
            assert "car" in str(update["text"]).lower()
            assert update["incident_id"] in {
                e["incident_id"] for e in events if e["event_type"] == "rule_match"
            }
            assert any(e["event_type"] == "describe" for e in events)
            assert running.said("WATCHDOG=1")

            camera.stop()
            listener.wait_for_state("smolwatch/drive/availability", "offline")
            before = windows_run(listener, "drive")
            camera.start()
            wait_until(
                lambda: (
                    listener.on("smolwatch/drive/availability")[-1].content["state"] == "online"
                ),
                "the camera is back",
            )
            wait_until(lambda: windows_run(listener, "drive") > before + 5, "windows flow on", 60)

            assert running.end() == 0
        listener.wait_for_state("smolwatch/bridge/state", "offline")
        lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
        heard = [m.content["event_id"] for m in listener.on("smolwatch/drive/event")]
        assert [line["event_id"] for line in lines] == heard  # same events, same order
        assert PASSWORD not in running.log
        assert PASSWORD not in (tmp_path / "events.jsonl").read_text()
        assert not any(PASSWORD.encode() in m.payload for m in listener.messages)
        assert "Traceback" not in running.log


def test_without_a_broker_the_log_alone_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = config(1, {"yard": "scene://yard?event=dog_cross_left&seed=3&start_s=5"})
    text = text.partition("\n")[2]  # no mqtt section at all
    with daemon(tmp_path, text) as running:
        events = tmp_path / "events.jsonl"
        wait_until(lambda: events.exists() and '"describe"' in events.read_text(), "words", 60)
        assert running.end() == 0
    assert "Traceback" not in running.log


def test_a_broker_that_comes_late_gets_what_it_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with mosquitto(tmp_path) as broker:
        broker.stop()
        text = config(broker.port, {"yard": "scene://yard?seed=3"})
        with daemon(tmp_path, text) as running:
            events = tmp_path / "events.jsonl"
            wait_until(lambda: events.exists() and '"describe"' in events.read_text(), "words", 60)
            broker.start()
            with Subscriber(broker.port, "smolwatch/#") as listener:
                first = json.loads(events.read_text().splitlines()[0])
                # Events are not retained: it is the word that a subscriber in time would have had.
                listener.wait_for_state("smolwatch/bridge/state", "online")
                listener.wait_for("smolwatch/yard/event")
                words = listener.wait_for("smolwatch/yard/description")
                assert words[0].content["event_id"] >= first["event_id"]
            assert running.end() == 0


def test_a_wrong_configuration_ends_with_78_and_says_where(tmp_path: Path) -> None:
    path = tmp_path / "smolwatch.yaml"
    path.write_text("cameras:\n  porch:\n    sauce: rtsp://u:hunter2@10.0.0.5/\n")
    for command in (["run"], ["check-config"]):
        done = subprocess.run(
            [sys.executable, "-m", "daemon.cli", *command, "-c", str(path)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 78
        assert f"{path}:3" in done.stderr
        assert "source" in done.stderr
        assert "hunter2" not in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not FOOTAGE.is_dir(), reason="the real clips are not beside this checkout")
def test_real_footage_flows_for_a_minute_and_again_after_the_server_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        mosquitto(tmp_path) as broker,
        RtspServer(FOOTAGE / "car-detection.mp4") as road,
        RtspServer(FOOTAGE / "one-by-one-person-detection.mp4") as door,
        Subscriber(broker.port, "smolwatch/#") as listener,
        daemon(tmp_path, config(broker.port, {"road": road.url, "door": door.url})) as running,
    ):
        wait_until(lambda: running.said("READY=1"), "READY for systemd", 60)
        for name in ("road", "door"):
            listener.wait_for_state(f"smolwatch/{name}/availability", "online")
        wait_until(lambda: windows_run(listener, "road") >= 50, "windows for a minute", 120)
        at_door = windows_run(listener, "door")
        road.stop()
        listener.wait_for_state("smolwatch/road/availability", "offline")
        before = windows_run(listener, "road")
        wait_until(lambda: windows_run(listener, "door") > at_door + 20, "the other goes on", 60)
        road.start()
        wait_until(lambda: windows_run(listener, "road") > before + 20, "windows flow on", 90)
        assert running.end() == 0
