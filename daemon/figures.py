"""How does everything do, at one moment?

Knows the parts and reads each once; what shows the figures (metrics, HTTP, `smolwatch top`) sees no
part. From any thread.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from daemon import __version__
from daemon.disk_trouble import joined
from daemon.eventlog import EventLog
from daemon.media import MediaWriter
from daemon.mqtt.records import PublisherHealth
from daemon.publisher import Publisher
from daemon.reporter import Watched
from daemon.settings import Settings
from daemon.store import Store
from pipelines.clock import Clock
from pipelines.errors import RequestRefused
from pipelines.model_slot import ModelState
from pipelines.requests import Requests
from pipelines.vitals import CameraHealth
from pipelines.windows import WindowCounts

_STORE_FILES: Final = ("", "-wal", "-shm", ".reserve")


@dataclass(frozen=True, slots=True)
class RuleFigures:
    """One rule at one camera."""

    name: str
    armed: bool
    on_s: float | None  # how long its incident has been open; None: there is none


@dataclass(frozen=True, slots=True)
class CameraFigures:
    """One camera, from its pictures to its rules."""

    health: CameraHealth
    windows: WindowCounts
    frames_dropped: int
    latencies_ms: tuple[float, ...]  # newest frame -> answers, of the last windows
    rules: tuple[RuleFigures, ...]


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system that one of our folders is on."""

    free_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Figures:
    """All of it."""

    wall_time: float  # Unix seconds
    uptime_s: float
    version: str
    model_id: str
    model: ModelState
    cameras: Mapping[str, CameraFigures]
    events: int  # told since the start
    batches: int  # times that windows went to the model, those due at once together
    busy_s: float  # that the model was at work
    stride_factor: int  # by which strides are longer than configured: `throttle`
    slowed: str | None  # why, in words; None while they are as configured
    link: PublisherHealth | None  # None: no broker is configured
    requests: Mapping[str, int]  # what became of questions: `Requests.counts`
    requests_waiting: int
    media: Mapping[str, int] | None  # `MediaWriter.counts`; None: no rule wants a picture
    store_bytes: int | None  # None: nothing is remembered
    store_lost: int  # writes that failed
    troubles: Mapping[str, str]  # of the disk, by the part that has it: store, media, events
    disks: Mapping[str, Disk]  # of `store` and `media`, as far as there are
    threads: int
    memory_bytes: int  # resident


@dataclass(frozen=True, slots=True)
class Sources:
    """The parts whose figures are read; None for those that are not configured."""

    watched: Watched
    settings: Settings
    requests: Requests
    publisher: Publisher | None
    store: Store | None
    event_log: EventLog | None
    media_dir: Path | None


class Gauges:
    """Reads the figures of `sources`, which may be exchanged. From any thread.

    `read` may take a few tenths of a second where a disk is slow. Raises `RequestRefused` while
    there is nothing to read.
    """

    def __init__(self, clock: Clock) -> None:
        self.sources: Sources | None = None
        self._clock = clock
        self._started_s = clock.monotonic_s()

    @property
    def there(self) -> Sources:
        """The parts as they are now. Raises `RequestRefused`."""
        if self.sources is None:
            raise RequestRefused("smolwatch is starting: ask again in a moment")
        return self.sources

    def read(self) -> Figures:
        """As of now."""
        parts, now_s = self.there, self._clock.monotonic_s()
        watched, store = parts.watched, parts.store
        slot = watched.model
        places = {"store": store.path if store else None, "media": parts.media_dir}
        return Figures(
            wall_time=self._clock.wall_time(),
            uptime_s=now_s - self._started_s,
            version=__version__,
            model_id=slot.model_id if slot else "",
            model=slot.state if slot else ModelState("ready"),
            cameras={name: _camera(parts, name, now_s) for name in watched.captures},
            events=watched.inference.events,
            batches=watched.inference.batches,
            busy_s=watched.inference.busy_s,
            stride_factor=watched.throttling.factor if watched.throttling else 1,
            slowed=watched.throttling.summary if watched.throttling else None,
            link=parts.publisher.health() if parts.publisher else None,
            requests=dict(parts.requests.counts),
            requests_waiting=parts.requests.num_waiting,
            media=watched.media.figures() if watched.media else None,
            store_bytes=_size_of(store.path) if store else None,
            store_lost=store.lost if store else 0,
            troubles=disk_troubles(store, watched.media, parts.event_log),
            disks={name: disk for name, path in places.items() if (disk := _disk_of(path))},
            threads=threading.active_count(),
            memory_bytes=_resident_bytes(),
        )


def disk_troubles(
    store: Store | None, media: MediaWriter | None, event_log: EventLog | None
) -> dict[str, str]:
    """What keeps each of them from writing, in words; of those that can, nothing."""
    parts = {"store": store, "media": media, "events": event_log}
    return {name: part.trouble for name, part in parts.items() if part and part.trouble}


def _camera(parts: Sources, name: str, now_s: float) -> CameraFigures:
    watched, incidents = parts.watched, parts.watched.inference.open_incidents(name)
    on_s = {rule: max(0.0, now_s - incident.since_s) for rule, incident in incidents.items()}
    return CameraFigures(
        health=watched.captures[name].health(),
        windows=watched.scheduler.counts(name, now_s),
        frames_dropped=watched.rings[name].dropped,
        latencies_ms=watched.inference.latencies_ms(name),
        rules=tuple(
            RuleFigures(rule, setting.armed, on_s.get(rule))
            for rule, setting in parts.settings.of(name).rules.items()
        ),
    )


def problem_of(figures: Figures) -> str | None:
    """The worst that is known of the daemon as a whole, in words; None when all is well."""
    link = figures.link
    if figures.model.phase == "failed":
        return f"the model {figures.model}"
    if figures.troubles:
        unsafe = link is not None and link.in_memory > 0 and link.on_disk
        memory = ["alerts wait in memory only"] if unsafe else []
        return "; ".join([*joined(figures.troubles.values()), *memory])
    if link is not None and not link.connected and link.problem:
        return link.problem
    if link is not None and link.dropped_alerts:
        return f"{link.dropped_alerts} alerts were lost: neither disk nor memory took any more"
    if link is not None and link.dead_letters:
        return f"the broker refused {link.dead_letters} messages: smolwatch mqtt dead-letters"
    return figures.slowed


def not_ready(figures: Figures) -> list[str]:
    """Why it does not watch as it should, in words: the model, and cameras that are away."""
    reasons = []
    if figures.model.phase != "ready":
        reasons.append(f"the model is not there: {figures.model}")
    for name, camera in figures.cameras.items():
        health = camera.health
        if health.state not in ("online", "disabled", "ended"):
            reasons.append(f"camera {name} is {health.state}: {health.message or 'no picture yet'}")
    return reasons


def _size_of(path: Path) -> int:
    sizes = []
    for suffix in _STORE_FILES:
        try:
            sizes.append(path.with_name(path.name + suffix).stat().st_size)
        except OSError:  # not there
            continue
    return sum(sizes)


def _disk_of(path: Path | None) -> Disk | None:
    """The disk of a folder or file, which may not be there yet."""
    for place in (path, *path.absolute().parents) if path is not None else ():
        try:
            found = shutil.disk_usage(place) if place is not None else None
        except OSError:
            continue
        return Disk(found.free, found.total) if found is not None else None
    return None


def _resident_bytes() -> int:
    """See proc_pid_statm(5); 0 where there is no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGESIZE")
