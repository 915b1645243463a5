"""What is looked at, and in which order?

Knows the configuration and all checks; no terminal. Without a configuration it is the machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from daemon import doctor_machine as machine
from daemon import doctor_service as service
from daemon.config import Config
from daemon.control import client_path
from daemon.doctor_cameras import check_cameras
from daemon.doctor_files import check_files
from daemon.doctor_machine import Place
from daemon.doctor_model import check_model
from daemon.findings import Finding
from daemon.mqtt.check import Wanted, check_broker
from daemon.service import load_model
from pipelines.clock import Clock
from pipelines.window_plan import WindowPlan
from pipelines.zones import plain_question

STATE: Final = Path("/var/lib/smolwatch")
_MOUNTS: Final = Path("/proc/mounts")


def examine(
    config: Config | None, env: Mapping[str, str], clock: Clock, host_name: str
) -> Iterator[Finding]:
    """Everything, quickest first; each finding as soon as it is there."""
    yield from machine.versions()
    yield from machine.processor()
    yield from machine.gpus()
    yield from machine.devices()
    yield machine.clock(clock.wall_time(), machine.clock_state())
    mounts = _MOUNTS.read_text(encoding="utf-8", errors="replace")
    for place in places(config, env):
        yield from machine.disk(place, mounts)
    yield from service.unit()
    daemon = service.talking(client_path(config.control.path if config else None, env))
    yield daemon
    if config is None:
        return
    yield from _broker(config, clock, host_name)
    sources = {name: camera.source for name, camera in config.cameras.items() if camera.enabled}
    yield from check_cameras(sources, clock)
    files = list(check_files(config.model.name))
    yield from files
    if any(found.level == "fail" for found in files):
        return  # whatever it answered would mean nothing
    runs = daemon.level == "ok"
    plans = _plans(config)
    yield from check_model(config.model.name, lambda: load_model(config), plans, beside=runs)


def places(config: Config | None, env: Mapping[str, str]) -> list[Place]:
    """The folders that are written to, and how big what is there may become."""
    state = Path(env.get("STATE_DIRECTORY", "").partition(":")[0] or STATE)
    found = []
    if config is None:
        return [Place("store", state)] if state.exists() else []
    if config.store is not None and (config.store.path is not None or state.exists()):
        path = config.store.path or state / "smolwatch.db"
        found.append(Place("store", path.parent, config.store.max_bytes, _bytes_of(path)))
    if config.media is not None:
        folder = config.media.dir
        used = sum(map(_bytes_of, folder.glob("*"))) if folder.is_dir() else 0
        found.append(Place("media", folder, config.media.max_bytes, used))
    if config.log.events is not None:
        found.append(Place("log", config.log.events.parent))
    return found


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _broker(config: Config, clock: Clock, host_name: str) -> Iterator[Finding]:
    said = config.mqtt
    if said is None:
        yield Finding("ok", "broker", "none in the configuration: events are only logged")
    elif said.embedded:
        yield Finding("ok", "broker", "smolwatch runs it itself, for this machine alone")
    else:
        wanted = Wanted(said.commands, said.discovery_prefix if said.discovery else None)
        yield from check_broker(said.options(host_name), wanted, clock)


def _plans(config: Config) -> dict[str, tuple[WindowPlan, tuple[str, ...]]]:
    return {
        name: (
            camera.plan(),
            tuple(plain_question(q) for rule in config.rules_for(name) for q in rule.questions),
        )
        for name, camera in config.cameras.items()
        if camera.enabled
    }
