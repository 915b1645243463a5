"""Which cameras' pictures are kept for their alerts, and for how long?

Knows the configuration and joins what makes snapshots and clips; writes none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from daemon.config import Config
from daemon.media import MediaWriter, Wish
from daemon.media_files import MediaFiles
from daemon.mqtt.payloads import snapshot
from daemon.mqtt.topics import Topics
from daemon.outbox import Outbox
from pipelines.clock import Clock
from pipelines.ids import new_ulid
from pipelines.inference import Sink
from pipelines.packet_ring import PacketRing

_SLOW_MODEL_S: Final = 30.0  # how late an alert may come and still have its pictures
_DAY_S: Final = 86_400.0


def wishes_of(config: Config) -> dict[tuple[str, str], Wish]:
    """What each camera's rules want, by camera and rule; only those that want something."""
    wishes = {}
    for rule, said in config.rules.items():
        if not (said.snapshot or said.clip):
            continue
        for camera in said.cameras:
            wishes[camera, rule] = Wish(
                snapshot=said.snapshot,
                before_s=said.clip.before_s if said.clip else None,
                after_s=said.clip.after_s if said.clip else 0.0,
                window_s=config.cameras[camera].plan().span_s,
            )
    return wishes


def recordings_for(wishes: Mapping[tuple[str, str], Wish]) -> dict[str, PacketRing]:
    """A ring for each camera that needs one, as long as its longest wish."""
    return {camera: PacketRing(seconds) for camera, seconds in seconds_kept(wishes).items()}


def seconds_kept(wishes: Mapping[tuple[str, str], Wish]) -> dict[str, float]:
    """How long the video of each camera that needs it is kept."""
    keep_s: dict[str, float] = {}
    for (camera, _), wish in wishes.items():
        keep_s[camera] = max(keep_s.get(camera, 0.0), wish.keep_s)
    return {camera: seconds + _SLOW_MODEL_S for camera, seconds in keep_s.items()}


def media_writer(
    config: Config,
    sink: Sink,
    recordings: Mapping[str, PacketRing],
    wishes: Mapping[tuple[str, str], Wish],
    outbox: Outbox | None,
    clock: Clock,
) -> MediaWriter | None:
    """The writer that stands before `sink`; None if no rule wants a picture."""
    said = config.media
    if said is None or not wishes:
        return None
    files = MediaFiles(said.dir, said.max_bytes, said.max_age_days * _DAY_S, clock)
    topics = Topics(config.mqtt.base_topic if config.mqtt else "smolwatch")

    def show(camera: str, jpeg: bytes) -> None:
        if outbox is not None:
            outbox.put(snapshot(topics, camera, jpeg))

    return MediaWriter(sink, files, recordings, wishes, show=show, clock=clock, new_id=new_ulid)
