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

import structlog

from daemon.app import App, build_app
from daemon.config import Config
from daemon.control import server_path
from daemon.disk_reserve import DiskReserve
from daemon.mqtt.embedded import EmbeddedBroker
from daemon.mqtt.options import MqttOptions
from daemon.store import Limits, Store
from daemon.systemd import Notifier, Watchdog, watchdog_interval_s
from pipelines.clock import Clock, SystemClock
from pipelines.smolvlm2.loading import from_name
from pipelines.types import VideoModel


def serve(config: Config, env: Mapping[str, str], host_name: str) -> int:
    """Load the model, run until a signal or a failure, and return the exit code.

    Raises `SmolwatchError` where it cannot begin.
    """
    notifier = Notifier()
    notifier.status(f"loading model {config.model.name}")
    model = load_model(config)
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
        app = build_app(config, model, mqtt, clock, store, control)
        _end_on_signals(app)
        watchdog = Watchdog(notifier, watchdog_interval_s(env, os.getpid()))
        return app.run(watchdog, notifier)


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
    limits = Limits(config.store.max_age_days * 86_400.0, config.store.max_bytes)
    return Store(path, limits, clock, DiskReserve(path.with_name(f"{path.name}.reserve")))


def load_model(config: Config) -> VideoModel:
    """The model that the configuration names. Raises `ModelError`."""
    wanted = config.model
    model = from_name(
        wanted.name,
        precision=wanted.precision,
        num_threads=wanted.threads,
        max_description_tokens=wanted.max_new_tokens,
    )
    model.learn(config.examples)
    structlog.get_logger(__name__).info("model.ready", model=model.model_id)
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


def _end_on_signals(app: App) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: app.workers.ended.set())
