"""What is a kind of message, for the reference?

Knows its topic, its type and an example.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from daemon.mqtt.payloads import Message


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of message. `topic` has CAMERA and RULE where names stand."""

    name: str
    topic: str
    type: Any
    example: Message
    named: tuple[str, ...] = ()  # keys of a request that its topic holds

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema. What we send may have further keys one day; what we are sent may not."""
        made = TypeAdapter(self.type).json_schema(schema_generator=_Untitled)
        for key in self.named:
            del made["properties"][key]
            made["required"].remove(key)
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": self.topic,
            **made,
        }


class _Untitled(GenerateJsonSchema):
    """Without a title for every key, which would only say the key again."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - pydantic's
        """See `GenerateJsonSchema`."""
        return False
