"""What does Home Assistant have to be told so that cameras and rules appear by themselves?

Knows no connection: names in, discovery payloads out. Device-based discovery, one retained message
a camera and one for the bridge (https://www.home-assistant.io/integrations/mqtt/). Every function
here is pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from daemon.mqtt.commands import Level
from daemon.mqtt.discovery_controls import controls
from daemon.mqtt.discovery_entities import (
    BRIDGE_FIGURES,
    CAMERA_FIGURES,
    Entities,
    available,
    title,
)
from daemon.mqtt.discovery_schemas import Component, Discovery, Platform
from daemon.mqtt.payloads import Message, encode
from daemon.mqtt.records import CameraEntry
from daemon.mqtt.topics import RESERVED_SLUG, Topics

ORIGIN = "smolwatch"
_PLATFORMS = get_args(Platform)
_KEY = re.compile(r"[a-z0-9_]{1,200}")


@dataclass(frozen=True, slots=True)
class Site:
    """One smolwatch among those that a broker may have, and where Home Assistant listens.

    Two sites need different base topics. A device's id holds the base topic, and `-` stands only
    where two names meet, so that no two entities of a site can have the same `unique_id`.
    """

    topics: Topics
    prefix: str
    version: str
    commands: Level = "off"  # what may be asked for, and so shows a switch, a number, a button

    def devices(self, cameras: Sequence[CameraEntry]) -> dict[str, Discovery]:
        """The bridge and each camera, by the topic of their discovery message, bridge first."""
        return {
            self.config_topic(RESERVED_SLUG): self._bridge(),
            **{self.config_topic(camera.name): self._camera(camera) for camera in cameras},
        }

    def config_topic(self, name: str) -> str:
        """Where the device of a camera, or of the `bridge`, is announced."""
        return f"{self.prefix}/device/{self._device_id(name)}/config"

    def announced(self, topic: str, payload: bytes) -> dict[str, Platform] | None:
        """The components of one of our own devices, told by an earlier run; None for all else.

        Any bytes may come: a payload is ours if it says so, and its topics are below our base
        and belong to the device in its topic. Components that were removed there are left out.
        """
        content = _parsed(payload)
        origin, components = content.get("origin"), content.get("components")
        if not isinstance(origin, dict) or origin.get("name") != ORIGIN:
            return None
        if not isinstance(components, dict):
            return None
        found: dict[str, Platform] = {}
        for key, component in components.items():
            match component:
                case (
                    {"platform": platform, "state_topic": str(told)}
                    | {"platform": platform, "image_topic": str(told)}
                    | {"platform": platform, "command_topic": str(told)}  # a button has no other
                ):
                    if self._owner(told) != topic:
                        return None
                    if platform in _PLATFORMS and _KEY.fullmatch(key):
                        found[key] = platform
        return found or None

    def _owner(self, state_topic: str) -> str | None:
        """The topic of the discovery message that may name this topic; None if it is not ours."""
        below = state_topic.removeprefix(f"{self.topics.base}/")
        return None if below == state_topic else self.config_topic(below.partition("/")[0])

    def _device_id(self, name: str) -> str:
        return f"{re.sub('[^A-Za-z0-9_]', '-', self.topics.base)}_{name}"

    def _entities(self, name: str) -> Entities:
        return Entities(self.topics, name, self._device_id(name))

    def _bridge(self) -> Discovery:
        health, made = self.topics.bridge("health"), self._entities(RESERVED_SLUG)
        here = [available(self.topics.bridge("state"))]
        components: dict[str, Component] = {
            "connection": made.connection(),
            "model_state": {**made.model_state(health), "availability": here},
            "problem": {**made.problem(health), "availability": here},
        }
        for figure in BRIDGE_FIGURES:
            components[figure.key] = {**made.figure(figure, health), "availability": here}
        return {
            "device": {
                "identifiers": [made.device_id],
                "name": "smolwatch",
                "manufacturer": "smolwatch",
                "model": "smolwatch daemon",
                "sw_version": self.version,
            },
            "origin": {"name": ORIGIN, "sw_version": self.version},
            "qos": 1,
            "components": components,
        }

    def _camera(self, camera: CameraEntry) -> Discovery:
        name, here = camera.name, available(self.topics.bridge("state"))
        health, made = self.topics.camera(name, "health"), self._entities(name)
        components: dict[str, Component] = {
            "description": made.description(),
            "alert": {**made.alert(), "availability": [here]},
            # These must be seen just when the camera is away.
            "problem": {**made.problem(health), "availability": [here]},
        }
        if camera.snapshots or self.commands == "full":
            components["snapshot"] = made.snapshot()
        if camera.digests:
            components["digest"] = {**made.digest(), "availability": [here]}
        for figure in CAMERA_FIGURES:
            components[figure.key] = {**made.figure(figure, health), "availability": [here]}
        for rule in camera.rules:
            components[f"rule_{rule}"] = made.rule(rule)
        components |= controls(made, camera.rules, self.commands, here)
        return {
            "device": {
                "identifiers": [made.device_id],
                "name": title(name) if "cam" in name else f"{title(name)} camera",
                "manufacturer": "smolwatch",
                "model": "SmolVLM2 camera watcher",
                "sw_version": self.version,
                "via_device": self._device_id(RESERVED_SLUG),
            },
            "origin": {"name": ORIGIN, "sw_version": self.version},
            "availability": [here, available(self.topics.camera(name, "availability"))],
            "availability_mode": "all",
            "qos": 1,
            "components": components,
        }


def message(topic: str, device: Discovery, removed: Mapping[str, Platform]) -> Message:
    """One retained discovery message; components in `removed` disappear from Home Assistant."""
    stubs: dict[str, Component] = {key: {"platform": kind} for key, kind in removed.items()}
    content: Discovery = {**device, "components": {**stubs, **device["components"]}}
    return Message(topic, encode(content), qos=1, retain=True, kind="state")


def removal(topic: str) -> Message:
    """An empty retained message: the device disappears, and the broker forgets it."""
    return Message(topic, b"", qos=1, retain=True, kind="state")


def _parsed(payload: bytes) -> dict[str, object]:
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError):  # no JSON, no UTF-8, or nested without end
        return {}
    return content if isinstance(content, dict) else {}
