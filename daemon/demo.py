"""Does the whole path work on this machine, with no camera, network or account?

Knows the demo's configuration and the scenes' truth. Two drawn cameras, the bundled model and the
embedded broker run as they would in the daemon; a subscriber of its own prints what arrives over
MQTT, and every alert is held against what the scenes really showed.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import threading
from datetime import datetime
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from rich.console import Console
from rich.markup import escape

from daemon import logs
from daemon.app import App, build_app
from daemon.config import Config, load_config
from daemon.config_sections import CameraConfig
from daemon.demo_judge import Heard, Shown, judge
from daemon.mqtt.options import MqttOptions
from daemon.running import Running
from daemon.service import load_model, mqtt_options
from daemon.shipped import shipped
from daemon.systemd import Notifier, Watchdog
from pipelines.clock import SystemClock
from pipelines.errors import SmolwatchError
from pipelines.sources import SourceUrl
from pipelines.sources.scene import SceneSource

DEMO_CONFIG: Final = "configs/demo.yaml"
LEAST_KINDS: Final = 3  # of alerts, or the demo has shown too little


def run_demo(seconds: int, seed: int | None) -> int:
    """Run it, print it, judge it: 0 if every expected alert came and no false one did."""
    console = Console(highlight=False, soft_wrap=True)
    logs.setup(level="warning")
    config = _seeded(load_config(shipped(DEMO_CONFIG), os.environ), seed)
    console.print("smolwatch demo: loading the bundled model ...")
    model = load_model(config)
    clock = SystemClock()
    with contextlib.ExitStack() as stack:
        options = mqtt_options(config, "demo", stack)
        if options is None:
            raise SmolwatchError(f"{DEMO_CONFIG} names no broker")
        app = build_app(config, model, options, clock)
        listener = Listener(app, options, console)
        stack.callback(listener.close)
        for name, camera in config.cameras.items():
            console.print(f"[bold]{name}[/]: {camera.source}, {seconds} s")
        ender = threading.Timer(seconds, app.workers.ended.set)
        ender.daemon = True
        ender.start()
        code = Running(app).run(Watchdog(Notifier(), None), Notifier())
        ender.cancel()
    # Scenes of another seed may have little to show; those of the file are chosen.
    return max(code, _sum_up(app, listener.heard, console, LEAST_KINDS if seed is None else 0))


def _seeded(config: Config, seed: int | None) -> Config:
    """The same configuration with other scenes."""
    if seed is None:
        return config
    cameras: dict[str, CameraConfig] = {}
    for i, (name, camera) in enumerate(config.cameras.items()):
        place = camera.source.secret.partition("?")[0]
        source = SourceUrl(f"{place}?seed={seed + i}")
        cameras[name] = camera.model_copy(update={"source": source})
    return config.model_copy(update={"cameras": cameras})


class Listener:
    """Subscribes as Home Assistant would, and prints what arrives."""

    def __init__(self, app: App, options: MqttOptions, console: Console) -> None:
        self.heard = Heard()
        self._app = app
        self._console = console
        self._base = options.base_topic
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, "smolwatch-demo-listener",
            protocol=MQTTProtocolVersion.MQTTv311,
        )  # fmt: skip
        self._client.on_message = self._on_message
        self._client.connect(options.host, options.port)
        self._client.subscribe(f"{self._base}/+/event", qos=1)
        self._client.loop_start()

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(
        self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage
    ) -> None:
        event = json.loads(message.payload)
        event["at_s"] = seconds_of(self._app, event["camera"], event)
        latency = f"{event['latency_ms']['total']} ms"
        time = f"{event['ts'][11:19]} [bold]{event['camera']:10}[/]"
        if event["event_type"] == "describe":
            self.heard.descriptions.append(event)
            self._console.print(f"{time} [dim]{escape(event['text'])}  ({latency})[/]")
        elif event["event_type"] == "rule_match":
            self.heard.alerts.append(event)
            how = f"(p_yes {event['score']:.2f}, {latency})"
            severity = event["severity"].upper()
            self._console.print(f"{time} [bold red]{severity}[/] {event['rule']}  {how}")
        elif event["event_type"] == "rule_update":
            self._console.print(f"{time}   [red]{event['rule']}[/]: {escape(event['text'])}")
        else:
            self._console.print(f"{time} [green]clear[/] {event['rule']}")


def seconds_of(app: App, camera: str, event: dict[str, Any]) -> float:
    """The second of the scene's script that an event's newest frame shows."""
    wall = datetime.fromisoformat(event["ts"]).timestamp()
    now, now_s = app.clock.wall_time(), app.clock.monotonic_s()
    return now_s - (now - wall) - (scene_of(app, camera).started_s or 0.0)


def scene_of(app: App, camera: str) -> SceneSource:
    """The camera's scene. Raises `SmolwatchError` if it is another kind of source."""
    source = app.sources[camera]
    if not isinstance(source, SceneSource):
        raise SmolwatchError(f"{camera} is no scene camera: only scenes know their truth")
    return source


def _shown(app: App) -> dict[str, Shown]:
    shown = {}
    for name, camera in app.config.cameras.items():
        scene = scene_of(app, name)
        seen_s = app.clock.monotonic_s() - (scene.started_s or 0.0)
        shown[name] = Shown(scene.script, camera.plan(), app.config.rules_for(name), seen_s)
    return shown


def _sum_up(app: App, heard: Heard, console: Console, least_kinds: int) -> int:
    """Print what was wrong, and the last line; the exit code."""
    judgement = judge(_shown(app), heard, least_kinds)
    for problem in judgement.problems:
        console.print(f"[bold red]{problem}[/]")
    latencies = [alert["latency_ms"]["total"] for alert in heard.alerts]
    p50 = f"{statistics.median(latencies):.0f} ms" if latencies else "unknown"
    console.print(
        f"demo: {app.inference.windows_run} windows, {len(heard.descriptions)} descriptions, "
        f"{len(heard.alerts)} alerts, {judgement.expected} expected, p50 latency {p50}"
    )
    return 1 if judgement.problems else 0
