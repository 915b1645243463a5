"""What can a reader of MQTT ask for, and what comes back?

Knows requests, their answers and the levels of `mqtt.commands`; an example of each is made here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from daemon.mqtt import schemas
from daemon.mqtt.commands import MODELS, OPERATIONS, Operation
from daemon.mqtt.payloads import Json, Message, encode, response
from daemon.mqtt.reference_entry import Entry
from daemon.mqtt.response_schemas import (
    Answered,
    CameraSet,
    Pong,
    Response,
    RuleSet,
    SnapshotTaken,
)

_CAMERA: Final[dict[Operation, tuple[str, tuple[str, ...]]]] = {
    "set": ("smolwatch/CAMERA/set", ("camera",)),
    "rule": ("smolwatch/CAMERA/rule/RULE/set", ("camera", "rule")),
    "describe": ("smolwatch/CAMERA/describe", ("camera",)),
    "ask": ("smolwatch/CAMERA/ask", ("camera",)),
    "snapshot": ("smolwatch/CAMERA/snapshot/get", ("camera",)),
}
_REQUESTS: Final[dict[Operation, Json]] = {
    "set": {"camera": "porch", "enabled": True, "prompt": "Who is at the door?"},
    "rule": {"camera": "porch", "rule": "package", "armed": True, "threshold": 0.8},
    "describe": {"camera": "porch"},
    "ask": {"camera": "porch", "question": "Is the gate open?", "last_s": 20},
    "snapshot": {"camera": "porch"},
    **{operation: {} for operation in ("reload", "health", "info", "cameras", "ping")},
}
_LATENCY: Final = {"queue": 3, "encode": 210, "prefill": 340, "decode": 900, "total": 1453}
_MODEL: Final = {"id": "500m", "prompt_sha256": "9f2b" * 16}
_ANSWER: Final[Json] = {
    "camera": "porch", "question": "Is the gate open?", "text": "No.", "p_yes": 0.0312,
    "ts": "2026-11-22T12:00:00.123Z", "seconds": 20.0, "frames": 8, "latency_ms": _LATENCY,
    "frames_encoded": 8, "model": _MODEL,
}  # fmt: skip
_ANSWERS: Final[dict[str, tuple[Any, Json]]] = {
    "set": (CameraSet, {"camera": "porch", "enabled": True, "prompt": "Who is at the door?"}),
    "rule": (RuleSet, {"camera": "porch", "rule": "package", "armed": True, "threshold": 0.8}),
    "describe": (
        Answered,
        {**_ANSWER, "question": None, "text": "A person puts down a package.", "p_yes": None},
    ),
    "ask": (Answered, _ANSWER),
    "snapshot": (
        SnapshotTaken,
        {"camera": "porch", "topic": "smolwatch/porch/snapshot",
         "ts": "2026-11-22T12:00:00.123Z", "bytes": 48211},
    ),
    "reload": (dict[str, object], {}),
    "ping": (Pong, {"version": "0.1.0"}),
}  # fmt: skip
_FACTS: Final[dict[str, Any]] = {
    "health": schemas.BridgeHealth, "info": schemas.BridgeInfo, "cameras": schemas.BridgeCameras,
}  # fmt: skip

COMMANDS: Final = """\
## Requests

`mqtt: {commands: ...}` says what may be asked for. Whoever may write to the broker may ask.

| topic | `off` (the default) | `arm` | `full` |
|---|---|---|---|
| `smolwatch/CAMERA/set` | | `enabled` | `enabled`, `prompt` |
| `smolwatch/CAMERA/rule/RULE/set` | | `armed` | `armed`, `threshold` |
| `smolwatch/CAMERA/describe`, `/ask`, `/snapshot/get` | | | yes |
| `smolwatch/bridge/request/ping`, `health`, `info`, `cameras` | | yes | yes |
| `smolwatch/bridge/request/set`, `rule` | | as above | as above |
| `smolwatch/bridge/request/describe`, `ask`, `snapshot`, `reload` | | | yes |

`arm` switches on and off; what makes words or pictures that the configuration does not, or changes
what is looked for, needs `full`. With `off` nothing is listened to but Home Assistant's birth
message and, for ten seconds after connecting, what an earlier run announced.

- A request is a JSON object of at most 4 KiB; an empty payload stands for `{}`. Unknown keys are
  refused. Send it without the retain flag: retained requests are ignored.
- A camera's topics and `bridge/request` say the same; there the names are keys: `{"camera":
  "porch", "enabled": false}`.
- Each request is answered once, on `smolwatch/bridge/response/OPERATION` (`unknown` for an
  operation that there is not), with its own `transaction`. MQTT 5's response topic and correlation
  data are honoured: the answer then goes there and nowhere else. A response topic below our own
  topics or Home Assistant's is refused, but for `smolwatch/bridge/response/NAME`.
- `null` puts back what is configured. Changes hold over restarts (they are kept in `store`), until
  the configuration's own value of that key is another: then that one holds.
- `threshold` is the rule's `open_above`. `close_below` moves with it: raised, it keeps its
  distance, lowered, its proportion. An open incident stays open until answers close it.
- Ten at once of one kind and about one rule or camera, then one a second; 200 of all kinds, then 20
  a second. What is too much is refused, with an answer.
"""


def request_entries() -> tuple[Entry, ...]:
    """Every request: at its camera's topic, and at the bridge's."""
    found = []
    for operation, (topic, named) in _CAMERA.items():
        content = {k: v for k, v in _REQUESTS[operation].items() if k not in named}
        found.append(_request(f"camera_{operation}", topic, operation, content, named))
    for operation in OPERATIONS:
        content = {**_REQUESTS[operation], "transaction": "kitchen-7"}
        topic = f"smolwatch/bridge/request/{operation}"
        found.append(_request(f"request_{operation}", topic, operation, content, ()))
    return tuple(found)


def response_entries(facts: Mapping[str, Message]) -> tuple[Entry, ...]:
    """The answer to each. `facts`: operation -> the message whose content is its answer."""
    found = [_response(operation, kind, data, None) for operation, (kind, data) in _ANSWERS.items()]
    words = "there is no request 'pong'. Did you mean ping?"
    return (
        *found,
        *(
            _response(name, _FACTS[name], json.loads(told.payload), None)
            for name, told in facts.items()
        ),
        _response("unknown", dict[str, object], None, words),
    )


def _request(
    name: str, topic: str, operation: Operation, content: Json, named: tuple[str, ...]
) -> Entry:
    place = topic.replace("CAMERA", "porch").replace("RULE", "package")
    example = Message(place, encode(content), 1, retain=False, kind="state")
    return Entry(name, topic, MODELS[operation], example, named)


def _response(operation: str, kind: Any, data: Json | None, error: str | None) -> Entry:
    topic = f"smolwatch/bridge/response/{operation}"
    made = response(topic, data, error, "kitchen-7")
    return Entry(f"response_{operation}", topic, Response[kind], made)
