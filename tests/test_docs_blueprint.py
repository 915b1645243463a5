"""Does the blueprint tell what it should, once, of events as they are published?"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from daemon.mqtt.discovery import Site
from daemon.mqtt.payloads import as_replay, event_content, event_messages
from daemon.mqtt.records import CameraEntry
from daemon.mqtt.schemas import EventPayload
from daemon.mqtt.topics import Topics
from pipelines.types import Event, EventType, Severity
from tests.daemon.events import MATCH

PATH = Path(__file__).parents[1] / "docs" / "home-assistant" / "notify_with_snapshot.yaml"
ENTITIES = Site(Topics(), "homeassistant", "1").devices(
    [CameraEntry("porch", "", ("package_delivered",), snapshots=True)]
)
UPDATE = dataclasses.replace(
    MATCH, event_id="01JD00000000000000000UPDAT", event_type="rule_update", text="A person."
)
PICTURES = dataclasses.replace(
    UPDATE, event_id="01JD00000000000000000UPDAX", text=None, media={"snapshot": "x.jpg"}
)


class Input(str):
    """The name of one of the blueprint's inputs."""

    __slots__ = ()


class Loader(yaml.SafeLoader):
    """Home Assistant's YAML has a tag for inputs."""


Loader.add_constructor("!input", lambda loader, node: Input(loader.construct_scalar(node)))
BLUEPRINT: dict[str, Any] = yaml.load(PATH.read_text(encoding="utf-8"), Loader)


class House:
    """What Home Assistant would know, and what the phone would show."""

    def __init__(self, **given: Any) -> None:
        self.states = {"input_text.newest": "unknown", "sensor.porch_description": "Old words."}
        self.attributes: dict[tuple[str, str], str] = {
            ("image.porch_last_alert", "entity_picture"): "/api/image_proxy/x?token=1",
            ("sensor.porch_description", "event_id"): "01JC000000000000000000000",
        }
        self.inputs: dict[str, Any] = {
            "alert": "event.porch_alert", "words": "sensor.porch_description",
            "picture": "image.porch_last_alert", "phone": "p", "newest": "input_text.newest",
            "rules": [], "severities": ["alert", "warning"],
        } | given  # fmt: skip

    def told(self, payload: bytes) -> dict[str, Any] | None:
        """The notification for an event, or None."""
        environment = SandboxedEnvironment(undefined=StrictUndefined)
        environment.globals |= {
            "states": lambda entity: self.states[entity],
            "state_attr": lambda entity, name: self.attributes[entity, name],
            "event": json.loads(payload),
        }
        for name, value in BLUEPRINT["variables"].items():
            if name != "event":
                environment.globals[name] = self._filled(value)

        def render(value: Any) -> Any:
            value = self._filled(value)
            if isinstance(value, dict):
                return {key: render(item) for key, item in value.items()}
            return environment.from_string(value).render()

        if any(render(condition) != "True" for condition in BLUEPRINT["conditions"]):
            return None
        keep, notify = BLUEPRINT["actions"]
        self.states[render(keep["target"]["entity_id"])] = render(keep["data"]["value"])
        made: dict[str, Any] = render(notify)
        return made

    def _filled(self, value: Any) -> Any:
        return self.inputs[value] if isinstance(value, Input) else value


def payload(event: Event) -> bytes:
    return event_messages(Topics(), event, event_content(event, 1.0))[0].payload


def test_every_input_is_used_and_every_used_one_is_asked_for() -> None:
    asked = BLUEPRINT["blueprint"]["input"]
    used = set(re.findall(r"!input (\w+)", PATH.read_text(encoding="utf-8")))
    assert used == asked.keys() == House().inputs.keys()


def test_it_reads_what_events_have_and_names_entities_that_there_are() -> None:
    text = PATH.read_text(encoding="utf-8")
    read = set(re.findall(r"\bevent\.(\w+)", text)) - {"porch_alert"}
    assert read <= EventPayload.__annotations__.keys()
    assert set(BLUEPRINT["variables"]["wanted"]) <= set(EventType.__args__)
    (choice,) = [i for i in BLUEPRINT["blueprint"]["input"].values() if "select" in i["selector"]]
    assert set(choice["selector"]["select"]["options"]) == set(Severity.__args__)
    components = [c for device in ENTITIES.values() for c in device["components"].values()]
    shown = {component["default_entity_id"] for component in components}
    named = set(re.findall(r"\b(?:event|sensor|image)\.porch_\w+", text))
    assert len(named) == 3
    assert named <= shown


def test_an_alert_its_words_and_its_picture_are_one_message() -> None:
    house = House()
    first = house.told(payload(MATCH))
    assert first is not None
    assert first["title"] == "Porch: package delivered"
    assert first["message"] == "package_delivered opened on porch"
    assert first["data"]["image"] == ""  # it would be the picture before
    words = house.told(payload(UPDATE))
    assert words is not None
    assert words["message"] == "A person."
    assert words["data"]["image"].startswith("/api/image_proxy/")
    house.states["sensor.porch_description"] = "A person."
    house.attributes["sensor.porch_description", "event_id"] = UPDATE.event_id
    picture = house.told(payload(PICTURES))
    assert picture is not None
    assert picture["message"] == "A person."  # the picture does not take the words away
    assert {m["data"]["tag"] for m in (first, words, picture)} == {MATCH.incident_id}


def test_what_comes_twice_is_told_once() -> None:
    house = House()
    assert house.told(payload(MATCH)) is not None
    assert house.told(payload(MATCH)) is None
    assert house.told(payload(UPDATE)) is not None
    assert house.told(payload(MATCH)) is None
    assert House().told(as_replay(payload(MATCH))) is None


@pytest.mark.parametrize(
    "change",
    [
        {"event_type": "rule_clear"},
        {"event_type": "describe", "rule": None, "severity": "info", "incident_id": None},
        {"severity": "info"},
    ],
)
def test_what_is_no_alert_is_not_told(change: dict[str, Any]) -> None:
    assert House().told(payload(dataclasses.replace(MATCH, **change))) is None


def test_only_the_rules_that_are_wanted() -> None:
    assert House(rules=["dog"]).told(payload(MATCH)) is None
    assert House(rules=["dog", "package_delivered"]).told(payload(MATCH)) is not None
