"""Which switches, numbers, texts and buttons change a camera from Home Assistant?

Knows what `mqtt.commands` allows: nothing is shown that would be refused. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from daemon.mqtt.commands import Level
from daemon.mqtt.discovery_entities import Entities, title
from daemon.mqtt.discovery_schemas import Available, Component, Platform
from daemon.settings import MIN_THRESHOLD, PROMPT_CHARS


def controls(
    made: Entities, rules: Sequence[str], commands: Level, here: Available
) -> dict[str, Component]:
    """A camera's controls. All but the button are there while smolwatch is, camera or not.

    A rule's name ends their keys: at the front, `door` armed could be a rule `door_armed`.
    """
    if commands == "off":
        return {}
    found = {"enabled": _enabled(made), **{f"armed_{rule}": _armed(made, rule) for rule in rules}}
    if commands == "full":
        found["prompt"] = _prompt(made)
        found |= {f"threshold_{rule}": _threshold(made, rule) for rule in rules}
    shown: dict[str, Component] = {
        key: {**control, "availability": [here]} for key, control in found.items()
    }
    if commands == "full":
        shown["describe"] = _describe(made)
    return shown


def _enabled(made: Entities) -> Component:
    setting = _setting(made, "switch", "enabled", "Enabled")
    return _switch({**setting, "icon": "mdi:cctv"}, "enabled", "value_json")


def _armed(made: Entities, rule: str) -> Component:
    setting = _setting(made, "switch", f"armed_{rule}", f"{title(rule)} armed", rule)
    return _switch({**setting, "icon": "mdi:shield-check-outline"}, "armed", _told(rule))


def _threshold(made: Entities, rule: str) -> Component:
    return {
        **_setting(made, "number", f"threshold_{rule}", f"{title(rule)} threshold", rule),
        "icon": "mdi:tune-vertical",
        "min": MIN_THRESHOLD,
        "max": 1,
        "step": 0.01,
        "mode": "slider",
        "value_template": f"{{{{ {_told(rule)}.threshold }}}}",
        "command_template": _request("threshold"),
    }


def _prompt(made: Entities) -> Component:
    return {
        **_setting(made, "text", "prompt", "Prompt"),
        "icon": "mdi:comment-question-outline",
        "min": 1,
        "max": PROMPT_CHARS,
        "mode": "text",
        # A longer one, from the configuration, would make the state unknown.
        "value_template": f"{{{{ value_json.prompt[:{PROMPT_CHARS}] }}}}",
        "command_template": _request("prompt"),
    }


def _describe(made: Entities) -> Component:
    return {
        **made.entity("button", "describe", "Describe now"),
        "icon": "mdi:message-image",
        "command_topic": made.topics.camera(made.name, "describe"),
        "payload_press": "{}",
    }


def _setting(
    made: Entities, platform: Platform, key: str, words: str, rule: str | None = None
) -> Component:
    """What is read from the camera's state, and changed where the camera or the rule listens."""
    camera = made.topics.camera
    return {
        **made.entity(platform, key, words),
        "entity_category": "config",
        "state_topic": camera(made.name, "state"),
        "command_topic": camera(made.name, "set" if rule is None else f"rule/{rule}/set"),
    }


def _switch(setting: Component, key: str, told: str) -> Component:
    """On while `key` of what is `told` is true, and a request with that key when it is pressed."""
    return {
        **setting,
        "value_template": f"{{{{ 'ON' if {told}.{key} else 'OFF' }}}}",
        "payload_on": f'{{"{key}":true}}',
        "payload_off": f'{{"{key}":false}}',
        "state_on": "ON",
        "state_off": "OFF",
    }


def _told(rule: str) -> str:
    """Where the camera's state tells of a rule. In brackets: a name may begin with a digit."""
    return f"value_json.rules['{rule}']"


def _request(key: str) -> str:
    return f"{{{{ {{'{key}': value}} | to_json }}}}"
