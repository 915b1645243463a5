"""What stays as it is when the configuration changes?

Knows cameras up to their rings, the store, the outbox and the link: parts that hold what cannot be
made again, such as frames, files and connections. What is made of them is `daemon.app`'s, and made
anew. To lay ground for a changed configuration touches nothing that runs: it may come to nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from daemon.config import Config
from daemon.config_sections import LogConfig
from daemon.control import ControlServer
from daemon.eventlog import EventLog
from daemon.front import Front
from daemon.media import MediaWriter, Wish
from daemon.media_wishes import media_writer, recordings_for, wishes_of
from daemon.metered import MeteredSink
from daemon.model_loader import ModelLoader
from daemon.mqtt.options import MqttOptions
from daemon.mqtt.replies import Replies
from daemon.mqtt.topics import Topics
from daemon.outbox import Outbox
from daemon.publisher import Publisher
from daemon.reload_plan import capture_facts
from daemon.sink import EventSink
from daemon.store import Store
from daemon.workers import Workers
from pipelines.capture import CaptureWorker
from pipelines.clock import Clock
from pipelines.mask import Mask
from pipelines.model_slot import ModelSlot
from pipelines.packet_ring import PacketRing
from pipelines.ring import FrameRing
from pipelines.sources import FrameSource, open_source
from pipelines.zones import Zone


@dataclass(frozen=True)
class CameraParts:
    """One camera, up to its rings. `facts`: all of the configuration that is in them."""

    facts: tuple[object, ...]
    source: FrameSource
    ring: FrameRing
    zones: Mapping[Zone, FrameRing]
    recording: PacketRing | None
    capture: CaptureWorker
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Edges:
    """What comes from outside: the process's, whatever the configuration says."""

    clock: Clock
    slot: ModelSlot
    loader: ModelLoader | None
    store: Store | None
    control: ControlServer | None
    front: Front
    workers: Workers = field(default_factory=Workers)
    stop: threading.Event = field(default_factory=threading.Event)  # of store, control and loader
    epochs: dict[str, int] = field(default_factory=dict)  # by camera: those that are taken


@dataclass(frozen=True)
class Ground:
    """The parts that other parts stand on."""

    config: Config
    edges: Edges
    mqtt: MqttOptions | None
    cameras: Mapping[str, CameraParts]
    topics: Topics
    outbox: Outbox | None
    replies: Replies | None
    event_log: EventLog | None
    sink: MeteredSink
    wishes: Mapping[tuple[str, str], Wish]
    media: MediaWriter | None
    media_stop: threading.Event
    publisher: Publisher | None
    publisher_stop: threading.Event

    @property
    def recordings(self) -> dict[str, PacketRing]:
        """Of the cameras whose video is kept."""
        found = {name: parts.recording for name, parts in self.cameras.items()}
        return {name: ring for name, ring in found.items() if ring is not None}


def lay_ground(
    config: Config,
    around: Edges,
    mqtt: MqttOptions | None,
    before: Ground | None = None,
    *,
    edge_px: int | None = None,
) -> Ground:
    """Make what `config` asks for, and take from `before` whatever serves it.

    `edge_px`: of frames, for a model that is not in its place yet.
    Raises `SmolwatchError` for a source that nothing reads and for certificates that cannot be
    used.
    """
    topics = Topics(config.mqtt.base_topic if config.mqtt else "smolwatch")
    wishes = wishes_of(config)
    cameras = _cameras(config, around, edge_px or around.slot.frame_edge_px, before)
    outbox = before.outbox if before is not None and mqtt is not None else None
    if mqtt is not None and outbox is None:
        outbox = Outbox(around.clock, around.store)
    replies = before.replies if before is not None and outbox is before.outbox else None
    if outbox is not None and replies is None:
        replies = Replies(around.clock, outbox.changed)
    log = before.event_log if before and _same_file(before.config.log, config.log) else None
    if log is None and config.log.events is not None:
        log = _event_log(config.log, config.log.events, around.clock)
    links, meters = around.front.links, around.front.meters
    sink = MeteredSink(EventSink(around.clock, topics, log, outbox, around.store, links), meters)
    same_media = before is not None and before.media and before.config.media == config.media
    recordings = {name: c.recording for name, c in cameras.items() if c.recording is not None}
    if before is not None and same_media and wishes:
        media, media_stop = before.media, before.media_stop
    else:
        media = media_writer(config, sink, recordings, wishes, outbox, around.clock)
        media_stop = threading.Event()
    same_link = before is not None and before.config.mqtt == config.mqtt and before.mqtt == mqtt
    publisher, publisher_stop = None, threading.Event()
    if before is not None and same_link:
        publisher, publisher_stop = before.publisher, before.publisher_stop
    elif outbox is not None and mqtt is not None:
        publisher = Publisher(outbox, mqtt, around.clock, measured=meters.published.observe)
    return Ground(
        config, around, mqtt, cameras, topics, outbox, replies, log, sink, wishes,
        media, media_stop, publisher, publisher_stop,
    )  # fmt: skip


def _event_log(said: LogConfig, path: Path, clock: Clock) -> EventLog:
    max_age_s = said.events_max_age_days * 86_400.0
    return EventLog(path, said.events_max_bytes, said.events_keep, max_age_s, clock.wall_time)


def _same_file(old: LogConfig, new: LogConfig) -> bool:
    """Whether the event log stays as it is."""
    return all(
        getattr(old, name) == getattr(new, name)
        for name in ("events", "events_max_bytes", "events_keep", "events_max_age_days")
    )


def _cameras(
    config: Config,
    around: Edges,
    edge_px: int,
    before: Ground | None,
) -> dict[str, CameraParts]:
    """Those of `before` that would be made just so go on."""
    made: dict[str, CameraParts] = {}
    recordings = recordings_for(wishes_of(config))
    for name in config.cameras:
        facts = (*capture_facts(config, name), edge_px)
        known = before.cameras.get(name) if before is not None else None
        if known is not None and known.facts == facts:
            made[name] = known
        else:
            made[name] = _camera(config, name, around, recordings.get(name), edge_px)
    return made


def _camera(
    config: Config,
    name: str,
    around: Edges,
    recording: PacketRing | None,
    edge_px: int,
) -> CameraParts:
    camera = config.cameras[name]
    source = open_source(camera.source, around.clock, decode=camera.decode)
    ring = FrameRing(camera.plan().ring_capacity)
    zones = {zone: FrameRing(camera.plan().zone_capacity) for zone in config.zones_for(name)}
    capture = CaptureWorker(
        name, source, ring, around.clock,
        sample_interval_s=camera.window.interval_s, frame_edge_px=edge_px,
        recording=recording, mask=Mask(camera.mask) if camera.mask else None, zones=zones,
    )  # fmt: skip
    facts = (*capture_facts(config, name), edge_px)
    return CameraParts(facts, source, ring, zones, recording, capture)
