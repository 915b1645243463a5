"""What is in each answer to a request, key by key?

Knows no value: like `daemon.mqtt.schemas`, for what is asked over MQTT.
"""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import Field
from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from daemon.mqtt.schemas import Count, Latency, ModelUsed, Share, Slug, Summary, Time, Words

Data = TypeVar("Data")


class Response(TypedDict, Generic[Data]):
    """The answer to a request; each request has exactly one."""

    status: Literal["ok", "error"]
    data: Annotated[Data | None, Field(description="null where there is an error")]
    error: Annotated[Summary | None, Field(description="in words, and how to mend it")]
    transaction: Annotated[str | int | None, Field(description="the request's own")]


class CameraSet(TypedDict):
    """How the camera is set now."""

    camera: Slug
    enabled: bool
    prompt: str


class RuleSet(TypedDict):
    """How the rule is set now."""

    camera: Slug
    rule: Slug
    armed: bool
    threshold: Share


class Answered(TypedDict):
    """What the model said. Its words are untrusted text."""

    camera: Slug
    question: Annotated[str | None, Field(description="null where a description was asked for")]
    text: Words
    p_yes: Annotated[
        Share | None, Field(description="probability of a yes; null where none was asked for")
    ]
    ts: Annotated[Time, Field(description="of the newest frame that was looked at")]
    seconds: Annotated[float, Field(ge=0, description="from the oldest frame to the newest")]
    frames: Count
    latency_ms: Latency
    frames_encoded: Annotated[Count, Field(description="the others were known already")]
    model: ModelUsed


class SnapshotTaken(TypedDict):
    """The picture that was published."""

    camera: Slug
    topic: Annotated[str, Field(description="where it is, retained")]
    ts: Annotated[Time, Field(description="of the picture")]
    bytes: Count


class Pong(TypedDict):
    """smolwatch is there."""

    version: Annotated[str, Field(description="smolwatch's own")]
