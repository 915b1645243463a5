"""Which parts are there only if the configuration, or an earlier run, asks for them?

Knows what each is made of; `daemon.app` joins them with the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from daemon import __version__
from daemon.announce import bridge_info, camera_state, inventory
from daemon.desk import Desk, Services
from daemon.desk_services import contents, reader
from daemon.ground import Ground
from daemon.handover import Handover
from daemon.mqtt import payloads
from daemon.mqtt.discovery import Site
from daemon.mqtt.homeassistant import HomeAssistant
from daemon.mqtt.topics import Topics
from daemon.outbox import Outbox
from daemon.reporter import Reporter
from daemon.resume import resume
from daemon.selftest_memory import SelftestMemory
from daemon.settings import CameraSetting, Settings
from daemon.throttling import Throttling
from pipelines.inference import InferenceWorker, Watch
from pipelines.throttle import Limits
from pipelines.windows import WindowScheduler


def go_on(
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


def throttling_of(ground: Ground, scheduler: WindowScheduler) -> Throttling | None:
    """Who keeps to the limits, if there are any."""
    config, clock, store = ground.config, ground.edges.clock, ground.edges.store
    scheduler.lengthen(1)  # before a reload there may have been others
    limits = config.throttle.limits()
    if limits == Limits():
        return None
    strides_s = {name: camera.plan().stride_s for name, camera in config.cameras.items()}
    return Throttling(limits, scheduler, strides_s, clock, store)


def facts_of(ground: Ground, reporter: Reporter) -> dict[str, Callable[[], dict[str, Any]]]:
    """What is published anyway, for whoever asks."""
    config, topics, slot = ground.config, ground.topics, ground.edges.slot
    return contents(
        {
            "health": reporter.bridge_health,
            "info": lambda: bridge_info(config, topics, slot),
            "cameras": lambda: payloads.bridge_cameras(topics, inventory(config)),
        }
    )


def desk_of(ground: Ground, settings: Settings, services: Services) -> Desk | None:
    """Where requests are taken, if the configuration has them taken."""
    said = ground.config.mqtt
    if ground.replies is None or said is None or said.commands == "off":
        return None
    clock = ground.edges.clock
    return Desk(reader(said, ground.topics, settings), services, ground.replies, clock)


def state_teller(
    outbox: Outbox | None, topics: Topics, selftests: SelftestMemory
) -> Callable[[str, CameraSetting], None]:
    """Who is to know of a camera's new settings."""

    def told(camera: str, setting: CameraSetting) -> None:
        selftests.armed(camera, setting.rules)
        if outbox is not None:
            outbox.put(camera_state(topics, camera, setting))

    return told


def home_assistant_of(ground: Ground, kept: Handover | None) -> HomeAssistant | None:
    """Who announces over this link: the same for as long as the link is the same."""
    said = ground.config.mqtt
    if said is None or not said.discovery:
        return None
    if kept is not None and kept.before.publisher is ground.publisher:
        return kept.before.home
    site = Site(ground.topics, said.discovery_prefix, __version__, said.commands)
    return HomeAssistant(site, inventory(ground.config))
