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
from typing import Literal, get_args

from daemon.mqtt.discovery_schemas import Available, Component, Discovery, Platform
from daemon.mqtt.payloads import Message, encode
from daemon.mqtt.records import CameraEntry
from daemon.mqtt.topics import RESERVED_SLUG, Topics
from pipelines.types import EventType

ORIGIN = "smolwatch"
EXPIRE_S = 180  # twelve health messages: figures that old are none
_PLATFORMS = get_args(Platform)
_KEY = re.compile(r"[a-z0-9_]{1,200}")


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that a health message holds, as a diagnostic sensor."""

    key: str
    name: str
    value: str  # where in the message
    state_class: Literal["measurement", "total_increasing"] = "measurement"
    unit: str | None = None
    device_class: str | None = None


_CAMERA_FIGURES = (
    Figure("fps", "Frame rate", "fps", unit="fps"),
    Figure("latency", "Inference latency", "latency_ms_p50", unit="ms", device_class="duration"),
    Figure("drops", "Frames dropped", "frames_dropped", "total_increasing"),
    Figure("skipped", "Windows skipped", "windows_skipped", "total_increasing"),
    Figure("blind", "Blind time", "blind_time_pct", unit="%"),
)
_BRIDGE_FIGURES = (
    Figure("outbox_pending", "Outbox pending", "outbox.pending"),
    Figure("dead_letters", "Refused messages", "outbox.dead_letters"),
    Figure("windows_run", "Windows run", "windows_run", "total_increasing"),
)
_PROBLEM = "{{ 'ON' if value_json.problem else 'OFF' }}"
_PROBLEM_WORDS = "{{ {'problem': value_json.problem} | to_json }}"
_WORDS = (
    "{{ {'text': value_json.text, 'event_id': value_json.event_id, 'ts': value_json.ts} "
    "| to_json }}"
)
_DIGEST = (
    "{{ {'text': value_json.text, 'text_by': value_json.text_by, 'since': value_json.since, "
    "'until': value_json.until, 'incidents': value_json.incidents} | to_json }}"
)


@dataclass(frozen=True, slots=True)
class Site:
    """One smolwatch among those that a broker may have, and where Home Assistant listens.

    Two sites need different base topics. A device's id holds the base topic, and `-` stands only
    where two names meet, so that no two entities of a site can have the same `unique_id`.
    """

    topics: Topics
    prefix: str
    version: str

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
                case {"platform": platform, "state_topic": str(told)} | {
                    "platform": platform,
                    "image_topic": str(told),
                }:
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

    def _bridge(self) -> Discovery:
        health = self.topics.bridge("health")
        here = [_available(self.topics.bridge("state"))]
        components: dict[str, Component] = {
            "connection": {
                **self._entity("binary_sensor", RESERVED_SLUG, "connection", "Connection"),
                "device_class": "connectivity",
                "entity_category": "diagnostic",
                "state_topic": self.topics.bridge("state"),
                "value_template": "{{ value_json.state }}",
                "payload_on": "online",
                "payload_off": "offline",
            },
            "model_state": {
                **self._entity("sensor", RESERVED_SLUG, "model_state", "Model state"),
                "icon": "mdi:brain",
                "entity_category": "diagnostic",
                "expire_after": EXPIRE_S,
                "state_topic": health,
                "value_template": "{{ value_json.model_state[:255] }}",
                "availability": here,
            },
            "problem": {**self._problem(RESERVED_SLUG, health), "availability": here},
        }
        for figure in _BRIDGE_FIGURES:
            sensor = self._figure(RESERVED_SLUG, figure, health)
            components[figure.key] = {**sensor, "availability": here}
        return {
            "device": {
                "identifiers": [self._device_id(RESERVED_SLUG)],
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
        name, here = camera.name, _available(self.topics.bridge("state"))
        health = self.topics.camera(name, "health")
        components: dict[str, Component] = {
            "description": self._description(name),
            "alert": {**self._alert(name), "availability": [here]},
            # These must be seen just when the camera is away.
            "problem": {**self._problem(name, health), "availability": [here]},
        }
        if camera.snapshots:
            components["snapshot"] = self._snapshot(name)
        if camera.digests:
            components["digest"] = {**self._digest(name), "availability": [here]}
        for figure in _CAMERA_FIGURES:
            sensor = self._figure(name, figure, health)
            components[figure.key] = {**sensor, "availability": [here]}
        for rule in camera.rules:
            components[f"rule_{rule}"] = self._rule(name, rule)
        return {
            "device": {
                "identifiers": [self._device_id(name)],
                "name": title(name) if "cam" in name else f"{title(name)} camera",
                "manufacturer": "smolwatch",
                "model": "SmolVLM2 camera watcher",
                "sw_version": self.version,
                "via_device": self._device_id(RESERVED_SLUG),
            },
            "origin": {"name": ORIGIN, "sw_version": self.version},
            "availability": [here, _available(self.topics.camera(name, "availability"))],
            "availability_mode": "all",
            "qos": 1,
            "components": components,
        }

    def _description(self, camera: str) -> Component:
        topic = self.topics.camera(camera, "description")
        return {
            **self._entity("sensor", camera, "description", "Description"),
            "icon": "mdi:text-box-outline",
            "state_topic": topic,
            "value_template": "{{ value_json.summary[:255] }}",
            "json_attributes_topic": topic,
            "json_attributes_template": _WORDS,
        }

    def _digest(self, camera: str) -> Component:
        topic = self.topics.camera(camera, "digest")
        return {
            **self._entity("sensor", camera, "digest", "Digest"),
            "icon": "mdi:newspaper-variant-outline",
            "state_topic": topic,
            "value_template": "{{ value_json.summary[:255] }}",
            "json_attributes_topic": topic,
            "json_attributes_template": _DIGEST,
        }

    def _alert(self, camera: str) -> Component:
        return {
            **self._entity("event", camera, "alert", "Alert"),
            "device_class": "motion",
            "state_topic": self.topics.camera(camera, "event"),
            "event_types": list(get_args(EventType)),
        }

    def _snapshot(self, camera: str) -> Component:
        return {
            **self._entity("image", camera, "snapshot", "Last alert"),
            "image_topic": self.topics.camera(camera, "snapshot"),
            "content_type": "image/jpeg",
        }

    def _rule(self, camera: str, rule: str) -> Component:
        topic = self.topics.rule(camera, rule)
        return {
            **self._entity("binary_sensor", camera, f"rule_{rule}", title(rule)),
            "device_class": "occupancy",
            "state_topic": topic,
            "value_template": "{{ value_json.state }}",
            "payload_on": "ON",
            "payload_off": "OFF",
            "json_attributes_topic": topic,
        }

    def _problem(self, name: str, topic: str) -> Component:
        return {
            **self._entity("binary_sensor", name, "problem", "Problem"),
            "device_class": "problem",
            "entity_category": "diagnostic",
            "expire_after": EXPIRE_S,
            "state_topic": topic,
            "value_template": _PROBLEM,
            "json_attributes_topic": topic,
            "json_attributes_template": _PROBLEM_WORDS,
        }

    def _figure(self, name: str, figure: Figure, topic: str) -> Component:
        sensor: Component = {
            **self._entity("sensor", name, figure.key, figure.name),
            "entity_category": "diagnostic",
            "state_class": figure.state_class,
            "expire_after": EXPIRE_S,
            "state_topic": topic,
            "value_template": f"{{{{ value_json.{figure.value} }}}}",
        }
        if figure.unit is not None:
            sensor["unit_of_measurement"] = figure.unit
            sensor["suggested_display_precision"] = 0 if figure.unit == "ms" else 1
        if figure.device_class is not None:
            sensor["device_class"] = figure.device_class
        return sensor

    def _entity(self, platform: Platform, name: str, key: str, words: str) -> Component:
        place = ORIGIN if name == RESERVED_SLUG else name
        return {
            "platform": platform,
            "unique_id": f"{self._device_id(name)}-{key}",
            "default_entity_id": f"{platform}.{place}_{words.lower().replace(' ', '_')}",
            "name": words,
        }


def message(topic: str, device: Discovery, removed: Mapping[str, Platform]) -> Message:
    """One retained discovery message; components in `removed` disappear from Home Assistant."""
    stubs: dict[str, Component] = {key: {"platform": kind} for key, kind in removed.items()}
    content: Discovery = {**device, "components": {**stubs, **device["components"]}}
    return Message(topic, encode(content), qos=1, retain=True, kind="state")


def removal(topic: str) -> Message:
    """An empty retained message: the device disappears, and the broker forgets it."""
    return Message(topic, b"", qos=1, retain=True, kind="state")


def title(slug: str) -> str:
    """`front_door` as people write it: `Front door`."""
    return slug.replace("_", " ").strip().capitalize() or slug


def _available(topic: str) -> Available:
    return {"topic": topic, "value_template": "{{ value_json.state }}"}


def _parsed(payload: bytes) -> dict[str, object]:
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError):  # no JSON, no UTF-8, or nested without end
        return {}
    return content if isinstance(content, dict) else {}
