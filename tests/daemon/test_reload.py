"""Does a changed configuration take effect where it changed, and nowhere else?"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from daemon.app import App, build_app
from daemon.config import Config, load_config
from daemon.control import ControlError, ask
from daemon.model_loader import ModelLoader, Progress, Wish
from daemon.mqtt.options import MqttOptions
from daemon.reload_plan import plan_of
from daemon.reloading import Outside, Reloads
from daemon.running import Running
from daemon.store import Limits, Store
from daemon.systemd import Notifier, Watchdog
from pipelines.clock import SystemClock
from pipelines.errors import ModelError
from pipelines.types import VideoModel, Window
from tests.daemon.test_commands import Asker
from tests.fakes import FakeModel
from tests.mosquitto import WAIT_S, Subscriber, mosquitto, wait_until

CAMERA = """
  {name}:
    source: scene://{place}?seed=3&width=160
    window: {{num_frames: 4, interval_s: 0.1, stride_s: 0.1}}
    gate: always
    describe: off
"""
RULE = """
  {name}: {{cameras: [{cameras}], ask: "{ask}", debounce: {{needed: 1, of: 1}}, cooldown_s: 0}}
"""


def camera(name: str, place: str = "yard") -> str:
    return CAMERA.format(name=name, place=place)


def rule(name: str, cameras: str, ask: str = "Is it?") -> str:
    return RULE.format(name=name, cameras=cameras, ask=ask)


BEFORE = f"""
cameras:{camera("yard")}{camera("shed", "porch")}{camera("old", "porch")}
rules:{rule("person", "yard, old")}{rule("car", "yard")}{rule("cat", "shed")}
"""
AFTER = f"""
cameras:{camera("yard")}{camera("shed", "yard")}{camera("new", "porch")}
rules:{rule("person", "yard, new")}{rule("car", "yard", "Is it parked?")}{rule("cat", "shed")}
"""


class Bench:
    """A running daemon whose configuration may be written anew."""

    def __init__(self, folder: Path, text: str) -> None:
        self.path = folder / "c.yaml"
        self.socket = folder / "c.sock"
        self.model = FakeModel(lambda _window, _question: 0.9)
        self.load: Callable[[Progress], VideoModel] = lambda _: self.model
        self.write(text)
        clock = SystemClock()
        config = self.read()
        self.taken_up: list[Config] = []
        self.reloads = Reloads(Outside(self.read, link, self.wish, self.taken_up.append))
        app = build_app(
            config, ModelLoader(self.wish(config), clock), link(config, None), clock,
            Store(folder / "s.db", Limits(), clock), self.socket, reload=self.reloads.ask,
        )  # fmt: skip
        self.running = Running(app, self.reloads)

    @property
    def app(self) -> App:
        return self.running.app

    def write(self, text: str) -> None:
        self.path.write_text(text)

    def read(self) -> Config:
        return load_config(self.path, {})

    def wish(self, config: Config) -> Wish:
        return Wish(config.model.name, "fake@0", 64, self.loaded)

    def loaded(self, progress: Progress) -> VideoModel:
        return self.load(progress)

    def reload(self, text: str) -> dict[str, Any]:
        """Over the control socket, and until it has taken effect."""
        wait_until(lambda: self.reloads._prospect is None, "the one before is done")
        self.write(text)
        before = len(self.taken_up)
        [told] = ask(self.socket, {"op": "reload"})
        if told["reload"]["changed"]:
            wait_until(lambda: len(self.taken_up) > before, "the exchange")
        return dict(told["reload"])

    def events(self, event_type: str) -> list[dict[str, Any]]:
        assert self.app.store is not None
        rows = self.app.store._connection.execute("SELECT content FROM events ORDER BY id")
        found = [json.loads(content) for (content,) in rows]
        return [event for event in found if event["event_type"] == event_type]

    def about(self, event_type: str) -> set[tuple[str, str]]:
        return {(event["camera"], event["rule"]) for event in self.events(event_type)}

    def windows(self, name: str) -> list[Window]:
        return [window for window, _, _ in list(self.model.asked) if window.camera == name]


def link(config: Config, _: MqttOptions | None) -> MqttOptions | None:
    return config.mqtt.options("test") if config.mqtt is not None else None


@contextmanager
def bench(folder: Path, text: str = BEFORE) -> Iterator[Bench]:
    made = Bench(folder, text)
    notifier = Notifier()
    codes: list[int] = []
    thread = threading.Thread(
        target=lambda: codes.append(made.running.run(Watchdog(notifier, None), notifier))
    )
    thread.start()
    wait_until(made.socket.exists, "the daemon can be asked")
    try:
        yield made
    finally:
        made.app.workers.ended.set()
        thread.join(WAIT_S)
    assert codes == [0]


def test_what_did_not_change_goes_on_and_the_rest_follows(tmp_path: Path) -> None:
    with bench(tmp_path) as made:
        all_open = {("yard", "person"), ("yard", "car"), ("shed", "cat"), ("old", "person")}
        wait_until(lambda: made.about("rule_match") == all_open, "all are open")
        before, threads = made.app, dict(made.app.workers._threads)
        capture, run = before.captures["yard"], before.inference.windows_run
        person = before.inference.book("yard").open_incidents["person"]

        told = made.reload(AFTER)

        assert told["cameras"] == {"added": ["new"], "removed": ["old"], "restarted": ["shed"]}
        assert told["rules"] == {"yard": ["car"]}
        assert (told["model"], told["link"], told["needs_restart"]) == (False, False, [])
        now = made.app
        assert now is not before
        assert now.inference.batches >= before.inference.batches > 0  # counted on
        assert now.inference.busy_s >= before.inference.busy_s
        assert now.captures["yard"] is capture
        assert now.workers._threads["capture-yard"] is threads["capture-yard"]
        assert now.workers._threads["capture-shed"] is not threads["capture-shed"]
        assert now.workers.join(WAIT_S, "capture-shed", "capture-new") != ()
        for name in ("capture-old", "capture-shed"):
            threads[name].join(WAIT_S)
            assert not threads[name].is_alive()
        closed = {("yard", "car"), ("shed", "cat"), ("old", "person")}
        assert made.about("rule_clear") == closed  # and yard's person is not
        again = {("yard", "car"), ("shed", "cat"), ("new", "person")}
        wait_until(lambda: made.about("rule_match") >= again | all_open, "the new ones open")
        wait_until(lambda: len(made.events("rule_match")) == 4 + 3, "each once")
        assert made.app.inference.windows_run > run
        assert now.inference.book("yard").open_incidents["person"] == person

        # No frame of the untouched camera was lost, and none of another has its key.
        stretch = [frame.key for frame in now.ground.cameras["yard"].ring.frames_since(-1)]
        assert {epoch for _, epoch, _, _ in stretch} == {0}
        numbers = [seq for _, _, seq, _ in stretch]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert capture.health().reconnects == {}
        epochs = [window.frames[0].epoch for window in made.windows("shed")]
        assert set(epochs) == {0, 1}
        counts = now.scheduler.counts("yard", now.clock.monotonic_s())
        assert counts.ran >= len(made.windows("yard")) - 2  # counted on, not anew


def test_a_wrong_configuration_changes_nothing_and_says_why(tmp_path: Path) -> None:
    with bench(tmp_path) as made:
        wait_until(lambda: made.app.inference.windows_run > 3, "windows")
        before = made.app
        for wrong in ("cameras: {}", BEFORE.replace("scene://porch", "scene://beach")):
            made.write(wrong)
            with pytest.raises(ControlError, match=r"beach|cameras"):
                list(ask(made.socket, {"op": "reload"}))
            assert made.reloads.problem is not None
        wait_until(lambda: made.app.reporter.trouble is not None, "health tells")
        run = made.app.inference.windows_run
        wait_until(lambda: made.app.inference.windows_run > run + 3, "it goes on")
        assert made.app is before
        assert made.reload(BEFORE) == {
            "changed": False, "cameras": {"added": [], "removed": [], "restarted": []},
            "rules": {}, "model": False, "link": False, "needs_restart": [],
        }  # fmt: skip
        wait_until(lambda: made.app.reporter.trouble is None, "all is well again")
        assert made.app is before


def test_another_model_is_loaded_while_cameras_run(tmp_path: Path) -> None:
    with bench(tmp_path) as made:
        wait_until(lambda: made.app.inference.windows_run > 3, "windows")
        capture = made.app.captures["yard"]

        def fail(_: Progress) -> VideoModel:
            raise ModelError("model.safetensors is damaged")

        made.load = fail
        assert made.reload(BEFORE + "model: {max_new_tokens: 9}")["model"]
        wait_until(lambda: made.app.ground.edges.slot.state.phase == "failed", "it fails")
        frames = capture.health().frames_sampled
        wait_until(lambda: capture.health().frames_sampled > frames + 3, "frames flow")
        assert made.app.captures["yard"] is capture
        other = FakeModel(lambda _window, _question: 0.1)
        made.load = lambda _: other
        made.reload(BEFORE + "model: {max_new_tokens: 9}\nlog: {level: debug}")  # tries again
        wait_until(lambda: other.asked != [], "the other model looks")


def test_what_holds_from_the_next_start_on_is_said(tmp_path: Path) -> None:
    with bench(tmp_path) as made:
        told = made.reload(BEFORE + f"store: {{path: {tmp_path}/other.db}}")
        assert told["needs_restart"] == ["store"]
        assert not told["changed"]
        assert not (tmp_path / "other.db").exists()


def test_switches_stay_as_they_were_set(tmp_path: Path) -> None:
    with bench(tmp_path) as made:
        made.app.switches.change("yard", {"rule/person/armed": False, "prompt": "Who?"})
        made.app.switches.change("shed", {"enabled": False})
        made.reload(AFTER)
        yard, shed = (made.app.switches.settings.of(name) for name in ("yard", "shed"))
        assert (yard.rules["person"].armed, yard.prompt, shed.enabled) == (False, "Who?", False)
        assert made.app.captures["shed"].health().state in ("connecting", "disabled")
        seen = len(made.windows("shed"))
        wait_until(lambda: len(made.windows("new")) > 5, "windows of another")
        assert len(made.windows("shed")) == seen


MQTT = """
mqtt: {{broker: "127.0.0.1:{port}", commands: full{more}}}
"""


def test_home_assistant_follows_over_the_same_link(tmp_path: Path) -> None:
    def text(cameras: str, more: str = "") -> str:
        return MQTT.format(port=broker.port, more=more) + cameras

    def devices() -> set[str]:
        """Those that the broker keeps an announcement of."""
        last = {m.topic: m.payload for m in list(heard.messages) if m.topic.endswith("/config")}
        return {topic for topic, payload in last.items() if payload}

    homes = {f"homeassistant/device/smolwatch_{name}/config" for name in ("bridge", "yard", "shed")}
    with (
        mosquitto(tmp_path) as broker,
        Subscriber(broker.port, "#") as heard,
        bench(tmp_path, text(BEFORE)) as made,
    ):
        old, new = "homeassistant/device/smolwatch_old/config", "smolwatch_new/config"
        heard.wait_for_state("smolwatch/old/availability", "online")
        heard.wait_for_state("smolwatch/yard/rule/person", "ON")
        wait_until(lambda: devices() == {*homes, old}, "all are announced")
        link = made.app.publisher

        made.reload(text(AFTER))

        heard.wait_for_state("smolwatch/new/availability", "online")
        heard.wait_for_state("smolwatch/new/rule/person", "ON")
        heard.wait_for_state("smolwatch/yard/rule/car", "ON")
        there = {*homes, f"homeassistant/device/{new}"}
        wait_until(lambda: devices() == there, "the new camera in the old one's place")
        wait_until(lambda: heard.on("smolwatch/old/availability")[-1].payload == b"", "gone")
        assert made.app.publisher is link
        assert [m.content["state"] for m in heard.on("smolwatch/bridge/state")] == ["online"]
        states = [m.content["state"] for m in heard.on("smolwatch/yard/availability")]
        assert states == ["offline", "online"]  # at the start, and never again
        person = [m.content["state"] for m in heard.on("smolwatch/yard/rule/person")]
        assert person == ["OFF", "ON"]

        asker = Asker(broker.port)
        answer = asker.ask(heard, "rule", "new/rule/person/set", armed=False)
        assert answer["data"]["camera"] == "new"
        assert asker.ask(heard, "reload")["data"]["changed"] is False
        made.write("cameras: {}")
        assert "cameras" in asker.ask(heard, "reload")["error"]
        made.write(text(BEFORE))
        assert asker.ask(heard, "reload")["data"]["cameras"]["added"] == ["old"]
        wait_until(lambda: devices() == {*homes, old}, "as it was")

        assert made.reload(text(BEFORE, ", discovery_prefix: ha"))["link"]
        elsewhere = {topic.replace("homeassistant", "ha") for topic in (*homes, old)}
        wait_until(lambda: devices() == elsewhere, "announced elsewhere, and only there")
        heard.wait_for_state("smolwatch/bridge/state", "online")
        assert made.app.publisher is not link


class Notified:
    """What the daemon tells systemd, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(WAIT_S * 4)

    def close(self) -> None:
        self._socket.close()

    def until(self, line: str) -> list[str]:
        found: list[str] = []
        while line not in found:
            found += self._socket.recv(4096).decode().splitlines()
        return found


def test_sighup_reloads_as_systemd_expects_it(tmp_path: Path) -> None:
    systemd = Notified(tmp_path / "notify")
    config = tmp_path / "c.yaml"
    own = f"control: {{path: {tmp_path}/c.sock}}\nlog: {{level: info}}\nstore: off\n"
    config.write_text(own + BEFORE)
    smolwatch = [sys.executable, "-c", "from daemon.cli import main; main()"]
    env = {**os.environ, "NOTIFY_SOCKET": str(systemd.path)}
    with subprocess.Popen(
        [*smolwatch, "run", "-c", str(config)], env=env, stderr=subprocess.PIPE, text=True
    ) as daemon:
        try:
            systemd.until("READY=1")
            config.write_text(own + AFTER)
            asked_us = time.monotonic() * 1e6
            daemon.send_signal(signal.SIGHUP)
            told = systemd.until("READY=1")
            assert "RELOADING=1" in told
            (since,) = {
                line.partition("=")[2] for line in told if line.startswith("MONOTONIC_USEC=")
            }
            assert float(since) >= asked_us - 1
            config.write_text(own + "cameras: {}")
            daemon.send_signal(signal.SIGHUP)
            assert "RELOADING=1" in systemd.until("READY=1")
            command = subprocess.run(
                [*smolwatch, "reload", "--socket", f"{tmp_path}/c.sock"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert (command.returncode, command.stdout) == (1, "")
            assert f"{config}:" in command.stderr
            config.write_text(own + AFTER)
            command = subprocess.run(
                [*smolwatch, "reload", "--socket", f"{tmp_path}/c.sock"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert (command.returncode, command.stdout) == (0, "nothing has changed\n")
            daemon.send_signal(signal.SIGTERM)
            log = daemon.communicate(timeout=WAIT_S)[1]
        finally:
            daemon.kill()
            systemd.close()
    assert daemon.returncode == 0
    assert '"added": ["new"], "removed": ["old"], "restarted": ["shed"]' in log
    assert log.count("config.refused") == 2


def plan(folder: Path, old: str, new: str) -> dict[str, Any]:
    configs = []
    for text in (old, new):
        (folder / "plan.yaml").write_text(text)
        configs.append(load_config(folder / "plan.yaml", {}))
    return plan_of(*configs).as_json()


@pytest.mark.parametrize(
    ("change", "restarted", "rules"),
    [
        (("num_frames: 4", "num_frames: 5"), ["yard", "shed", "old"], {}),
        (("gate: always", "gate: motion"), [], {}),
        (("describe: off", "describe: {every_s: 5}"), [], {}),
        (("cooldown_s: 0", "cooldown_s: 1"), [],
         {"yard": ["person", "car"], "shed": ["cat"], "old": ["person"]}),
    ],
)  # fmt: skip
def test_the_plan(
    tmp_path: Path, change: tuple[str, str], restarted: list[str], rules: dict[str, list[str]]
) -> None:
    found = plan(tmp_path, BEFORE, BEFORE.replace(*change))
    assert found["changed"]
    assert found["cameras"] == {"added": [], "removed": [], "restarted": restarted}
    assert found["rules"] == rules
