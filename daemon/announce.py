"""What is told before anything has been seen?

Knows the configuration, the settings and what was remembered; no thread and no frame.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from daemon import __version__
from daemon.config import Config
from daemon.mqtt import payloads
from daemon.mqtt.records import CameraEntry, RuleStatus
from daemon.mqtt.topics import RESERVED_SLUG, Topics
from daemon.settings import CameraSetting, Settings
from pipelines.clock import Clock
from pipelines.inference import Watch
from pipelines.model_slot import ModelSlot


def first_messages(
    config: Config,
    topics: Topics,
    model: ModelSlot,
    watches: Mapping[str, Watch],
    settings: Settings,
    clock: Clock,
    *,
    known: Mapping[str, Collection[str]],
) -> list[payloads.Message]:
    """What is known at the start. Rules are OFF, whatever an earlier run left retained.

    All but those whose incidents go on, see `daemon.resume`. `known`: cameras and their rules that
    go on as they were after a reload, of which everything is told already.
    """
    messages = [
        bridge_info(config, topics, model),
        payloads.bridge_cameras(topics, inventory(config)),
    ]
    now = clock.wall_time()
    for name in config.cameras:
        messages.append(camera_state(topics, name, settings.of(name)))
        if name not in known:
            messages.append(payloads.availability(topics, name, online=False))
        found = watches[name].book.open_incidents
        for rule in config.rules_for(name):
            if rule.name in known.get(name, ()):
                continue
            incident = found.get(rule.name)
            status = RuleStatus(
                on=incident is not None,
                incident_id=incident.incident_id if incident else None,
                since=now - (clock.monotonic_s() - incident.since_s) if incident else now,
                score=None,
            )
            messages.append(payloads.rule_state(topics, name, rule.name, status))
    return messages


def bridge_info(config: Config, topics: Topics, model: ModelSlot) -> payloads.Message:
    """`B/bridge/info`, of a configuration that shows no secrets."""
    said = config.model_dump(mode="json")
    return payloads.bridge_info(
        topics, version=__version__, model_id=model.model_id, configuration=said
    )


def camera_state(topics: Topics, camera: str, setting: CameraSetting) -> payloads.Message:
    """`B/CAMERA/state`, as the camera is set."""
    return payloads.camera_state(
        topics, camera, enabled=setting.enabled, prompt=setting.prompt, rules=setting.rules
    )


def inventory(config: Config) -> list[CameraEntry]:
    """The cameras, in the order of the configuration."""
    return [
        CameraEntry(
            name,
            str(camera.source),
            tuple(rule.name for rule in config.rules_for(name)),
            snapshots=any(rule.snapshot and name in rule.cameras for rule in config.rules.values()),
            digests=config.digest is not None and name in config.digest.cameras,
        )
        for name, camera in config.cameras.items()
    ]


def known_topics(config: Config, topics: Topics) -> Callable[[str], bool]:
    """Whether a topic is one that this configuration tells on."""
    rules = {name: {rule.name for rule in config.rules_for(name)} for name in config.cameras}
    digests = config.digest.cameras if config.digest is not None else ()

    def is_known(topic: str) -> bool:
        name, _, below = topic.removeprefix(f"{topics.base}/").partition("/")
        if name == RESERVED_SLUG:
            return True
        kind, _, rule = below.partition("/")
        if kind == "digest":
            return name in digests
        return name in rules and (kind != "rule" or rule in rules[name])

    return is_known
