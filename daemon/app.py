"""Which parts make the daemon, and how are they joined?

Knows all parts and the work of none. `build_app` reads from top to bottom as frames flow; what it
joins them on is `daemon.ground`'s, and how they run is `daemon.running`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon import __version__
from daemon.announce import bridge_info, camera_state, first_messages, inventory, known_topics
from daemon.ask_back import answer_content, asking
from daemon.config import Config
from daemon.config_http import HttpConfig
from daemon.control import Answer, ControlServer
from daemon.desk import Desk, Services
from daemon.desk_services import Photographer, contents, reader
from daemon.digest_desk import DigestDesk, answers_of
from daemon.digest_wishes import digest_desk
from daemon.eventlog import EventLog
from daemon.figures import Sources
from daemon.front import Front
from daemon.ground import Edges, Ground, lay_ground
from daemon.handover import Handover
from daemon.highlights import answers_of as highlight_answers
from daemon.highlights import keeping
from daemon.letters import letter_answers
from daemon.log_levels import level_answer
from daemon.lookout import Lookout
from daemon.media import MediaWriter
from daemon.model_loader import ModelLoader
from daemon.mqtt import payloads
from daemon.mqtt.discovery import Site
from daemon.mqtt.homeassistant import HomeAssistant
from daemon.mqtt.options import MqttOptions
from daemon.mqtt.topics import Topics
from daemon.outbox import Outbox
from daemon.publisher import Publisher
from daemon.questions import answers
from daemon.reloading import reload_answers
from daemon.reporter import Reporter, Watched
from daemon.resume import resume
from daemon.selftest_memory import SelftestMemory
from daemon.settings import CameraSetting, Settings
from daemon.store import Store
from daemon.switches import Switched, Switches
from daemon.throttling import Throttling
from daemon.trial_questions import trial_answers
from daemon.watches import configured, trouble_of, watch_of
from daemon.workers import Workers
from pipelines.capture import CaptureWorker
from pipelines.clock import Clock
from pipelines.ids import new_ulid
from pipelines.inference import InferenceWorker, Watch
from pipelines.model_slot import ModelSlot
from pipelines.requests import Outlook, Requests
from pipelines.sources import FrameSource
from pipelines.throttle import Limits
from pipelines.types import VideoModel
from pipelines.windows import WindowScheduler
from pipelines.writing import Writings

Reload = Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class App:
    """The joined parts. `daemon.running` runs them; tests and the demo look at them."""

    ground: Ground
    scheduler: WindowScheduler
    inference: InferenceWorker
    requests: Requests
    reporter: Reporter
    lookout: Lookout | None
    switches: Switches
    writings: Writings
    digests: DigestDesk | None
    desk: Desk | None
    home: HomeAssistant | None
    throttling: Throttling | None = None

    @property
    def config(self) -> Config:
        """What it was made of."""
        return self.ground.config

    @property
    def clock(self) -> Clock:
        """What all go by."""
        return self.ground.edges.clock

    @property
    def workers(self) -> Workers:
        """The threads."""
        return self.ground.edges.workers

    @property
    def sources(self) -> dict[str, FrameSource]:
        """By camera."""
        return {name: parts.source for name, parts in self.ground.cameras.items()}

    @property
    def captures(self) -> dict[str, CaptureWorker]:
        """By camera."""
        return {name: parts.capture for name, parts in self.ground.cameras.items()}

    @property
    def publisher(self) -> Publisher | None:
        """The link to the broker."""
        return self.ground.publisher

    @property
    def event_log(self) -> EventLog | None:
        """The file of events."""
        return self.ground.event_log

    @property
    def store(self) -> Store | None:
        """What is remembered."""
        return self.ground.edges.store

    @property
    def control(self) -> ControlServer | None:
        """The socket of commands."""
        return self.ground.edges.control

    @property
    def media(self) -> MediaWriter | None:
        """The writer of snapshots and clips."""
        return self.ground.media

    @property
    def front(self) -> Front:
        """Figures and HTTP."""
        return self.ground.edges.front

    @property
    def loader(self) -> ModelLoader | None:
        """Whoever loads the model."""
        return self.ground.edges.loader


def build_app(
    config: Config,
    model: VideoModel | ModelLoader,
    mqtt: MqttOptions | None,
    clock: Clock,
    store: Store | None = None,
    control: Path | None = None,
    *,
    reload: Reload | None = None,
    http: HttpConfig | None = None,
) -> App:
    """Join the parts that `config` asks for; nothing runs yet.

    `model`: one that is there, or whoever loads it meanwhile. `mqtt` is where the broker is; where
    it, `store` or the socket `control` is None, there is none.
    `reload` reads the configuration again when that is asked for, and tells what came of it; it
    raises `SmolwatchError` where it cannot. `http`: where to answer over HTTP.
    Raises `SmolwatchError` for a source address that nothing reads.
    """
    loader = model if isinstance(model, ModelLoader) else None
    slot = model.slot if isinstance(model, ModelLoader) else ModelSlot.holding(model)
    server = ControlServer(control, {}) if control is not None else None
    around = Edges(clock, slot, loader, store, server, Front(http, clock))
    return join(lay_ground(config, around, mqtt), reload)


def join(ground: Ground, reload: Reload | None = None, before: App | None = None) -> App:
    """Join parts on what is there; those of `before` run no more, and are gone on from."""
    config, clock, store = ground.config, ground.edges.clock, ground.edges.store
    slot, topics, outbox = ground.edges.slot, ground.topics, ground.outbox
    cameras, recordings = ground.cameras, ground.recordings
    plans = {name: camera.plan() for name, camera in config.cameras.items()}
    rings = {name: parts.ring for name, parts in cameras.items()}
    captures = {name: parts.capture for name, parts in cameras.items()}
    kept = Handover(before, ground) if before is not None else None
    settings = Settings(configured(config), store, before.switches.settings if before else None)
    scheduler = WindowScheduler(
        {name: (plans[name], rings[name]) for name in cameras}, clock.monotonic_s()
    )
    if before is not None:
        scheduler.take_over(before.scheduler)
    watches = {
        name: watch_of(config, name, settings.of(name), parts.zones)
        for name, parts in cameras.items()
    }
    if ground.media is not None:
        ground.media.rewire(ground.sink, recordings, ground.wishes)
    requests = Requests(
        {
            name: Outlook(
                rings[name], plans[name], trouble_of(captures[name], scheduler, name, slot)
            )
            for name in cameras
        },
        clock,
    )
    writings = Writings(clock)
    inference = InferenceWorker(
        slot, scheduler, watches, ground.media or ground.sink, clock, new_ulid,
        requests=requests, writings=writings, away=lambda: slot.away,
    )  # fmt: skip
    _go_on(ground, kept, watches, inference)
    rules = {name: {rule.name: rule for rule in config.rules_for(name)} for name in cameras}
    armed = {name: settings.of(name).rules for name in cameras}
    selftests = SelftestMemory(store, rules, lambda: slot.model_id, clock, armed)
    switches = Switches(
        settings,
        Switched(captures, scheduler, inference, rules),
        clock,
        _state_teller(outbox, topics, selftests),
    )
    switches.restore()
    digests = digest_desk(config, slot, writings, store, outbox, clock)
    lookout = Lookout(store, captures, scheduler, clock, slot) if store is not None else None
    throttling = _throttling(ground, scheduler)
    watched = Watched(captures, rings, scheduler, inference, slot, ground.media, throttling)
    reporter = Reporter(topics, outbox, ground.publisher, watched, clock)
    if kept is not None:
        reporter.take_over(kept.before.reporter, kept.cameras)
    photographer = Photographer(topics, captures, rings, recordings, outbox)
    facts = _facts(ground, reporter)
    services = Services(switches, requests, facts, photographer.snapshot, answer_content, reload)
    seen = {name: (plans[name], parts.ring, parts.zones) for name, parts in cameras.items()}
    told: dict[str, Answer] = {
        **answers(store, rules, selftests.failed),
        **trial_answers(store, seen, selftests),
        **letter_answers(outbox),
        "log-level": level_answer,
        **answers_of(digests),
        **highlight_answers(store, keeping(config)),
        **reload_answers(reload),
        "ask": asking(requests, list(cameras), recordings),
        **ground.edges.front.answers,
    }
    if outbox is not None:
        outbox.withdraw(known_topics(config, topics))
        known = kept.rules if kept is not None else {}
        outbox.put_all(first_messages(config, topics, slot, watches, settings, clock, known=known))
    desk, home = _desk(ground, settings, services), _home_assistant(ground, before)
    if ground.publisher is not None:
        news = home.change(inventory(config)) if home is not None and before is not None else ()
        ground.publisher.rewire(home, desk, news)
    if ground.edges.control is not None:
        ground.edges.control.answers = told
    folder = config.media.dir if config.media else None
    shown = Sources(watched, settings, requests, ground.publisher, store, ground.event_log, folder)
    ground.edges.front.show(shown, told)
    return App(
        ground, scheduler, inference, requests, reporter, lookout, switches, writings, digests,
        desk, home, throttling,
    )  # fmt: skip


def _go_on(
    ground: Ground, kept: Handover | None, watches: Mapping[str, Watch], inference: InferenceWorker
) -> None:
    """Rules go on from the parts before, or from what an earlier run has stored."""
    books = {name: watch.book for name, watch in watches.items()}
    store = ground.edges.store
    if kept is not None:
        kept.books(books)
        inference.take_over(kept.before.inference, kept.cameras)
    elif store is not None:
        resume(store, books, inference, ground.edges.clock)


def _throttling(ground: Ground, scheduler: WindowScheduler) -> Throttling | None:
    """Who keeps to the limits, if there are any."""
    config, clock, store = ground.config, ground.edges.clock, ground.edges.store
    scheduler.lengthen(1)  # before a reload there may have been others
    limits = config.throttle.limits()
    if limits == Limits():
        return None
    strides_s = {name: camera.plan().stride_s for name, camera in config.cameras.items()}
    return Throttling(limits, scheduler, strides_s, clock, store)


def _facts(ground: Ground, reporter: Reporter) -> dict[str, Callable[[], dict[str, Any]]]:
    """What is published anyway, for whoever asks."""
    config, topics, slot = ground.config, ground.topics, ground.edges.slot
    return contents(
        {
            "health": reporter.bridge_health,
            "info": lambda: bridge_info(config, topics, slot),
            "cameras": lambda: payloads.bridge_cameras(topics, inventory(config)),
        }
    )


def _desk(ground: Ground, settings: Settings, services: Services) -> Desk | None:
    """Where requests are taken, if the configuration has them taken."""
    said = ground.config.mqtt
    if ground.replies is None or said is None or said.commands == "off":
        return None
    clock = ground.edges.clock
    return Desk(reader(said, ground.topics, settings), services, ground.replies, clock)


def _state_teller(
    outbox: Outbox | None, topics: Topics, selftests: SelftestMemory
) -> Callable[[str, CameraSetting], None]:
    """Who is to know of a camera's new settings."""

    def told(camera: str, setting: CameraSetting) -> None:
        selftests.armed(camera, setting.rules)
        if outbox is not None:
            outbox.put(camera_state(topics, camera, setting))

    return told


def _home_assistant(ground: Ground, before: App | None) -> HomeAssistant | None:
    """Who announces over this link: the same for as long as the link is the same."""
    said = ground.config.mqtt
    if said is None or not said.discovery:
        return None
    if before is not None and before.publisher is ground.publisher:
        return before.home
    site = Site(ground.topics, said.discovery_prefix, __version__, said.commands)
    return HomeAssistant(site, inventory(ground.config))
