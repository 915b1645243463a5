"""What does each message say?

Knows no connection and no queue: records in, messages out. Every function here is pure.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from daemon.mqtt.records import (
    BridgeHealth,
    CameraEntry,
    CameraHealth,
    PublisherHealth,
    RuleSetting,
    RuleStatus,
)
from daemon.mqtt.text import full_text, summary
from daemon.mqtt.topics import Topics, check_slug
from daemon.redact import Redactor, mask_urls
from pipelines.types import Event, Timings

SCHEMA = 1  # grows only when a key goes or changes its meaning; additions keep it
Kind = Literal["alert", "description", "state"]
Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Message:
    """One MQTT publish. `kind` decides what gives way when the outbox is full."""

    topic: str
    payload: bytes
    qos: Literal[0, 1]
    retain: bool
    kind: Kind


def bridge_state(topics: Topics, *, online: bool) -> Message:
    """`B/bridge/state`: also the last will and the last word of a clean exit."""
    return _message(topics.bridge("state"), {"state": _online(online)}, retain=True)


def bridge_info(
    topics: Topics, *, version: str, model_id: str, configuration: Mapping[str, object]
) -> Message:
    """`B/bridge/info`. `configuration` comes without secrets; addresses are masked once more."""
    content: Json = {
        "schema": SCHEMA,
        "version": version,
        "model": {"id": model_id},
        "configuration": Redactor().value(configuration),
    }
    return _message(topics.bridge("info"), content, retain=True)


def bridge_health(topics: Topics, health: BridgeHealth, link: PublisherHealth) -> Message:
    """`B/bridge/health`. The heartbeat is monotonic and stays inside the process."""
    content: Json = {
        "ts": iso_utc(health.wall_time),
        "uptime_s": round(health.uptime_s, 1),
        "model_state": health.model_state,
        "windows_run": health.windows_run,
        "events": health.events,
        "broker": {"connected": link.connected, "protocol": link.protocol},
        "outbox": {
            "pending": link.pending,
            "oldest_s": round(link.oldest_s, 1),
            "published": link.published,
            "refused": link.refused,
            "dropped": link.dropped,
            "dropped_alerts": link.dropped_alerts,
            "publish_ms_p50": _rounded(link.publish_ms_p50, 1),
        },
    }
    return _message(topics.bridge("health"), content, retain=True)


def bridge_cameras(topics: Topics, cameras: Sequence[CameraEntry]) -> Message:
    """`B/bridge/cameras`: the inventory."""
    entries = [
        {
            "camera": check_slug(camera.name, "camera"),
            "source": mask_urls(camera.source),
            "rules": [check_slug(rule, "rule") for rule in camera.rules],
        }
        for camera in cameras
    ]
    return _message(topics.bridge("cameras"), {"schema": SCHEMA, "cameras": entries}, retain=True)


def availability(topics: Topics, camera: str, *, online: bool) -> Message:
    """`B/CAMERA/availability`, from the age of the newest frame."""
    return _message(topics.camera(camera, "availability"), {"state": _online(online)}, retain=True)


def camera_state(
    topics: Topics, camera: str, *, enabled: bool, prompt: str, rules: Mapping[str, RuleSetting]
) -> Message:
    """`B/CAMERA/state`: what a switch or a number in Home Assistant shows."""
    content: Json = {
        "enabled": enabled,
        "prompt": full_text(prompt),
        "rules": {check_slug(name, "rule"): asdict(setting) for name, setting in rules.items()},
    }
    return _message(topics.camera(camera, "state"), content, retain=True)


def camera_health(topics: Topics, camera: str, health: CameraHealth) -> Message:
    """`B/CAMERA/health`: QoS 0 and not retained, the next one is never far."""
    content: Json = {
        key: _rounded(value, 2) if isinstance(value, float) else value
        for key, value in asdict(health).items()
    }
    if health.problem is not None:
        content["problem"] = summary(mask_urls(health.problem))
    return _message(topics.camera(camera, "health"), content, qos=0)


def rule_state(topics: Topics, camera: str, rule: str, status: RuleStatus) -> Message:
    """`B/CAMERA/rule/RULE`. OFF keeps every key, its `incident_id` is null."""
    content: Json = {
        "state": "ON" if status.on else "OFF",
        "incident_id": status.incident_id if status.on else None,
        "since": iso_utc(status.since),
        "score": _rounded(status.score, 4),
    }
    return _message(topics.rule(camera, rule), content, retain=True, kind="alert")


def event_content(event: Event, total_ms: float) -> Json:
    """The object of `B/CAMERA/event` and of a line in the event log; no monotonic time in it.

    `total_ms`: newest frame captured -> handed to MQTT, which may be more than the timings' sum.
    """
    content: Json = {
        "schema": SCHEMA,
        "event_id": event.event_id,
        "incident_id": event.incident_id,
        "event_type": event.event_type,
        "camera": event.camera,
        "rule": event.rule,
        "severity": event.severity,
        "score": _rounded(event.score, 4),
        "ts": iso_utc(event.wall_time),
        "camera_ts": None if event.camera_time is None else iso_utc(event.camera_time),
        "replay": False,
        "summary": _event_summary(event),
        "text": None if event.text is None else full_text(event.text),
        "latency_ms": _latency(event.timings, total_ms),
        "model": {"id": event.model_id, "prompt_sha256": event.prompt_sha256},
    }
    if event.media is not None:
        content["media"] = dict(event.media)
    return content


def event_messages(topics: Topics, event: Event, content: Json) -> tuple[Message, ...]:
    """All that one event has to tell: itself, its rule's state, its words, in that order.

    `content` is `event_content(event, ...)`, made once for log and broker alike.
    """
    kind: Kind = "description" if event.event_type == "describe" else "alert"
    messages = [_message(topics.camera(event.camera, "event"), content, kind=kind)]
    if event.rule is not None and event.event_type in ("rule_match", "rule_clear"):
        on = event.event_type == "rule_match"
        status = RuleStatus(on, event.incident_id, event.wall_time, event.score)
        messages.append(rule_state(topics, event.camera, event.rule, status))
    if event.text is not None:
        words: Json = {key: content[key] for key in ("summary", "text", "ts", "event_id")}
        topic = topics.camera(event.camera, "description")
        messages.append(_message(topic, words, retain=True, kind="description"))
    return tuple(messages)


def snapshot(topics: Topics, camera: str, jpeg: bytes) -> Message:
    """`B/CAMERA/snapshot`: the picture of the newest alert, at the camera's resolution."""
    return Message(topics.camera(camera, "snapshot"), jpeg, qos=1, retain=True, kind="state")


def iso_utc(wall_time: float) -> str:
    """Unix seconds as ISO 8601 in UTC with milliseconds: `2026-11-22T12:00:00.123Z`."""
    moment = datetime.fromtimestamp(wall_time, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode(content: Json) -> bytes:
    """Compact JSON in UTF-8. Raises `ValueError` for a NaN, which JSON has no word for."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _message(
    topic: str,
    content: Json,
    *,
    qos: Literal[0, 1] = 1,
    retain: bool = False,
    kind: Kind = "state",
) -> Message:
    return Message(topic, encode(content), qos, retain, kind)


def _event_summary(event: Event) -> str:
    if event.text is not None:
        return summary(event.text)
    happened = {"rule_match": "opened", "rule_clear": "closed"}.get(event.event_type, "changed")
    return summary(f"{event.rule or event.event_type} {happened} on {event.camera}")


def _latency(timings: Timings, total_ms: float) -> Json:
    return {
        "queue": round(timings.queue_ms),
        "encode": round(timings.encode_ms),
        "prefill": round(timings.prefill_ms),
        "decode": round(timings.decode_ms),
        "total": round(total_ms),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, digits)


def _online(online: bool) -> str:  # noqa: FBT001  # the one argument is the state's name
    return "online" if online else "offline"
