"""What is there to tell besides events?

Knows no topic and no JSON: records that others fill in and `daemon.mqtt.payloads` puts into words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Protocol = Literal["5", "3.1.1"]


@dataclass(frozen=True, slots=True)
class RuleStatus:
    """What `B/CAMERA/rule/RULE` shows. `since` is Unix seconds of the last change."""

    on: bool
    incident_id: str | None
    since: float
    score: float | None


@dataclass(frozen=True, slots=True)
class RuleSetting:
    """One rule in `B/CAMERA/state`. `threshold` is the rule's `open_above`, 0..1."""

    armed: bool
    threshold: float


@dataclass(frozen=True, slots=True)
class CameraEntry:
    """One camera in `B/bridge/cameras`. `source` is shown with its credentials masked."""

    name: str
    source: str
    rules: tuple[str, ...]
    snapshots: bool = False  # whether any of its rules wants a picture
    digests: bool = False  # whether one is told on schedule


@dataclass(frozen=True, slots=True)
class Digest:
    """What `B/CAMERA/digest` tells of a camera's hour or day; times are Unix seconds."""

    camera: str
    since: float
    until: float
    text: str
    text_by: Literal["model", "listing"]
    incidents: Mapping[str, int]  # by rule: how many opened
    descriptions: int
    blind_s: float  # in which nobody looked
    model_id: str


@dataclass(frozen=True, slots=True)
class CameraHealth:
    """What `B/CAMERA/health` shows; None where nothing is known yet."""

    fps: float | None  # frames sampled a second
    frame_age_s: float | None
    latency_ms_p50: float | None  # newest frame -> observation
    frames_dropped: int
    windows_run: int
    windows_skipped: int
    blind_time_pct: float | None  # share of seconds that no analysed window covered, 0..100
    reconnects: int
    problem: str | None  # in words; None when all is well
    lag_s: float | None = None  # how late pictures are read; None where they carry no time stamps


@dataclass(frozen=True, slots=True)
class PublisherHealth:
    """How the broker link does, at one moment."""

    connected: bool
    protocol: Protocol | None  # None until a broker has accepted one
    problem: str | None  # why there is no link, and what to do; None when connected or at start
    pending: int  # messages in the outbox, those in flight included
    oldest_s: float  # age of the oldest of them, 0 if none
    published: int  # acknowledged by the broker with a reason below 0x80
    refused: int  # acknowledged with 0x80 or above, or too large to be sent
    dropped: int  # gave way in a full outbox
    dropped_alerts: int  # those of `dropped` that were alerts
    dead_letters: int  # refused and set aside, those of earlier runs included
    in_memory: int  # messages that a crash would lose
    on_disk: bool  # whether the others outlive one
    publish_ms_p50: float | None  # put -> acknowledged, of the last 100
    heartbeat_s: float  # monotonic; moves at least every second while the thread lives


@dataclass(frozen=True, slots=True)
class BridgeHealth:
    """What `B/bridge/health` shows besides the link."""

    wall_time: float
    uptime_s: float
    model_state: str  # `ready`, `loading`, `downloading 43%`, `failed: why`
    windows_run: int
    events: int
    problem: str | None = None  # of the process itself, in words
    media: Mapping[str, int] | None = None  # `MediaWriter.figures`; None: no rule wants a picture
