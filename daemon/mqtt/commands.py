"""What may be asked over MQTT, key by key?

Knows no topic and no running daemon: the models that requests are checked against, and of which the
JSON Schemas in configs/mqtt/ are made. Nothing here is code, a path or an address, and none of it
is taken for one anywhere.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from daemon.config_errors import Refused
from daemon.mqtt.text import clean
from daemon.settings import MIN_THRESHOLD, PROMPT_CHARS
from pipelines.smolvlm2.prompt import CONTROL_TOKENS

Level = Literal["off", "arm", "full"]
Operation = Literal[
    "set", "rule", "describe", "ask", "snapshot", "reload", "health", "info", "cameras", "ping"
]
Transaction = str | int | None

OPERATIONS: Final[tuple[Operation, ...]] = get_args(Operation)
QUESTION_CHARS: Final = 1000
LONGEST_LOOK_S: Final = 3600.0
TRANSACTION_CHARS: Final = 64
_LARGEST: Final = 2**53  # beyond it, readers of JSON round (RFC 8259, 6)


def transaction(value: object) -> Transaction:
    """What marks a request, as it comes back with its answer. Raises `Refused`."""
    short = isinstance(value, str) and len(value) <= TRANSACTION_CHARS and clean(value) == value
    number = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST
    if value is None or short or number:
        return value  # type: ignore[return-value]  # mypy does not see through the two names
    raise Refused(f"expected a text of at most {TRANSACTION_CHARS} characters, or a whole number")


def _words(value: object) -> object:
    """A text for the model: on one line, and without what would end or begin a turn."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        raise Refused("found nothing; expected a text that is not empty")
    if clean(value) != value or "\n" in value:
        raise Refused("found control characters; expected one line of plain text")
    for token in CONTROL_TOKENS:
        if token in value:
            raise Refused(f"found {token}, which the model reads as a command: leave it out")
    return value


Name = Annotated[
    str, Field(min_length=1, max_length=64, description="a name that the configuration has")
]
Marked = Annotated[
    str | int | None,
    BeforeValidator(transaction),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]}),
    Field(description="comes back with the answer; at most 64 characters, or a whole number"),
]


class Asked(BaseModel):
    """What every request may carry."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, hide_input_in_errors=True
    )
    transaction: Marked = None


class OfCamera(Asked):
    """A request about one camera, whose name stands in the topic instead if that has one."""

    camera: Name


class SetCamera(OfCamera):
    """Change a camera's settings. `null` puts back what is configured."""

    enabled: Annotated[bool | None, Field(description="false: no picture is read")] = None
    prompt: Annotated[
        str | None,
        Field(max_length=PROMPT_CHARS, description="what descriptions are asked for with"),
        BeforeValidator(_words),
    ] = None


class SetRule(OfCamera):
    """Change a rule's settings at one camera. `null` puts back what is configured."""

    rule: Name
    armed: Annotated[bool | None, Field(description="false: it opens no incident")] = None
    threshold: Annotated[
        float | None,
        Field(
            ge=MIN_THRESHOLD,
            le=1.0,
            description="the rule's `open_above`; `close_below` moves with it",
        ),
    ] = None


class Describe(OfCamera):
    """Describe what the camera sees now: told as an event, like a description on a schedule."""


class Ask(OfCamera):
    """Ask the model about the camera's last seconds."""

    question: Annotated[
        str, Field(max_length=QUESTION_CHARS, description="one line"), BeforeValidator(_words)
    ]
    last_s: Annotated[
        float | None,
        Field(gt=0.0, le=LONGEST_LOOK_S, description="how far back; null: as far as a window"),
    ] = None


class Snapshot(OfCamera):
    """Publish the newest picture on `B/CAMERA/snapshot`."""


class Plain(Asked):
    """A request without keys of its own."""


MODELS: Final[dict[Operation, type[Asked]]] = {
    "set": SetCamera,
    "rule": SetRule,
    "describe": Describe,
    "ask": Ask,
    "snapshot": Snapshot,
    **dict.fromkeys(("reload", "health", "info", "cameras", "ping"), Plain),
}
# What `commands: arm` leaves out: all that puts out words or pictures that the configuration does
# not, costs the model's time, or changes what is looked for.
NEEDS_FULL: Final[frozenset[str]] = frozenset({"describe", "ask", "snapshot", "reload"})
KEYS_NEED_FULL: Final[dict[str, str]] = {"set": "prompt", "rule": "threshold"}
CHANGES: Final[dict[str, tuple[str, ...]]] = {
    "set": ("enabled", "prompt"),
    "rule": ("armed", "threshold"),
}


def wanted(asked: Asked) -> dict[str, Any]:
    """The settings that a request names, with None for those to be put back."""
    return {
        key: getattr(asked, key)
        for key in type(asked).model_fields
        if key in asked.model_fields_set and key not in ("camera", "rule", "transaction")
    }
