"""Is a model's download told while cameras are watched, from the hub to the broker?"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pipelines.smolvlm2.presets import PRESETS
from tests.checkpoints import write_tiny_checkpoint
from tests.hub import Hub, running
from tests.mosquitto import Subscriber, mosquitto, wait_until
from tests.test_end_to_end import daemon

PRESET = PRESETS["256m"]
CONFIG = """
mqtt: {{broker: "127.0.0.1:{port}"}}
model: {{name: 256m, threads: 1, engine: torch}}
cameras:
  yard:
    source: scene://yard?seed=3&width=160
    window: {{num_frames: 2, interval_s: 0.5, stride_s: 0.5}}
    gate: always
rules: {{car: {{ask: "Is there a car?"}}}}
store: off
"""
pytestmark = pytest.mark.timeout(600)
LOADED_S = 240.0  # on a busy machine


def test_how_far_it_is_stands_on_mqtt_and_in_systemds_status(tmp_path: Path) -> None:
    published = write_tiny_checkpoint(tmp_path / "published")
    # The client tells of 10 MiB at a time; nobody loads this file.
    (published / "more.safetensors").write_bytes(os.urandom(40 << 20))
    hub = Hub(published, PRESET.hub_id, PRESET.revision)
    hub.hold_after = 21 << 20
    home = str(tmp_path / "hf")
    with (
        running(hub),
        mosquitto(tmp_path) as broker,
        Subscriber(broker.port) as listener,
        daemon(
            tmp_path, CONFIG.format(port=broker.port),
            HF_HOME=home, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="0",
        ) as watching,
    ):  # fmt: skip

        def states() -> list[str]:
            told = listener.on("smolwatch/bridge/health")
            return [str(one.content["model_state"]) for one in told]

        def log() -> str:
            return f"{states()}\n{watching.log}"

        half = re.compile(r"downloading [45]\d%")  # 20 of a bit more than 40 MiB
        wait_until(lambda: any(map(half.fullmatch, states())), f"half of it: {log()}", LOADED_S)
        wait_until(lambda: watching.said("STATUS=model downloading"), "systemd's status")
        listener.wait_for_state("smolwatch/yard/availability", "online")  # it is watched meanwhile
        hub.go_on.set()
        wait_until(lambda: states()[-1] == "ready", f"the model: {log()}", LOADED_S)
        assert any(map(half.fullmatch, states()[: states().index("ready")]))
        assert watching.end() == 0
