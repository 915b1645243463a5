"""What is in each payload, key by key?

Knows no value: the types that `daemon.mqtt.payloads` fills in, and of which the JSON Schemas in
configs/mqtt/ and the reference in docs/mqtt.md are made. Keys may be added; none changes its
meaning while `schema` stays the same.
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from pipelines.types import EventType, Severity

Slug = Annotated[str, Field(pattern="^[a-z0-9_]+$")]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Milliseconds = Annotated[int, Field(ge=0, description="milliseconds")]
Time = Annotated[
    str,
    Field(
        description="UTC, ISO 8601 with milliseconds",
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
    ),
]
Version = Annotated[Literal[1], Field(description="grows only when a key changes its meaning")]
Summary = Annotated[str, Field(max_length=255, description="one line, fit for a state")]
Words = Annotated[str, Field(description="at most 8 KiB of UTF-8")]


class Online(TypedDict):
    """Whether it is there."""

    state: Literal["online", "offline"]


class ModelId(TypedDict):
    """The model that runs."""

    id: str


class BridgeInfo(TypedDict):
    """What runs, and how it is set."""

    schema: Version
    version: Annotated[str, Field(description="smolwatch's own")]
    model: ModelId
    configuration: Annotated[
        dict[str, object], Field(description="the configuration, without secrets")
    ]


class BrokerLink(TypedDict):
    """The link to the broker."""

    connected: bool
    protocol: Annotated[Literal["5", "3.1.1"] | None, Field(description="of MQTT")]


class OutboxFigures(TypedDict):
    """What waits for the broker, and what became of the rest since the start."""

    pending: Annotated[Count, Field(description="messages that wait")]
    oldest_s: Annotated[float, Field(ge=0, description="how long the oldest has waited")]
    published: Annotated[Count, Field(description="acknowledged by the broker")]
    refused: Annotated[Count, Field(description="refused by the broker, or too large for it")]
    dead_letters: Annotated[
        Count, Field(description="refused and set aside, also before the start")
    ]
    in_memory: Annotated[Count, Field(description="messages that a crash would lose")]
    on_disk: Annotated[bool, Field(description="whether messages outlive a crash: `store`")]
    dropped: Annotated[Count, Field(description="gave way in a full outbox")]
    dropped_alerts: Annotated[Count, Field(description="of these, alerts")]
    publish_ms_p50: Annotated[
        float | None, Field(description="median from handed over to acknowledged")
    ]


class MediaFigures(TypedDict):
    """Pictures and clips of alerts, since the start."""

    snapshots: Annotated[Count, Field(description="written")]
    clips: Annotated[Count, Field(description="written")]
    failed: Annotated[Count, Field(description="could not be made: the log says why")]
    dropped: Annotated[Count, Field(description="not made, since too many were wanted at once")]
    deleted: Annotated[Count, Field(description="for their age, or to make room")]


class BridgeHealth(TypedDict):
    """How the process does; every 15 s."""

    ts: Time
    uptime_s: Annotated[float, Field(ge=0)]
    model_state: Annotated[
        Summary, Field(description="`ready`, `loading`, `downloading 43%`, `failed: why`")
    ]
    windows_run: Count
    events: Count
    broker: BrokerLink
    outbox: OutboxFigures
    media: Annotated[MediaFigures | None, Field(description="null: no rule wants pictures")]
    problem: Annotated[str | None, Field(description="in words; null when all is well")]


class InventoryEntry(TypedDict):
    """One camera."""

    camera: Slug
    source: Annotated[str, Field(description="its address, credentials masked")]
    rules: list[Slug]


class BridgeCameras(TypedDict):
    """Which cameras there are."""

    schema: Version
    cameras: list[InventoryEntry]


class RuleSettings(TypedDict):
    """One rule's settings."""

    armed: bool
    threshold: Annotated[Share, Field(description="the rule's `open_above`")]


class CameraState(TypedDict):
    """How a camera is set."""

    enabled: bool
    prompt: Annotated[str, Field(description="what descriptions are asked for with")]
    rules: dict[Slug, RuleSettings]


class CameraFigures(TypedDict):
    """How a camera does; every 15 s. Null: not known yet."""

    fps: Annotated[float | None, Field(ge=0, description="frames sampled a second")]
    frame_age_s: Annotated[float | None, Field(ge=0, description="age of the newest frame")]
    lag_s: Annotated[
        float | None,
        Field(ge=0, description="how late pictures are read; null where they carry no time stamps"),
    ]
    latency_ms_p50: Annotated[
        float | None, Field(ge=0, description="median from newest frame to answer")
    ]
    frames_dropped: Annotated[Count, Field(description="frames that gave way to newer ones")]
    windows_run: Annotated[Count, Field(description="windows that the model looked at")]
    windows_skipped: Annotated[Count, Field(description="windows it did not look at")]
    blind_time_pct: Annotated[
        float | None,
        Field(ge=0, le=100, description="share of seconds that no analysed window covered"),
    ]
    reconnects: Count
    problem: Annotated[Summary | None, Field(description="in words; null when all is well")]


class RuleState(TypedDict):
    """Whether a rule's incident is open."""

    state: Literal["ON", "OFF"]
    incident_id: Annotated[str | None, Field(description="ULID; null while OFF")]
    since: Time
    score: Annotated[Share | None, Field(description="probability that led here")]


class Latency(TypedDict):
    """Where the time went between the newest frame and this message."""

    queue: Milliseconds
    encode: Milliseconds
    prefill: Milliseconds
    decode: Milliseconds
    total: Annotated[int, Field(description="milliseconds, from frame captured to handed to MQTT")]


class ModelUsed(TypedDict):
    """Which model answered, to which prompt."""

    id: str
    prompt_sha256: str


class Media(TypedDict, total=False):
    """Files that belong to an event: names in the media folder, or addresses (`http.base_url`)."""

    snapshot: str
    clip: str


class EventPayload(TypedDict):
    """Something happened. The same `event_id` may arrive twice: at least once is promised."""

    schema: Version
    event_id: Annotated[str, Field(description="ULID, sorts by time")]
    incident_id: Annotated[str | None, Field(description="ULID, one from match to clear")]
    event_type: EventType
    camera: Slug
    rule: Slug | None
    severity: Severity
    score: Annotated[Share | None, Field(description="probability of a yes")]
    ts: Time
    camera_ts: Annotated[Time | None, Field(description="by the camera's own clock, if it has one")]
    replay: Annotated[bool, Field(description="true when it is told once more")]
    summary: Summary
    text: Annotated[Words | None, Field(description="the model's words: untrusted text")]
    latency_ms: Latency
    model: ModelUsed
    media: NotRequired[Media]


class Description(TypedDict):
    """The newest words about a camera. They come from a model: untrusted text."""

    summary: Summary
    text: Words
    ts: Time
    event_id: str


class Digest(TypedDict):
    """What happened in an hour or a day. The counts are smolwatch's, the words are the model's."""

    schema: Version
    camera: Slug
    since: Time
    until: Time
    summary: Summary
    text: Annotated[Words, Field(description="untrusted text, at most 8 KiB of UTF-8")]
    text_by: Annotated[
        Literal["model", "listing"],
        Field(description="`listing`: the model cannot write, its descriptions are listed"),
    ]
    incidents: Annotated[dict[Slug, Count], Field(description="by rule, how many opened")]
    descriptions: Annotated[Count, Field(description="how many were made")]
    blind_s: Annotated[float, Field(ge=0, description="seconds in which nobody looked")]
    model: ModelId
