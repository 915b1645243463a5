"""Does docs/home-assistant.md speak of entities that there are?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from daemon.config import load_config
from daemon.mqtt.discovery import Site
from daemon.mqtt.discovery_schemas import Platform
from daemon.mqtt.records import CameraEntry
from daemon.mqtt.schemas import EventPayload
from daemon.mqtt.topics import Topics
from pipelines.types import EventType

TEXT = (Path(__file__).parents[1] / "docs" / "home-assistant.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
DEVICES = Site(Topics(), "homeassistant", "1", "full").devices(
    [CameraEntry("porch", "", ("package",), snapshots=True, digests=True)]
)
ENTITIES = {
    component["default_entity_id"]
    for device in DEVICES.values()
    for component in device["components"].values()
}


def test_the_configuration_loads(tmp_path: Path) -> None:
    (block,) = [block for block in BLOCKS if "cameras:" in block]
    (tmp_path / "c.yaml").write_text(block)
    config = load_config(tmp_path / "c.yaml", {"MQTT_PASSWORD": "a", "PORCH_PASSWORD": "b"})
    assert config.mqtt is not None
    assert config.mqtt.discovery


def test_each_entity_is_announced_and_each_announced_one_is_told() -> None:
    platforms = "|".join(get_args(Platform))
    named = set(re.findall(rf"\b((?:{platforms})\.[a-z0-9_]+)", TEXT))
    ours = {name for name in named if not name.endswith(".mqtt")}
    first = "sensor.porch_frame_rate"
    row = next(line for line in TEXT.splitlines() if first in line)
    ours |= {f"sensor.porch{end}" for end in re.findall(r"`(_[a-z_]+)`", row)}
    assert ours == ENTITIES


def test_what_needs_which_level_is_said_as_it_is() -> None:
    rows = re.findall(r"^\| `((?:switch|number|text|button)\.\w+)` .*\| (`.*`) \|$", TEXT, re.M)
    assert len(rows) == 5
    for level in ("arm", "full"):
        site = Site(Topics(), "homeassistant", "1", level)
        shown = site.devices([CameraEntry("porch", "", ("package",))])
        components = shown[site.config_topic("porch")]["components"].values()
        names = {component["default_entity_id"] for component in components}
        assert {name for name, levels in rows if f"`{level}`" in levels} == {
            name for name in names if not name.startswith(("event", "binary", "sensor", "image"))
        }


@pytest.mark.parametrize("block", BLOCKS)
def test_each_block_is_yaml(block: str) -> None:
    assert yaml.safe_load(block)


def test_the_automation_reads_what_events_have() -> None:
    (automation,) = [yaml.safe_load(block) for block in BLOCKS if "triggers:" in block]
    said: list[Any] = [*automation["conditions"], *automation["actions"]]
    attributes = set(re.findall(r"attributes\.(\w+)", str(said)))
    assert attributes <= EventPayload.__annotations__.keys()
    assert "'rule_match'" in str(EventType)
    assert "'rule_match'" in str(said)
