"""How is each camera set at the moment, and what of it outlives a restart?

Knows the configuration's values and the changes to them; no camera, no rule and no topic. A change
made at run time holds, restarts included, until the value in the configuration is another than the
one it was made on: who edits the file wants the file's word, and who restarts does not.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog

from daemon.mqtt.records import RuleSetting
from daemon.store import Store

Value = bool | str | float

MIN_THRESHOLD: Final = 0.01  # at 0 a rule would be open for ever
PROMPT_CHARS: Final = 255  # Home Assistant's limit; any model's context has room for so many


@dataclass(frozen=True, slots=True)
class CameraSetting:
    """One camera's switches and numbers. `rules` are in the order of the configuration."""

    enabled: bool
    prompt: str
    rules: Mapping[str, RuleSetting]

    def flat(self) -> dict[str, Value]:
        """Each value by its key, as it is kept."""
        found: dict[str, Value] = {"enabled": self.enabled, "prompt": self.prompt}
        for name, rule in self.rules.items():
            found[f"rule/{name}/armed"] = rule.armed
            found[f"rule/{name}/threshold"] = rule.threshold
        return found


class Settings:
    """The settings of all cameras: those of the configuration, and the changes to them.

    Any thread may call; nothing raises but `KeyError` for a camera that there is not. Without a
    store changes last until the end of the process.
    """

    def __init__(
        self,
        configured: Mapping[str, CameraSetting],
        store: Store | None,
        before: Settings | None = None,
    ) -> None:
        """`before`: those of an earlier configuration, whose changes go on without a store, too."""
        self._kept: dict[str, str] = before.kept if before is not None else {}
        self._configured = {name: camera.flat() for name, camera in configured.items()}
        self._rules = {name: tuple(camera.rules) for name, camera in configured.items()}
        self._store = store
        self._lock = threading.Lock()
        self._changes = {name: self._recalled(name) for name in configured}

    @property
    def kept(self) -> dict[str, str]:
        """The changes, by camera, as they are stored."""
        return dict(self._kept)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Their names, in the order of the configuration."""
        return tuple(self._configured)

    def rules(self, camera: str) -> tuple[str, ...]:
        """The names of the rules that are judged on a camera."""
        return self._rules[camera]

    def of(self, camera: str) -> CameraSetting:
        """How a camera is set now."""
        with self._lock:
            now: dict[str, Any] = self._configured[camera] | self._changes[camera]
        rules = {
            name: RuleSetting(
                armed=now[f"rule/{name}/armed"], threshold=now[f"rule/{name}/threshold"]
            )
            for name in self._rules[camera]
        }
        return CameraSetting(enabled=now["enabled"], prompt=now["prompt"], rules=rules)

    def change(self, camera: str, wanted: Mapping[str, Value | None]) -> None:
        """Set values by their keys, see `CameraSetting.flat`; None puts back the configured one.

        What is wanted as it is configured is no change any more.
        """
        configured = self._configured[camera]
        with self._lock:
            changes = self._changes[camera]
            for key, value in wanted.items():
                if value is None or value == configured[key]:
                    changes.pop(key, None)
                else:
                    changes[key] = value
            self._keep(camera, changes)

    def _keep(self, camera: str, changes: Mapping[str, Value]) -> None:
        configured = self._configured[camera]
        kept = {key: {"to": to, "from": configured[key]} for key, to in changes.items()}
        self._kept[camera] = json.dumps(kept)
        if self._store is not None:
            self._store.remember(_key(camera), self._kept[camera])

    def _recalled(self, camera: str) -> dict[str, Value]:
        """The changes of earlier runs that still hold."""
        found = self._kept.get(camera)
        if found is None and self._store is not None:
            recalled = self._store.recall(_key(camera))
            found = recalled[0] if recalled is not None else None
        if found is None:
            return {}
        configured, held = self._configured[camera], {}
        for key, change in _parsed(found).items():
            match change:
                case {"from": before, "to": to} if key in configured and _fits(key, to):
                    if before == configured[key]:
                        held[key] = to
                    else:
                        structlog.get_logger(__name__).info(
                            "setting.superseded", camera=camera, key=key,
                            hint="the configuration has a new value, which holds now",
                        )  # fmt: skip
        self._keep(camera, held)  # what is superseded does not come back with the old file
        if held:
            structlog.get_logger(__name__).info("settings.restored", camera=camera, keys=[*held])
        return held


def _key(camera: str) -> str:
    return f"settings/{camera}"


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:  # another version's
        return {}
    return found if isinstance(found, dict) else {}


def _fits(key: str, value: object) -> bool:
    """Whether a value from the store is one that may be set."""
    if key == "prompt":
        return isinstance(value, str) and 0 < len(value) <= PROMPT_CHARS
    if key.endswith("/threshold"):
        return isinstance(value, float) and math.isfinite(value) and MIN_THRESHOLD <= value <= 1.0
    return isinstance(value, bool)
