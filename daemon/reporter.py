"""What does the daemon say about itself?

Knows the parts' figures, and changes nothing but this: a camera that stays away has its incidents
closed. Called once a second by the main thread.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from daemon.media import MediaWriter
from daemon.mqtt import payloads
from daemon.mqtt.records import BridgeHealth, CameraHealth
from daemon.mqtt.topics import Topics
from daemon.outbox import Outbox
from daemon.publisher import Publisher
from daemon.throttling import Throttling
from pipelines.capture import CaptureWorker
from pipelines.clock import Clock
from pipelines.inference import InferenceWorker
from pipelines.model_slot import ModelSlot, ModelState
from pipelines.ring import FrameRing
from pipelines.windows import WindowScheduler

HEALTH_EVERY_S = 15.0
DOWNLOAD_EVERY_S = 2.0  # while a model is fetched: people look how far it is
AWAY_S = 30.0  # a camera that is offline for so long has its open incidents closed


@dataclass(frozen=True, slots=True)
class Watched:
    """The parts whose figures are told."""

    captures: Mapping[str, CaptureWorker]
    rings: Mapping[str, FrameRing]
    scheduler: WindowScheduler
    inference: InferenceWorker
    model: ModelSlot | None = None  # None: it is always there
    media: MediaWriter | None = None  # None: no rule wants a picture
    throttling: Throttling | None = None  # None: nothing is limited


class Reporter:
    """Turns figures into the health and availability topics, and into one line for systemd."""

    def __init__(
        self,
        topics: Topics,
        outbox: Outbox | None,
        publisher: Publisher | None,
        watched: Watched,
        clock: Clock,
    ) -> None:
        self._topics = topics
        self._outbox = outbox
        self._publisher = publisher
        self._captures = watched.captures
        self._rings = watched.rings
        self._scheduler = watched.scheduler
        self._inference = watched.inference
        self._model = watched.model
        self._media = watched.media
        self._throttling = watched.throttling
        self._clock = clock
        self._started_s = clock.monotonic_s()
        self._online: dict[str, bool] = {}
        self._settled: set[str] = set()
        self._health_s: float | None = None
        self.trouble: str | None = None  # of the process itself, in words
        self._told: tuple[str, str | None] = ("ready", None)  # the model's phase, and `trouble`

    def take_over(self, before: Reporter, cameras: Collection[str]) -> None:
        """Go on from what another one has told. `cameras`: those that are as they were."""
        self._started_s, self._told = before._started_s, before._told
        self._online = {name: before._online[name] for name in cameras if name in before._online}
        self._settled = before._settled & set(cameras)

    def report(self) -> str:
        """Publish what changed and what is due; one line of status."""
        now_s = self._clock.monotonic_s()
        online = enabled = 0
        for name, capture in self._captures.items():
            health = capture.health()
            is_online = health.state == "online"
            online += is_online
            enabled += health.state != "disabled"
            self._tell_availability(name, online=is_online)
            away = not is_online and now_s - health.since_s >= AWAY_S
            if away and name not in self._settled:
                self._settled.add(name)
                self._inference.camera_lost(name, f"{name} is {health.cause or health.state}")
            elif is_online:
                self._settled.discard(name)
        state = self._model.state if self._model else ModelState("ready")
        every_s = DOWNLOAD_EVERY_S if state.phase == "downloading" else HEALTH_EVERY_S
        due = self._health_s is None or now_s - self._health_s >= every_s
        telling = (state.phase, self.trouble)
        if due or telling != self._told:
            self._health_s, self._told = now_s, telling
            self._tell_health()
        link = self._publisher.health() if self._publisher is not None else None
        broker = "no broker" if link is None else "broker ok" if link.connected else "broker away"
        model = "" if state.phase == "ready" else f"model {state}; "
        windows = f"{self._inference.windows_run} windows"
        trouble = f"; {self.trouble}" if self.trouble is not None else ""
        return f"{model}{online} of {enabled} cameras, {windows}, {broker}{trouble}"

    def goodbye(self) -> None:
        """The cameras go with the daemon."""
        for name in self._captures:
            self._tell_availability(name, online=False)

    def camera_health(self, name: str) -> CameraHealth:
        """One camera's figures, as its health topic shows them."""
        now_s = self._clock.monotonic_s()
        capture = self._captures[name].health()
        counts = self._scheduler.counts(name, now_s)
        latencies = self._inference.latencies_ms(name)
        return CameraHealth(
            fps=capture.fps_sampled,
            frame_age_s=capture.frame_age_s,
            latency_ms_p50=statistics.median(latencies) if latencies else None,
            frames_dropped=self._rings[name].dropped,
            windows_run=counts.ran,
            windows_skipped=counts.skipped,
            blind_time_pct=100.0 * counts.blind_share,
            reconnects=sum(capture.reconnects.values()),
            problem=capture.message or (self._throttling and self._throttling.note(name)) or None,
            lag_s=capture.lag_s,
        )

    def _tell_availability(self, name: str, *, online: bool) -> None:
        if self._outbox is not None and self._online.get(name, False) != online:
            self._outbox.put(payloads.availability(self._topics, name, online=online))
        self._online[name] = online

    def _tell_health(self) -> None:
        if self._outbox is None or self._publisher is None:
            return
        for name in self._captures:
            message = payloads.camera_health(self._topics, name, self.camera_health(name))
            self._outbox.put(message)
        self._outbox.put(self.bridge_health())

    def bridge_health(self) -> payloads.Message:
        """`B/bridge/health`, as of now. Only where there is a broker."""
        assert self._publisher is not None  # noqa: S101 - who asks came by way of the broker
        state = self._model.state if self._model else ModelState("ready")
        broken = f"the model {state}" if state.phase == "failed" else None
        slowed = self._throttling.summary if self._throttling is not None else None
        bridge = BridgeHealth(
            wall_time=self._clock.wall_time(),
            uptime_s=self._clock.monotonic_s() - self._started_s,
            model_state=str(state),
            windows_run=self._inference.windows_run,
            events=self._inference.events,
            media=self._media.figures() if self._media else None,
            problem="; ".join(filter(None, (self.trouble, broken, slowed))) or None,
        )
        return payloads.bridge_health(self._topics, bridge, self._publisher.health())
