"""Which parts make the daemon, and how are they joined?

Knows all parts and the work of none. `build_app` reads from top to bottom as frames flow; what it
joins them on is `daemon.ground`'s, and how they run is `daemon.running`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from daemon.announce import first_messages, inventory, known_topics
from daemon.app_parts import (
    desk_of,
    facts_of,
    go_on,
    home_assistant_of,
    state_teller,
    throttling_of,
)
from daemon.ask_back import answer_content, asking
from daemon.config import Config
from daemon.config_http import HttpConfig
from daemon.control import Answer, ControlServer
from daemon.desk import Desk, Services
from daemon.desk_services import Photographer
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
from daemon.mqtt.homeassistant import HomeAssistant
from daemon.mqtt.options import MqttOptions
from daemon.publisher import Publisher
from daemon.questions import answers
from daemon.reloading import reload_answers
from daemon.reporter import Reporter, Watched
from daemon.selftest_memory import SelftestMemory
from daemon.settings import Settings
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
from pipelines.rules import Rule
from pipelines.sources import FrameSource
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
    rings = {name: parts.ring for name, parts in cameras.items()}
    captures = {name: parts.capture for name, parts in cameras.items()}
    kept = Handover(before, ground) if before is not None else None
    settings = Settings(configured(config), store, before.switches.settings if before else None)
    looking = _looking(ground, settings, kept)
    scheduler, watches, requests, writings, inference = looking
    rules = {name: {rule.name: rule for rule in config.rules_for(name)} for name in cameras}
    armed = {name: settings.of(name).rules for name in cameras}
    selftests = SelftestMemory(store, rules, lambda: slot.model_id, clock, armed)
    switches = Switches(
        settings,
        Switched(captures, scheduler, inference, rules),
        clock,
        state_teller(outbox, topics, selftests),
    )
    switches.restore()
    digests = digest_desk(config, slot, writings, store, outbox, clock)
    lookout = Lookout(store, captures, scheduler, clock, slot) if store is not None else None
    throttling = throttling_of(ground, scheduler)
    watched = Watched(captures, rings, scheduler, inference, slot, ground.media, throttling)
    reporter = Reporter(topics, outbox, ground.publisher, watched, clock)
    if kept is not None:
        reporter.take_over(kept.before.reporter, kept.cameras)
    photographer = Photographer(topics, captures, rings, recordings, outbox)
    facts = facts_of(ground, reporter)
    services = Services(switches, requests, facts, photographer.snapshot, answer_content, reload)
    told = _answers(ground, reload, rules, requests, selftests, digests)
    if outbox is not None:
        outbox.withdraw(known_topics(config, topics))
        known = kept.rules if kept is not None else {}
        outbox.put_all(first_messages(config, topics, slot, watches, settings, clock, known=known))
    desk, home = desk_of(ground, settings, services), home_assistant_of(ground, kept)
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


class _Looking(NamedTuple):
    """What looks at windows, and decides which."""

    scheduler: WindowScheduler
    watches: dict[str, Watch]
    requests: Requests
    writings: Writings
    inference: InferenceWorker


def _looking(ground: Ground, settings: Settings, kept: Handover | None) -> _Looking:
    """From rings to rules; what rules remember goes on."""
    config, clock, slot = ground.config, ground.edges.clock, ground.edges.slot
    cameras = ground.cameras
    plans = {name: camera.plan() for name, camera in config.cameras.items()}
    rings = {name: parts.ring for name, parts in cameras.items()}
    captures = {name: parts.capture for name, parts in cameras.items()}
    scheduler = WindowScheduler(
        {name: (plans[name], rings[name]) for name in cameras}, clock.monotonic_s()
    )
    if kept is not None:
        scheduler.take_over(kept.before.scheduler)
    watches = {
        name: watch_of(config, name, settings.of(name), parts.zones)
        for name, parts in cameras.items()
    }
    if ground.media is not None:
        ground.media.rewire(ground.sink, ground.recordings, ground.wishes)
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
    go_on(ground, kept, watches, inference)
    return _Looking(scheduler, watches, requests, writings, inference)


def _answers(
    ground: Ground,
    reload: Reload | None,
    rules: Mapping[str, Mapping[str, Rule]],
    requests: Requests,
    selftests: SelftestMemory,
    digests: DigestDesk | None,
) -> dict[str, Answer]:
    """What the control socket, and HTTP, are asked: operation -> what answers."""
    config, store, cameras = ground.config, ground.edges.store, ground.cameras
    seen = {
        name: (config.cameras[name].plan(), parts.ring, parts.zones)
        for name, parts in cameras.items()
    }
    return {
        **answers(store, rules, selftests.failed),
        **trial_answers(store, seen, selftests),
        **letter_answers(ground.outbox),
        "log-level": level_answer,
        **answers_of(digests),
        **highlight_answers(store, keeping(config)),
        **reload_answers(reload),
        "ask": asking(requests, list(cameras), ground.recordings),
        **ground.edges.front.answers,
    }
