"""How does the daemon begin, and how is it told to end?

Knows signals, systemd and the order of things; `daemon.app` joins the parts.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from daemon import logs
from daemon.app import App, build_app
from daemon.config import Config, load_config
from daemon.config_sections import ModelConfig
from daemon.control import server_path
from daemon.disk_reserve import DiskReserve
from daemon.model_loader import ModelLoader, Progress, Wish
from daemon.mqtt.embedded import EmbeddedBroker
from daemon.mqtt.options import MqttOptions
from daemon.reloading import Outside, Reloads
from daemon.running import Running
from daemon.store import Limits, Store
from daemon.store_file import DiskUnusable
from daemon.systemd import Notifier, Watchdog, watchdog_interval_s
from pipelines.clock import Clock, SystemClock
from pipelines.smolvlm2.identity import identify
from pipelines.threads import default_threads
from pipelines.types import VideoModel

if TYPE_CHECKING:
    from pipelines.smolvlm2.model import SmolVLM2

_MEMORY_BYTES = 32_000_000  # of a store that has no disk


def serve(config: Config, env: Mapping[str, str], host_name: str, path: Path) -> int:
    """Run until a signal or a failure, and return the exit code; the model is loaded meanwhile.

    `path` is the configuration's, to be read again when that is asked for.

    Raises `SmolwatchError` where it cannot begin.
    """
    notifier = Notifier()
    notifier.status(f"starting, with model {config.model.name}")
    with contextlib.ExitStack() as stack:
        mqtt = mqtt_options(config, host_name, stack)
        clock = SystemClock()
        store = open_store(config, env, clock)
        if store is None and mqtt is not None:
            structlog.get_logger(__name__).warning(
                "outbox.in_memory",
                hint="alerts that wait for the broker do not survive a crash: name a file in "
                "store.path",
            )
        control = server_path(config.control.path, env)
        if control is None:
            structlog.get_logger(__name__).info(
                "control.none", hint="name a socket in control.path, and commands can ask"
            )
        reloads = Reloads(_outside(path, env, host_name))
        loader = ModelLoader(wish_of(config), clock)
        app = build_app(
            config, loader, mqtt, clock, store, control, reload=reloads.ask, http=config.http
        )
        _obey_signals(app, reloads)
        watchdog = Watchdog(notifier, watchdog_interval_s(env, os.getpid()))
        return Running(app, reloads).run(watchdog, notifier)


def _outside(path: Path, env: Mapping[str, str], host_name: str) -> Outside:
    """What a reload wants to know."""

    def link(config: Config, before: MqttOptions | None) -> MqttOptions | None:
        if config.mqtt is None:
            return None
        options = config.mqtt.options(host_name)
        if config.mqtt.embedded and before is not None:  # that broker runs on
            return replace(options, port=before.port, protocol=before.protocol)
        return options

    def taken_up(config: Config) -> None:
        logs.setup(
            level=config.log.level, levels=config.log.levels, secrets=config.secret_values,
            json_lines=config.log.json_lines,
        )  # fmt: skip

    return Outside(lambda: load_config(path, env), link, wish_of, taken_up)


def open_store(config: Config, env: Mapping[str, str], clock: Clock) -> Store | None:
    """The store that the configuration names, or the service's own. Raises `StoreError`."""
    if config.store is None:
        return None
    path = config.store.path
    if path is None:
        folder = env.get("STATE_DIRECTORY", "").partition(":")[0]
        if not folder:
            structlog.get_logger(__name__).info(
                "store.none", hint="name a file in store.path, and `smolwatch why` has answers"
            )
            return None
        path = Path(folder) / "smolwatch.db"
    max_age_s = config.store.max_age_days * 86_400.0
    limits = Limits(max_age_s, config.store.max_bytes)
    try:
        return Store(path, limits, clock, DiskReserve(path.with_name(f"{path.name}.reserve")))
    except DiskUnusable as error:
        return _in_memory(error, Limits(max_age_s, _MEMORY_BYTES), env, clock)


def _in_memory(
    error: DiskUnusable, limits: Limits, env: Mapping[str, str], clock: Clock
) -> Store | None:
    """A store in the run directory, which is memory: a broken disk is no reason to watch nothing.

    Raises `error` where there is no such directory.
    """
    folder = env.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if not folder:
        raise error
    structlog.get_logger(__name__).error(
        "store.in_memory", error=str(error), hint="cameras are watched and alerts go out; what is "
        "remembered is gone with the next restart. Mend the disk, then restart smolwatch",
    )  # fmt: skip
    instead = "the disk cannot be written: what is remembered is gone with a restart"
    return Store(Path(folder) / "smolwatch.db", limits, clock, instead_of=instead)


def wish_of(config: Config) -> Wish:
    """The model that the configuration names, as something that can be loaded, and again."""
    model_id, frame_edge_px = identify(config.model.name)

    def load(progress: Progress) -> VideoModel:
        return load_model(config, progress)

    return Wish(config.model.name, model_id, frame_edge_px, load)


def load_model(config: Config, progress: Progress | None = None) -> VideoModel:
    """The model that the configuration names, with its reference pictures. Raises `ModelError`.

    `progress` is told how far a download is; without one, a terminal shows it.
    """
    model = run_model(config.model, progress)
    model.learn(config.examples)
    return model


def run_model(wanted: ModelConfig, progress: Progress | None = None) -> SmolVLM2:
    """A model, run as the configuration says. Raises `ModelError`."""
    from pipelines.smolvlm2.loading import from_name  # noqa: PLC0415 - PyTorch takes seconds

    model = from_name(
        wanted.name,
        engine=wanted.engine,
        precision=wanted.precision,
        device=wanted.device,
        calibration=wanted.calibration,
        num_threads=wanted.threads or default_threads(),
        max_description_tokens=wanted.max_new_tokens,
        reuse_below=wanted.reuse_unchanged,
        progress=progress,
    )
    if (running := model.running) is not None:
        structlog.get_logger(__name__).info("model.runs", **running._asdict())
    return model


def mqtt_options(config: Config, host_name: str, stack: contextlib.ExitStack) -> MqttOptions | None:
    """Where the broker is; an embedded one is started and put on `stack`. None for no broker."""
    if config.mqtt is None:
        return None
    options = config.mqtt.options(host_name)
    if not config.mqtt.embedded:
        return options
    broker = stack.enter_context(EmbeddedBroker(options.port))
    structlog.get_logger(__name__).info("mqtt.embedded", port=broker.port)
    return replace(options, port=broker.port, protocol="3.1.1")


def _obey_signals(app: App, reloads: Reloads) -> None:
    signal.signal(signal.SIGHUP, lambda *_: reloads.request())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: app.workers.ended.set())
