"""Is what was sent what the schemas promise?

Knows no broker: topics and payloads in. The published schemas allow further keys; here none are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from daemon.mqtt.reference import entries

_NOT_JSON = re.compile(r"smolwatch/[a-z0-9_]+/snapshot")


def check(messages: Iterable[tuple[str, bytes]]) -> None:
    """Every message below `smolwatch/`, and every discovery message of ours, keeps its schema."""
    for topic, payload in messages:
        ours = topic.startswith(("smolwatch/", "homeassistant/device/smolwatch_"))
        if not ours or _NOT_JSON.fullmatch(topic) or payload == b"":
            continue
        validator = next((v for pattern, v in validators() if pattern.fullmatch(topic)), None)
        assert validator is not None, f"{topic} has no schema"
        for error in validator.iter_errors(json.loads(payload)):
            raise AssertionError(f"{topic} at {error.json_path}: {error.message}")


@cache
def validators() -> tuple[tuple[re.Pattern[str], Draft202012Validator], ...]:
    """Topics and what may be on them, closed to keys that nobody wrote down."""
    return tuple(
        (
            re.compile(re.sub("CAMERA|RULE", "[a-z0-9_]+", entry.topic)),
            Draft202012Validator(closed(entry.schema)),
        )
        for entry in entries()
    )


def closed(schema: Any) -> Any:
    """A schema whose objects have no other keys than those it names."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    if "properties" in schema:
        made["additionalProperties"] = False
    return made
