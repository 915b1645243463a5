"""How does a changed setting take effect in the running daemon?

Knows capture, scheduler, inference and rules; no topic and no command. Every change is written
down, carried out and told, in that order: what was answered with a yes outlives a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from daemon.settings import CameraSetting, Settings, Value
from pipelines.capture import CaptureWorker
from pipelines.clock import Clock
from pipelines.inference import InferenceWorker
from pipelines.rules import Rule
from pipelines.windows import WindowScheduler


@dataclass(frozen=True, slots=True)
class Switched:
    """The parts that settings are about."""

    captures: Mapping[str, CaptureWorker]
    scheduler: WindowScheduler
    inference: InferenceWorker
    rules: Mapping[str, Mapping[str, Rule]]  # by camera and name, as configured


class Switches:
    """Changes settings for good. `change` is for one thread at a time; `restore` goes before it.

    `tell` is given a camera's new settings; it may neither block nor raise.
    """

    def __init__(
        self,
        settings: Settings,
        parts: Switched,
        clock: Clock,
        tell: Callable[[str, CameraSetting], None],
    ) -> None:
        self.settings = settings
        self._parts = parts
        self._clock = clock
        self._tell = tell

    def restore(self) -> None:
        """Before anything runs: switch off what is off. Tells nobody.

        Rule books and watches were made with their thresholds and prompts (`daemon.app`).
        """
        for camera in self.settings.cameras:
            found = self.settings.of(camera)
            self._enable(camera, enabled=found.enabled)
            for rule, setting in found.rules.items():
                self._parts.inference.arm(camera, rule, armed=setting.armed)

    def change(self, camera: str, wanted: Mapping[str, Value | None]) -> CameraSetting:
        """Set values by their keys (`CameraSetting.flat`), None for the configured ones.

        Returns how the camera is set then. Raises `KeyError` for names that there are not.
        """
        before = self.settings.of(camera).flat()
        self.settings.change(camera, wanted)
        found = self.settings.of(camera)
        for key, value in found.flat().items():
            if value != before[key]:
                self._carry_out(camera, key, value)
        self._tell(camera, found)
        return found

    def _carry_out(self, camera: str, key: str, value: Value) -> None:
        parts = self._parts
        match key.split("/"):
            case ["enabled"]:
                self._enable(camera, enabled=bool(value))
            case ["prompt"]:
                parts.inference.reword(camera, str(value))
            case ["rule", rule, "armed"]:
                parts.inference.arm(camera, rule, armed=bool(value))
            case ["rule", rule, "threshold"]:
                tuned = parts.rules[camera][rule].opening_at(float(value))
                parts.inference.tune(camera, tuned)

    def _enable(self, camera: str, *, enabled: bool) -> None:
        self._parts.captures[camera].enable(enabled=enabled)
        self._parts.scheduler.enable(camera, self._clock.monotonic_s(), enabled=enabled)
        if not enabled:  # after the scheduler: no window can be judged any more
            self._parts.inference.camera_lost(camera, f"{camera} was switched off")
