"""Which parts make the daemon, and how are they joined?

Knows all parts and the work of none. `build_app` reads from top to bottom as frames flow.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from daemon import __version__
from daemon.announce import bridge_info, camera_state, first_messages, inventory, known_topics
from daemon.ask_back import answer_content, asking
from daemon.config import Config
from daemon.config_http import HttpConfig
from daemon.control import ControlServer
from daemon.desk import Desk, Services
from daemon.desk_services import Photographer, contents, reader
from daemon.digest_desk import DigestDesk, answers_of
from daemon.digest_wishes import digest_desk
from daemon.eventlog import EventLog
from daemon.figures import Sources
from daemon.front import HTTP_BOUND_S, Front
from daemon.highlights import answers_of as highlight_answers
from daemon.highlights import keeping
from daemon.letters import letter_answers
from daemon.lookout import Lookout
from daemon.media import MediaWriter
from daemon.media_wishes import media_writer, recordings_for, wishes_of
from daemon.metered import MeteredSink
from daemon.model_loader import ModelLoader
from daemon.mqtt import payloads
from daemon.mqtt.discovery import Site
from daemon.mqtt.homeassistant import HomeAssistant
from daemon.mqtt.options import MqttOptions
from daemon.mqtt.replies import Replies
from daemon.mqtt.topics import Topics
from daemon.outbox import Outbox
from daemon.publisher import Publisher
from daemon.questions import answers
from daemon.reporter import Reporter, Watched
from daemon.resume import resume
from daemon.selftest_memory import SelftestMemory
from daemon.settings import CameraSetting, Settings
from daemon.sink import EventSink
from daemon.store import Store
from daemon.switches import Switched, Switches
from daemon.systemd import Heartbeat, Notifier, Watchdog
from daemon.trial_questions import trial_answers
from daemon.watches import configured, trouble_of, watch_of
from daemon.workers import Workers
from pipelines.capture import CaptureWorker
from pipelines.clock import Clock
from pipelines.ids import new_ulid
from pipelines.inference import InferenceWorker
from pipelines.mask import Mask
from pipelines.model_slot import ModelSlot
from pipelines.requests import Outlook, Requests
from pipelines.ring import FrameRing
from pipelines.sources import FrameSource, open_source
from pipelines.threads import yield_to_capture
from pipelines.types import VideoModel
from pipelines.windows import WindowScheduler
from pipelines.writing import Writings

TICK_S = 1.0
INFERENCE_BOUND_S = 600.0  # 27 s were measured for the smallest model on two old, busy cores
CAPTURE_BOUND_S = 120.0  # the longest wait between attempts, 60 s, and what an attempt may take
PUBLISHER_BOUND_S = 30.0
DESK_BOUND_S = 60.0  # one command: at most a snapshot to decode, and a slow disk
# Together below the five seconds in which a stop must end.
INFERENCE_STOP_S = 2.0
PUBLISHER_STOP_S = 2.6
STORE_STOP_S = 0.2


@dataclass(frozen=True)
class App:
    """The joined parts. `run` is the main thread's life; tests and the demo look at the rest."""

    config: Config
    clock: Clock
    workers: Workers
    sources: dict[str, FrameSource]
    captures: dict[str, CaptureWorker]
    scheduler: WindowScheduler
    inference: InferenceWorker
    requests: Requests
    publisher: Publisher | None
    event_log: EventLog | None
    reporter: Reporter
    store: Store | None
    lookout: Lookout | None
    control: ControlServer | None
    media: MediaWriter | None
    switches: Switches
    writings: Writings
    digests: DigestDesk | None
    desk: Desk | None
    loader: ModelLoader | None
    front: Front

    def run(self, watchdog: Watchdog, notifier: Notifier) -> int:
        """Start the threads, report until `workers.ended` is set, stop them; the exit code.

        Ends within five seconds of `ended`; a model that is in a forward pass, or a camera in a
        stuck read, is left behind.
        """
        stop, stop_publishing = threading.Event(), threading.Event()
        for name, run in self._threads():
            self.workers.start(name, run, stop_publishing if name == "publisher" else stop)
        structlog.get_logger(__name__).info(
            "daemon.started", version=__version__, cameras=list(self.captures)
        )
        notifier.ready()
        while not self.clock.wait(self.workers.ended, TICK_S):
            notifier.status(self.reporter.report())
            self.requests.expire()  # a model that is stuck cannot say so itself
            if self.lookout is not None:
                self.lookout.look()
            watchdog.check(self.front.pulse.note(self._heartbeats()), self.clock.monotonic_s())
        notifier.stopping()
        self._stop(stop, stop_publishing)
        return 1 if self.workers.failed else 0

    def _look(self, stop: threading.Event) -> None:
        """The inference thread. Cameras come first where cores are short: a late frame is lost."""
        yield_to_capture()
        self.inference.run(stop)

    def _threads(self) -> Iterator[tuple[str, Callable[[threading.Event], None]]]:
        """In the order in which they begin."""
        parts = {
            "store": self.store.keep if self.store else None,
            "control": self.control.run if self.control else None,
            "http": self.front.http.run if self.front.http else None,
            "digest": self.digests.run if self.digests else None,
            "media": self.media.run if self.media else None,
            "publisher": self.publisher.run if self.publisher else None,
            **{f"capture-{name}": capture.run for name, capture in self.captures.items()},
            "inference": self._look,
            "desk": self.desk.run if self.desk else None,
            "model": self.loader.run if self.loader else None,
        }
        yield from ((name, run) for name, run in parts.items() if run is not None)

    def _stop(self, stop: threading.Event, stop_publishing: threading.Event) -> None:
        """First those who have something to tell, so that it is still published."""
        stop.set()
        for queue in (self.requests, self.writings):
            queue.close("smolwatch is stopping: ask again when it runs")
        left = self.workers.join(INFERENCE_STOP_S, *self._tellers)
        self.reporter.goodbye()
        stop_publishing.set()
        if self.publisher is not None:
            left += self.workers.join(PUBLISHER_STOP_S, "publisher")
        if self.front.http is not None:
            left += self.workers.join(STORE_STOP_S, "http")
        if self.event_log is not None:
            self.event_log.close()
        self._close_store()
        structlog.get_logger(__name__).info(
            "daemon.stopped", failed=self.workers.failed, left_behind=list(left)
        )

    def _close_store(self) -> None:
        """Not under a thread that still writes: a store that is not closed loses nothing."""
        if self.lookout is not None:
            self.lookout.end()
        others = {"store": self.store, "digest": self.digests}
        writers = (*self._tellers, *(name for name, there in others.items() if there is not None))
        if self.store is not None and not self.workers.join(STORE_STOP_S, *writers):
            self.store.close()

    @property
    def _tellers(self) -> tuple[str, ...]:
        """The threads that write to outbox and store."""
        media = ("media",) if self.media is not None else ()
        return ("inference", *media, *(("desk",) if self.desk is not None else ()))

    def _heartbeats(self) -> list[Heartbeat]:
        beats = [
            Heartbeat(f"capture {name}", capture.heartbeat_s, CAPTURE_BOUND_S)
            for name, capture in self.captures.items()
        ]
        beats.append(Heartbeat("inference", self.inference.heartbeat_s, INFERENCE_BOUND_S))
        if self.publisher is not None:
            beat_s = self.publisher.health().heartbeat_s
            beats.append(Heartbeat("publisher", beat_s, PUBLISHER_BOUND_S))
        if self.desk is not None:
            beats.append(Heartbeat("desk", self.desk.heartbeat_s, DESK_BOUND_S))
        if self.front.http is not None:
            beats.append(Heartbeat("http", self.front.http.heartbeat_s, HTTP_BOUND_S))
        return beats


def build_app(
    config: Config,
    model: VideoModel | ModelLoader,
    mqtt: MqttOptions | None,
    clock: Clock,
    store: Store | None = None,
    control: Path | None = None,
    *,
    reload: Callable[[], dict[str, object]] | None = None,
    http: HttpConfig | None = None,
) -> App:
    """Join the parts that `config` asks for; nothing runs yet.

    `model`: one that is there, or whoever loads it meanwhile. `mqtt` is where the broker is; where
    it, `store` or the socket `control` is None, there is none.
    `reload` reads the configuration again when that is asked for over MQTT, and tells what came of
    it; it raises `SmolwatchError` where it cannot. `http`: where to answer over HTTP.
    Raises `SmolwatchError` for a source address that nothing reads.
    """
    loader = model if isinstance(model, ModelLoader) else None
    slot = model.slot if isinstance(model, ModelLoader) else ModelSlot.holding(model)
    settings = Settings(configured(config), store)
    cameras = config.cameras
    sources = {
        name: open_source(camera.source, clock, decode=camera.decode)
        for name, camera in cameras.items()
    }
    rings = {name: FrameRing(camera.plan().ring_capacity) for name, camera in cameras.items()}
    zones = {
        name: {zone: FrameRing(camera.plan().zone_capacity) for zone in config.zones_for(name)}
        for name, camera in cameras.items()
    }
    wishes = wishes_of(config)
    recordings = recordings_for(wishes)
    captures = {
        name: CaptureWorker(
            name, sources[name], rings[name], clock,
            sample_interval_s=camera.window.interval_s, frame_edge_px=slot.frame_edge_px,
            recording=recordings.get(name), mask=Mask(camera.mask) if camera.mask else None,
            zones=zones[name],
        )
        for name, camera in cameras.items()
    }  # fmt: skip
    scheduler = WindowScheduler(
        {name: (camera.plan(), rings[name]) for name, camera in cameras.items()},
        clock.monotonic_s(),
    )
    topics = Topics(config.mqtt.base_topic if config.mqtt else "smolwatch")
    outbox = Outbox(clock, store) if mqtt is not None else None
    event_log = EventLog(config.log.events) if config.log.events else None
    front = Front(http, clock)
    sink = MeteredSink(
        EventSink(clock, topics, event_log, outbox, store, front.links), front.meters
    )
    watches = {name: watch_of(config, name, settings.of(name), zones[name]) for name in cameras}
    media = media_writer(config, sink, recordings, wishes, outbox, clock)
    requests = Requests(
        {
            name: Outlook(
                rings[name], camera.plan(), trouble_of(captures[name], scheduler, name, slot)
            )
            for name, camera in cameras.items()
        },
        clock,
    )
    writings = Writings(clock)
    inference = InferenceWorker(
        slot, scheduler, watches, media or sink, clock, new_ulid,
        requests=requests, writings=writings, away=lambda: slot.away,
    )  # fmt: skip
    if store is not None:
        resume(store, {name: watch.book for name, watch in watches.items()}, inference, clock)
    rules = {name: {rule.name: rule for rule in config.rules_for(name)} for name in cameras}
    armed = {name: settings.of(name).rules for name in cameras}
    selftests = SelftestMemory(store, rules, lambda: slot.model_id, clock, armed)
    switched = Switched(captures, scheduler, inference, rules)
    tell_state = _state_teller(outbox, topics, selftests)
    switches = Switches(settings, switched, clock, tell_state)
    switches.restore()
    digests = digest_desk(config, slot, writings, store, outbox, clock)
    seen = {name: (camera.plan(), rings[name], zones[name]) for name, camera in cameras.items()}
    told = {
        **answers(store, rules, selftests.failed),
        **trial_answers(store, seen, selftests),
        **letter_answers(outbox),
        **answers_of(digests),
        **highlight_answers(store, keeping(config)),
        "ask": asking(requests, list(cameras), recordings),
        **front.answers,
    }
    server = ControlServer(control, told) if control is not None else None
    lookout = Lookout(store, captures, scheduler, clock, slot) if store is not None else None
    home = _home_assistant(config, topics)
    photographer = Photographer(topics, captures, rings, recordings, outbox)
    services = Services(
        switches,
        requests,
        contents(
            {
                "health": lambda: reporter.bridge_health(),  # noqa: PLW0108 - made below
                "info": lambda: bridge_info(config, topics, slot),
                "cameras": lambda: payloads.bridge_cameras(topics, inventory(config)),
            }
        ),
        photographer.snapshot,
        answer_content,
        reload,
    )
    desk = _desk(config, topics, settings, services, outbox, clock)
    publisher = None
    if outbox is not None and mqtt is not None:
        publisher = Publisher(
            outbox, mqtt, clock, home=home, desk=desk, measured=front.meters.published.observe
        )
    watched = Watched(captures, rings, scheduler, inference, slot, media)
    reporter = Reporter(topics, outbox, publisher, watched, clock)
    folder = config.media.dir if config.media else None
    front.show(Sources(watched, settings, requests, publisher, store, folder), told)
    if outbox is not None:
        outbox.withdraw(known_topics(config, topics))
        outbox.put_all(first_messages(config, topics, slot, watches, settings, clock))
    return App(
        config, clock, Workers(), sources, captures, scheduler, inference, requests, publisher,
        event_log, reporter, store, lookout, server, media, switches, writings, digests, desk,
        loader, front,
    )  # fmt: skip


def _desk(
    config: Config,
    topics: Topics,
    settings: Settings,
    services: Services,
    outbox: Outbox | None,
    clock: Clock,
) -> Desk | None:
    """Where requests are taken, if the configuration has them taken."""
    if outbox is None or config.mqtt is None or config.mqtt.commands == "off":
        return None
    replies = Replies(clock, outbox.changed)
    return Desk(reader(config.mqtt, topics, settings), services, replies, clock)


def _state_teller(
    outbox: Outbox | None, topics: Topics, selftests: SelftestMemory
) -> Callable[[str, CameraSetting], None]:
    """Who is to know of a camera's new settings."""

    def told(camera: str, setting: CameraSetting) -> None:
        selftests.armed(camera, setting.rules)
        if outbox is not None:
            outbox.put(camera_state(topics, camera, setting))

    return told


def _home_assistant(config: Config, topics: Topics) -> HomeAssistant | None:
    if config.mqtt is None or not config.mqtt.discovery:
        return None
    said = config.mqtt
    site = Site(topics, said.discovery_prefix, __version__, said.commands)
    return HomeAssistant(site, inventory(config))
