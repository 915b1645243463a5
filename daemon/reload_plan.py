"""What does a changed configuration change?

Knows two configurations and compares them; touches nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from daemon.config import Config
from daemon.media_wishes import seconds_kept, wishes_of


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, by names.

    `config`: the new configuration, with the earlier values of what `needs_restart`.
    """

    config: Config
    changed: bool
    added: tuple[str, ...]  # cameras
    removed: tuple[str, ...]
    restarted: tuple[str, ...]  # they are connected to anew
    rules: Mapping[str, tuple[str, ...]]  # by camera: begun, changed or gone
    model: bool  # it is loaded anew
    link: bool  # the broker is connected to anew
    needs_restart: tuple[str, ...]  # keys that hold from the next start on

    def as_json(self) -> dict[str, Any]:
        """As it is told to who asked."""
        return {
            "changed": self.changed,
            "cameras": {
                "added": list(self.added),
                "removed": list(self.removed),
                "restarted": list(self.restarted),
            },
            "rules": {camera: list(names) for camera, names in self.rules.items()},
            "model": self.model,
            "link": self.link,
            "needs_restart": list(self.needs_restart),
        }


def plan_of(old: Config, new: Config) -> Plan:
    """Compare them."""
    needs_restart = _fixed(old, new)
    fixed: dict[str, Any] = {"store": old.store, "control": old.control, "http": old.http}
    if "mqtt.broker" in needs_restart:
        fixed["mqtt"] = old.mqtt
    new = new.model_copy(update=fixed)
    both = [name for name in new.cameras if name in old.cameras]
    restarted = [n for n in both if capture_facts(old, n) != capture_facts(new, n)]
    rules = {name: _changed_rules(old, new, name) for name in both if name not in restarted}
    return Plan(
        config=new,
        changed=new != old,
        added=tuple(name for name in new.cameras if name not in old.cameras),
        removed=tuple(name for name in old.cameras if name not in new.cameras),
        restarted=tuple(restarted),
        rules={name: changed for name, changed in rules.items() if changed},
        model=old.model != new.model or old.examples != new.examples,
        link=old.mqtt != new.mqtt,
        needs_restart=needs_restart,
    )


def capture_facts(config: Config, name: str) -> tuple[object, ...]:
    """All that decides how a camera's frames are read and kept; the same: it reads on."""
    camera, plan = config.cameras[name], config.cameras[name].plan()
    return (
        camera.source.secret,
        camera.decode,
        camera.mask,
        camera.window.interval_s,
        plan.ring_capacity,
        plan.zone_capacity,
        config.zones_for(name),
        seconds_kept(wishes_of(config)).get(name),
    )


def unchanged_rules(old: Config, new: Config, camera: str) -> frozenset[str]:
    """The rules of a camera that are judged as before."""
    before = {rule.name: rule for rule in old.rules_for(camera)}
    return frozenset(r.name for r in new.rules_for(camera) if before.get(r.name) == r)


def _changed_rules(old: Config, new: Config, camera: str) -> tuple[str, ...]:
    names = [rule.name for config in (old, new) for rule in config.rules_for(camera)]
    same = unchanged_rules(old, new, camera)
    return tuple(name for name in dict.fromkeys(names) if name not in same)


def _fixed(old: Config, new: Config) -> tuple[str, ...]:
    """Keys that cannot change while smolwatch runs."""
    broker = [config.mqtt is not None and config.mqtt.embedded for config in (old, new)]
    moved = old.mqtt is not None and new.mqtt is not None and old.mqtt.port != new.mqtt.port
    found = {
        "store": old.store != new.store,
        "control": old.control != new.control,
        "http": old.http != new.http,
        "mqtt.broker": any(broker) and (not all(broker) or moved),
    }
    return tuple(key for key, changed in found.items() if changed)
