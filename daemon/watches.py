"""What is done with a camera's windows, as configured and as set since?

Knows the configuration and the settings; runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from daemon.config import Config
from daemon.mqtt.records import RuleSetting
from daemon.settings import CameraSetting
from pipelines.capture import CaptureWorker
from pipelines.ids import new_ulid
from pipelines.inference import Describing, Watch
from pipelines.model_slot import ModelSlot
from pipelines.ring import FrameRing
from pipelines.rules import RuleBook
from pipelines.smolvlm2.prompt import DESCRIBE_PROMPT
from pipelines.windows import WindowScheduler
from pipelines.zones import Zone


def configured(config: Config) -> dict[str, CameraSetting]:
    """What the configuration says of what may be changed while the daemon runs."""
    return {
        name: CameraSetting(
            enabled=camera.enabled,
            prompt=(camera.describe.prompt if camera.describe else None) or DESCRIBE_PROMPT,
            rules={
                rule.name: RuleSetting(armed=True, threshold=rule.open_above)
                for rule in config.rules_for(name)
            },
        )
        for name, camera in config.cameras.items()
    }


def watch_of(
    config: Config, name: str, setting: CameraSetting, zones: Mapping[Zone, FrameRing]
) -> Watch:
    """The camera's rules and descriptions."""
    describe = config.cameras[name].describe
    describing = Describing(describe.every_s, setting.prompt) if describe else None
    rules = [rule.opening_at(setting.rules[rule.name].threshold) for rule in config.rules_for(name)]
    return Watch(RuleBook(name, rules, new_ulid), describing, setting.prompt, zones)


def trouble_of(
    capture: CaptureWorker, scheduler: WindowScheduler, name: str, model: ModelSlot
) -> Callable[[], str | None]:
    """What tells why the camera cannot be asked about; None while it can."""

    def told() -> str | None:
        if not scheduler.is_enabled(name):
            return f"it is switched off, over MQTT or by cameras.{name}.enabled: switch it on first"
        return capture.health().message or model.away

    return told
