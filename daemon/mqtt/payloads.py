"""What does each message say?

Knows no connection and no queue: records in, messages out. Every function here is pure.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from daemon.mqtt import schemas
from daemon.mqtt.records import (
    BridgeHealth,
    CameraEntry,
    CameraHealth,
    Digest,
    PublisherHealth,
    RuleSetting,
    RuleStatus,
)
from daemon.mqtt.response_schemas import Response
from daemon.mqtt.text import full_text, summary
from daemon.mqtt.topics import Topics, check_slug
from daemon.redact import Redactor, mask_urls
from pipelines.types import Event, Timings

SCHEMA: Literal[1] = 1  # grows only when a key goes or changes its meaning; additions keep it
HEALTH_EXPIRES_S = 60.0  # four newer ones are there by then
DESCRIBE_EXPIRES_S = 3600.0  # the newest words are retained beside it
Kind = Literal["alert", "description", "state"]
Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Message:
    """One MQTT publish. `kind` decides what goes first, and what gives way in a full outbox.

    After `expires_s` nobody wants it any more; an alert is never too old, and nor is a state, for
    which it is not given.
    """

    topic: str
    payload: bytes
    qos: Literal[0, 1]
    retain: bool
    kind: Kind
    correlation: bytes | None = None  # of the request that it answers; MQTT 5 only
    expires_s: float | None = None


def bridge_state(topics: Topics, *, online: bool) -> Message:
    """`B/bridge/state`: also the last will and the last word of a clean exit."""
    return _message(topics.bridge("state"), _online(online=online), retain=True)


def bridge_info(
    topics: Topics, *, version: str, model_id: str, configuration: Mapping[str, object]
) -> Message:
    """`B/bridge/info`. `configuration` comes without secrets; addresses are masked once more."""
    redact = Redactor()
    content: schemas.BridgeInfo = {
        "schema": SCHEMA,
        "version": version,
        "model": {"id": model_id},
        "configuration": {key: redact.value(item) for key, item in configuration.items()},
    }
    return _message(topics.bridge("info"), content, retain=True)


def bridge_health(topics: Topics, health: BridgeHealth, link: PublisherHealth) -> Message:
    """`B/bridge/health`. The heartbeat is monotonic and stays inside the process."""
    content: schemas.BridgeHealth = {
        "ts": iso_utc(health.wall_time),
        "uptime_s": round(health.uptime_s, 1),
        "model_state": summary(health.model_state),
        "windows_run": health.windows_run,
        "events": health.events,
        "broker": {"connected": link.connected, "protocol": link.protocol},
        "outbox": {
            "pending": link.pending,
            "oldest_s": round(link.oldest_s, 1),
            "published": link.published,
            "refused": link.refused,
            "dead_letters": link.dead_letters,
            "in_memory": link.in_memory,
            "on_disk": link.on_disk,
            "dropped": link.dropped,
            "dropped_alerts": link.dropped_alerts,
            "publish_ms_p50": _rounded(link.publish_ms_p50, 1),
        },
        "media": None if health.media is None else _media(health.media),
        "problem": "; ".join(filter(None, (health.problem, _link_problem(link)))) or None,
    }
    return _message(topics.bridge("health"), content, retain=True)


def bridge_cameras(topics: Topics, cameras: Sequence[CameraEntry]) -> Message:
    """`B/bridge/cameras`: the inventory."""
    entries: list[schemas.InventoryEntry] = [
        {
            "camera": check_slug(camera.name, "camera"),
            "source": mask_urls(camera.source),
            "rules": [check_slug(rule, "rule") for rule in camera.rules],
        }
        for camera in cameras
    ]
    content: schemas.BridgeCameras = {"schema": SCHEMA, "cameras": entries}
    return _message(topics.bridge("cameras"), content, retain=True)


def availability(topics: Topics, camera: str, *, online: bool) -> Message:
    """`B/CAMERA/availability`, from the age of the newest frame."""
    topic = topics.camera(camera, "availability")
    return _message(topic, _online(online=online), retain=True)


def camera_state(
    topics: Topics, camera: str, *, enabled: bool, prompt: str, rules: Mapping[str, RuleSetting]
) -> Message:
    """`B/CAMERA/state`: what a switch or a number in Home Assistant shows."""
    content: schemas.CameraState = {
        "enabled": enabled,
        "prompt": full_text(prompt),
        "rules": {
            check_slug(name, "rule"): {"armed": setting.armed, "threshold": setting.threshold}
            for name, setting in rules.items()
        },
    }
    return _message(topics.camera(camera, "state"), content, retain=True)


def camera_health(topics: Topics, camera: str, health: CameraHealth) -> Message:
    """`B/CAMERA/health`: QoS 0 and not retained, the next one is never far."""
    problem = health.problem
    content: schemas.CameraFigures = {
        "fps": _rounded(health.fps, 2),
        "frame_age_s": _rounded(health.frame_age_s, 2),
        "lag_s": _rounded(health.lag_s, 2),
        "latency_ms_p50": _rounded(health.latency_ms_p50, 2),
        "frames_dropped": health.frames_dropped,
        "windows_run": health.windows_run,
        "windows_skipped": health.windows_skipped,
        "blind_time_pct": _rounded(health.blind_time_pct, 2),
        "reconnects": health.reconnects,
        "problem": None if problem is None else summary(mask_urls(problem)),
    }
    topic = topics.camera(camera, "health")
    return _message(topic, content, qos=0, expires_s=HEALTH_EXPIRES_S)


def rule_state(topics: Topics, camera: str, rule: str, status: RuleStatus) -> Message:
    """`B/CAMERA/rule/RULE`. OFF keeps every key, its `incident_id` is null."""
    content: schemas.RuleState = {
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
    content: schemas.EventPayload = {
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
    told: Json = dict(content)
    if event.media is not None:
        told["media"] = dict(event.media)
    return told


def event_messages(
    topics: Topics, event: Event, content: Mapping[str, object]
) -> tuple[Message, ...]:
    """All that one event has to tell: itself, its rule's state, its words, in that order.

    `content` is `event_content(event, ...)`, made once for log and broker alike.
    """
    kind: Kind = "description" if event.event_type == "describe" else "alert"
    expires_s = DESCRIBE_EXPIRES_S if kind == "description" else None
    topic = topics.camera(event.camera, "event")
    messages = [_message(topic, content, kind=kind, expires_s=expires_s)]
    if event.rule is not None and event.event_type in ("rule_match", "rule_clear"):
        on = event.event_type == "rule_match"
        status = RuleStatus(on, event.incident_id, event.wall_time, event.score)
        messages.append(rule_state(topics, event.camera, event.rule, status))
    if event.text is not None:
        words: Json = {key: content[key] for key in ("summary", "text", "ts", "event_id")}
        topic = topics.camera(event.camera, "description")
        messages.append(_message(topic, words, retain=True, kind="description"))
    return tuple(messages)


def digest_content(digest: Digest) -> Json:
    """The object of `B/CAMERA/digest`, and of what `smolwatch digest --json` shows."""
    content: schemas.Digest = {
        "schema": SCHEMA,
        "camera": digest.camera,
        "since": iso_utc(digest.since),
        "until": iso_utc(digest.until),
        "summary": summary(f"{counts_in_words(digest.incidents)}. {digest.text}"),
        "text": full_text(digest.text),
        "text_by": digest.text_by,
        "incidents": dict(digest.incidents),
        "descriptions": digest.descriptions,
        "blind_s": round(digest.blind_s, 1),
        "model": {"id": digest.model_id},
    }
    return dict(content)


def digest_message(topics: Topics, content: Json) -> Message:
    """`B/CAMERA/digest`; `content` is `digest_content(...)`."""
    return _message(topics.camera(str(content["camera"]), "digest"), content, retain=True)


def counts_in_words(incidents: Mapping[str, int]) -> str:
    """`3 incidents of package_delivered, 1 of dog`, the most frequent first."""
    found = sorted(incidents.items(), key=lambda item: (-item[1], item[0]))
    if not found:
        return "No incidents"
    (first, count), *others = found
    rest = "".join(f", {number} of {rule}" for rule, number in others)
    return f"{count} incident{'' if count == 1 else 's'} of {first}{rest}"


def snapshot(topics: Topics, camera: str, jpeg: bytes) -> Message:
    """`B/CAMERA/snapshot`: the picture of the newest alert, at the camera's resolution."""
    return Message(topics.camera(camera, "snapshot"), jpeg, qos=1, retain=True, kind="state")


def as_replay(event: bytes) -> bytes:
    """The payload of an event that was told before, to be told once more."""
    return encode({**json.loads(event), "replay": True})


def response(
    topic: str,
    data: Json | None,
    error: str | None,
    transaction: str | int | None = None,
    correlation: bytes | None = None,
) -> Message:
    """The answer to a request; `error` says why there is no `data`."""
    content: Response[Json] = {
        "status": "ok" if error is None else "error",
        "data": data,
        "error": None if error is None else summary(mask_urls(error)),
        "transaction": transaction,
    }
    return Message(topic, encode(content), 1, retain=False, kind="state", correlation=correlation)


def iso_utc(wall_time: float) -> str:
    """Unix seconds as ISO 8601 in UTC with milliseconds: `2026-11-22T12:00:00.123Z`."""
    moment = datetime.fromtimestamp(wall_time, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode(content: Mapping[str, object]) -> bytes:
    """Compact JSON in UTF-8. Raises `ValueError` for a NaN, which JSON has no word for."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _message(
    topic: str,
    content: Mapping[str, object],
    *,
    qos: Literal[0, 1] = 1,
    retain: bool = False,
    kind: Kind = "state",
    expires_s: float | None = None,
) -> Message:
    return Message(topic, encode(content), qos, retain, kind, expires_s=expires_s)


def _event_summary(event: Event) -> str:
    if event.text is not None:
        return summary(event.text)
    happened = {"rule_match": "opened", "rule_clear": "closed"}.get(event.event_type, "changed")
    return summary(f"{event.rule or event.event_type} {happened} on {event.camera}")


def _latency(timings: Timings, total_ms: float) -> schemas.Latency:
    return {
        "queue": round(timings.queue_ms),
        "encode": round(timings.encode_ms),
        "prefill": round(timings.prefill_ms),
        "decode": round(timings.decode_ms),
        "total": round(total_ms),
    }


def _media(counts: Mapping[str, int]) -> schemas.MediaFigures:
    return {
        "snapshots": counts.get("snapshots", 0),
        "clips": counts.get("clips", 0),
        "failed": counts.get("failed", 0),
        "dropped": counts.get("dropped", 0),
        "deleted": counts.get("deleted", 0),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, digits)


def _online(*, online: bool) -> schemas.Online:
    return {"state": "online" if online else "offline"}


def _link_problem(link: PublisherHealth) -> str | None:
    """What was lost on the way since the start, if anything was."""
    if link.dropped_alerts:
        return f"{link.dropped_alerts} alerts were lost: neither disk nor memory took any more"
    if link.on_disk and link.in_memory:
        return "alerts wait in memory only, as the store cannot be written: free disk space"
    if link.dead_letters:
        return (
            f"the broker refused {link.dead_letters} messages: look at smolwatch mqtt dead-letters"
        )
    if link.refused:
        return f"the broker refused {link.refused} messages: see its access list and our log"
    return None
