"""What can a reader of MQTT expect on each topic?

Knows no running daemon: it makes the JSON Schemas in configs/mqtt/ and docs/mqtt.md from the types
that payloads are made of, and from payloads made of sample records (`python -m
daemon.mqtt.reference`, in the project's root).
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from daemon.mqtt import payloads, schemas
from daemon.mqtt.discovery import Site, message
from daemon.mqtt.discovery_schemas import Discovery
from daemon.mqtt.guarantees import GUARANTEES
from daemon.mqtt.records import (
    BridgeHealth,
    CameraEntry,
    CameraHealth,
    Digest,
    PublisherHealth,
    RuleSetting,
    RuleStatus,
)
from daemon.mqtt.reference_commands import COMMANDS, request_entries, response_entries
from daemon.mqtt.reference_entry import Entry
from daemon.mqtt.reference_pitfalls import HOME_ASSISTANT
from daemon.mqtt.topics import Topics
from pipelines.types import Event, Timings

SCHEMAS = Path("configs/mqtt")
PAGE = Path("docs/mqtt.md")
_NOON = 1_795_348_800.123  # 2026-11-22T12:00:00.123Z
_TOPICS = Topics()
_EVENT = Event(
    event_id="01KAMKQ6X0S2V8Z3J4C5D6E7F8",
    incident_id="01KAMKQ6X0A1B2C3D4E5F6G7H8",
    event_type="rule_match",
    camera="porch",
    rule="package",
    severity="alert",
    score=0.8313,
    wall_time=_NOON,
    captured_s=0.0,
    text=None,
    timings=Timings(queue_ms=3.0, encode_ms=210.0, prefill_ms=340.0, decode_ms=0.0),
    model_id="500m",
    prompt_sha256="9f2b" * 16,
)
_WORDS = replace(_EVENT, event_type="rule_update", text="A person puts down a package.")
_DAY = Digest(
    camera="porch", since=_NOON - 86_400, until=_NOON,
    text="In the morning a person puts down a package. A car comes and goes in the afternoon.",
    text_by="model", incidents={"package": 3, "dog": 1}, descriptions=812, blind_s=12.5,
    model_id="500m",
)  # fmt: skip


def entries() -> tuple[Entry, ...]:
    """Every JSON message there is, the bridge's first."""
    link = PublisherHealth(
        connected=True, protocol="5", problem=None, pending=0, oldest_s=0.0, published=1204,
        refused=0, dropped=0, dropped_alerts=0, dead_letters=0, in_memory=0, on_disk=True,
        publish_ms_p50=3.1, heartbeat_s=0.0,
    )  # fmt: skip
    health = CameraHealth(0.98, 0.41, 560.0, 3, 812, 41, 0.4, 1, None, lag_s=0.05)
    porch = CameraEntry("porch", "rtsp://***@10.0.0.5/stream2", ("package",))
    site = Site(_TOPICS, "homeassistant", "0.1.0", "full")
    device = site.devices([porch])[site.config_topic("porch")]
    status = RuleStatus(on=True, incident_id=_EVENT.incident_id, since=_NOON, score=0.8313)
    rules = {"package": RuleSetting(armed=True, threshold=0.7)}
    prompt = "Describe what happens in this video."
    event = payloads.event_content(_EVENT, 560.0)
    words = payloads.event_messages(_TOPICS, _WORDS, payloads.event_content(_WORDS, 2100.0))[-1]
    bridge = BridgeHealth(_NOON, 3600, "ready", 812, 9, media={"snapshots": 4, "clips": 4})
    facts = {
        "health": payloads.bridge_health(_TOPICS, bridge, link),
        "info": payloads.bridge_info(
            _TOPICS, version="0.1.0", model_id="500m", configuration={"model": {"name": "500m"}}
        ),
        "cameras": payloads.bridge_cameras(_TOPICS, [porch]),
    }
    b, c = "smolwatch/bridge", "smolwatch/CAMERA"
    return (
        Entry("bridge_state", f"{b}/state", schemas.Online,
              payloads.bridge_state(_TOPICS, online=True)),
        Entry("bridge_info", f"{b}/info", schemas.BridgeInfo, facts["info"]),
        Entry("bridge_health", f"{b}/health", schemas.BridgeHealth, facts["health"]),
        Entry("bridge_cameras", f"{b}/cameras", schemas.BridgeCameras, facts["cameras"]),
        Entry("availability", f"{c}/availability", schemas.Online,
              payloads.availability(_TOPICS, "porch", online=True)),
        Entry("state", f"{c}/state", schemas.CameraState,
              payloads.camera_state(_TOPICS, "porch", enabled=True, prompt=prompt, rules=rules)),
        Entry("event", f"{c}/event", schemas.EventPayload,
              payloads.event_messages(_TOPICS, _EVENT, event)[0]),
        Entry("rule", f"{c}/rule/RULE", schemas.RuleState,
              payloads.rule_state(_TOPICS, "porch", "package", status)),
        Entry("description", f"{c}/description", schemas.Description, words),
        Entry("digest", f"{c}/digest", schemas.Digest,
              payloads.digest_message(_TOPICS, payloads.digest_content(_DAY))),
        Entry("health", f"{c}/health", schemas.CameraFigures,
              payloads.camera_health(_TOPICS, "porch", health)),
        Entry("discovery", "homeassistant/device/smolwatch_CAMERA/config", Discovery,
              message(site.config_topic("porch"), device, {})),
        *request_entries(),
        *response_entries(facts),
    )  # fmt: skip


def files() -> dict[Path, str]:
    """Every generated file, by its path in the project."""
    made = {
        SCHEMAS / f"{entry.name}.schema.json": json.dumps(entry.schema, indent=2) + "\n"
        for entry in entries()
    }
    return {**made, PAGE: page()}


def page() -> str:
    """docs/mqtt.md."""
    found = entries()
    lines = [
        "# MQTT reference",
        "",
        "Made by `make schema` from the code that sends these messages; a test compares. Topics",
        "begin with `mqtt.base_topic`, here `smolwatch`. All JSON is UTF-8. Messages go out at",
        "least once: drop an `event_id` that you have seen. A later version may add keys.",
        "",
        "| topic | retained | QoS | schema |",
        "|---|---|---|---|",
        *(
            f"| [`{entry.topic}`](#{entry.name}) | {_yes(entry.example.retain)} "
            f"| {entry.example.qos} | [{entry.name}](../{SCHEMAS}/{entry.name}.schema.json) |"
            for entry in found
        ),
        "| `smolwatch/CAMERA/snapshot` | yes | 1 | a JPEG: the newest alert's picture |",
        "",
        "`smolwatch/bridge/state` is also the last will: `offline` when the daemon is gone.",
        "",
        *COMMANDS.splitlines(),
        "",
        *HOME_ASSISTANT.splitlines(),
        "",
        GUARANTEES.rstrip(),
    ]
    for entry in found:
        lines += ["", *_section(entry)]
    return "\n".join(lines) + "\n"


def _section(entry: Entry) -> list[str]:
    schema = entry.schema
    rows = [] if entry.name == "discovery" else _rows(schema, schema, "")
    table = ["| key | type | |", "|---|---|---|", *rows, ""] if rows else []
    example = json.dumps(json.loads(entry.example.payload), indent=2, ensure_ascii=False)
    return [
        f'<a id="{entry.name}"></a>',
        f"## `{entry.topic}`",
        "",
        str(schema["description"]),
        "",
        *table,
        "```json",
        example,
        "```",
    ]


def _rows(schema: dict[str, Any], root: dict[str, Any], above: str) -> list[str]:
    """One row a key; keys of objects within objects are written with dots."""
    rows = []
    for key, said in schema.get("properties", {}).items():
        kind, inner = _kind(said, root)
        always = "" if key in schema.get("required", []) else " (may be left out)"
        rows.append(f"| `{above}{key}` | {kind} | {said.get('description', '')}{always} |")
        if inner is not None:
            rows += _rows(inner, root, f"{above}{key}.")
    return rows


def _kind(said: dict[str, Any], root: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """A key's type in words, and the object that it holds, if any."""
    if "$ref" in said:
        inner: dict[str, Any] = root["$defs"][said["$ref"].rpartition("/")[2]]
        return "object", inner
    if "anyOf" in said:
        return " or ".join(_kind(one, root)[0] for one in said["anyOf"]), None
    if "enum" in said or "const" in said:
        values = said.get("enum") or [said["const"]]
        return ", ".join(f"`{value}`" for value in values), None
    if said["type"] == "array":
        kind, inner_or_none = _kind(said["items"], root)
        return f"list of {kind}s", inner_or_none
    for named in (said.get("additionalProperties"), *said.get("patternProperties", {}).values()):
        if isinstance(named, dict) and "$ref" in named:
            return "object, by name", _kind(named, root)[1]
    return str(said["type"]), None


def _yes(flag: bool) -> str:  # noqa: FBT001 - a word for it is all
    return "yes" if flag else "no"


if __name__ == "__main__":
    SCHEMAS.mkdir(exist_ok=True)
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
