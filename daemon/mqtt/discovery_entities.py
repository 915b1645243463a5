"""Which entities show what a camera, or smolwatch itself, tells?

Knows one device's topics; nothing that can be changed (`daemon.mqtt.discovery_controls`). Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from daemon.mqtt.discovery_schemas import Available, Component, Platform
from daemon.mqtt.topics import RESERVED_SLUG, Topics
from pipelines.types import EventType

EXPIRE_S = 180  # twelve health messages: figures that old are none


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that a health message holds, as a diagnostic sensor."""

    key: str
    name: str
    value: str  # where in the message
    state_class: Literal["measurement", "total_increasing"] = "measurement"
    unit: str | None = None
    device_class: str | None = None


CAMERA_FIGURES = (
    Figure("fps", "Frame rate", "fps", unit="fps"),
    Figure("latency", "Inference latency", "latency_ms_p50", unit="ms", device_class="duration"),
    Figure("drops", "Frames dropped", "frames_dropped", "total_increasing"),
    Figure("skipped", "Windows skipped", "windows_skipped", "total_increasing"),
    Figure("blind", "Blind time", "blind_time_pct", unit="%"),
)
BRIDGE_FIGURES = (
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
class Entities:
    """The entities of one device: of the camera `name`, or of the bridge."""

    topics: Topics
    name: str
    device_id: str

    def connection(self) -> Component:
        """Whether smolwatch is there; it says `offline` itself, so it is always available."""
        return {
            **self.entity("binary_sensor", "connection", "Connection"),
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "state_topic": self.topics.bridge("state"),
            "value_template": "{{ value_json.state }}",
            "payload_on": "online",
            "payload_off": "offline",
        }

    def model_state(self, topic: str) -> Component:
        """What the model does."""
        return {
            **self.entity("sensor", "model_state", "Model state"),
            "icon": "mdi:brain",
            "entity_category": "diagnostic",
            "expire_after": EXPIRE_S,
            "state_topic": topic,
            "value_template": "{{ value_json.model_state[:255] }}",
        }

    def description(self) -> Component:
        """The newest words; all of them as an attribute."""
        topic = self.topics.camera(self.name, "description")
        return {
            **self.entity("sensor", "description", "Description"),
            "icon": "mdi:text-box-outline",
            "state_topic": topic,
            "value_template": "{{ value_json.summary[:255] }}",
            "json_attributes_topic": topic,
            "json_attributes_template": _WORDS,
        }

    def digest(self) -> Component:
        """The newest digest."""
        topic = self.topics.camera(self.name, "digest")
        return {
            **self.entity("sensor", "digest", "Digest"),
            "icon": "mdi:newspaper-variant-outline",
            "state_topic": topic,
            "value_template": "{{ value_json.summary[:255] }}",
            "json_attributes_topic": topic,
            "json_attributes_template": _DIGEST,
        }

    def alert(self) -> Component:
        """Every event."""
        return {
            **self.entity("event", "alert", "Alert"),
            "device_class": "motion",
            "state_topic": self.topics.camera(self.name, "event"),
            "event_types": list(get_args(EventType)),
        }

    def snapshot(self) -> Component:
        """The newest alert's picture, or the one that was asked for."""
        return {
            **self.entity("image", "snapshot", "Last alert"),
            "image_topic": self.topics.camera(self.name, "snapshot"),
            "content_type": "image/jpeg",
        }

    def rule(self, rule: str) -> Component:
        """Whether a rule's incident is open."""
        topic = self.topics.rule(self.name, rule)
        return {
            **self.entity("binary_sensor", f"rule_{rule}", title(rule)),
            "device_class": "occupancy",
            "state_topic": topic,
            "value_template": "{{ value_json.state }}",
            "payload_on": "ON",
            "payload_off": "OFF",
            "json_attributes_topic": topic,
        }

    def problem(self, topic: str) -> Component:
        """Whether something is wrong, and what."""
        return {
            **self.entity("binary_sensor", "problem", "Problem"),
            "device_class": "problem",
            "entity_category": "diagnostic",
            "expire_after": EXPIRE_S,
            "state_topic": topic,
            "value_template": _PROBLEM,
            "json_attributes_topic": topic,
            "json_attributes_template": _PROBLEM_WORDS,
        }

    def figure(self, figure: Figure, topic: str) -> Component:
        """A diagnostic number."""
        sensor: Component = {
            **self.entity("sensor", figure.key, figure.name),
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

    def entity(self, platform: Platform, key: str, words: str) -> Component:
        """What every component has. `key` is unique within the device."""
        place = "smolwatch" if self.name == RESERVED_SLUG else self.name
        return {
            "platform": platform,
            "unique_id": f"{self.device_id}-{key}",
            "default_entity_id": f"{platform}.{place}_{words.lower().replace(' ', '_')}",
            "name": words,
        }


def title(slug: str) -> str:
    """`front_door` as people write it: `Front door`."""
    return slug.replace("_", " ").strip().capitalize() or slug


def available(topic: str) -> Available:
    """There while that topic says `online`."""
    return {"topic": topic, "value_template": "{{ value_json.state }}"}
