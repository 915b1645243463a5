"""Which switches, numbers, texts and buttons change a camera from Home Assistant?

Knows what `mqtt.commands` allows: nothing is shown that would be refused. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from daemon.mqtt.commands import Level
from daemon.mqtt.discovery_entities import Entities, title
from daemon.mqtt.discovery_schemas import Available, Component
from daemon.settings import MIN_THRESHOLD, PROMPT_CHARS

_TO_JSON = "| to_json }}"


def controls(
    made: Entities, rules: Sequence[str], commands: Level, here: Available
) -> dict[str, Component]:
    """A camera's controls. All but the button are there while smolwatch is, camera or not.

    A rule's name ends their keys: at the front, `door` armed could be a rule `door_armed`.
    """
    if commands == "off":
        return {}
    found: dict[str, Component] = {"enabled": {**_enabled(made), "availability": [here]}}
    for rule in rules:
        found[f"armed_{rule}"] = {**_armed(made, rule), "availability": [here]}
    if commands == "arm":
        return found
    found["prompt"] = {**_prompt(made), "availability": [here]}
    found["describe"] = _describe(made)
    for rule in rules:
        found[f"threshold_{rule}"] = {**_threshold(made, rule), "availability": [here]}
    return found


def _enabled(made: Entities) -> Component:
    return {
        **made.entity("switch", "enabled", "Enabled"),
        "icon": "mdi:cctv",
        "entity_category": "config",
        "state_topic": made.topics.camera(made.name, "state"),
        "value_template": "{{ 'ON' if value_json.enabled else 'OFF' }}",
        "command_topic": made.topics.camera(made.name, "set"),
        "payload_on": '{"enabled":true}',
        "payload_off": '{"enabled":false}',
        "state_on": "ON",
        "state_off": "OFF",
    }


def _armed(made: Entities, rule: str) -> Component:
    return {
        **made.entity("switch", f"armed_{rule}", f"{title(rule)} armed"),
        "icon": "mdi:shield-check-outline",
        "entity_category": "config",
        "state_topic": made.topics.camera(made.name, "state"),
        # In brackets: a name may begin with a digit.
        "value_template": f"{{{{ 'ON' if value_json.rules['{rule}'].armed else 'OFF' }}}}",
        "command_topic": f"{made.topics.rule(made.name, rule)}/set",
        "payload_on": '{"armed":true}',
        "payload_off": '{"armed":false}',
        "state_on": "ON",
        "state_off": "OFF",
    }


def _threshold(made: Entities, rule: str) -> Component:
    return {
        **made.entity("number", f"threshold_{rule}", f"{title(rule)} threshold"),
        "icon": "mdi:tune-vertical",
        "entity_category": "config",
        "min": MIN_THRESHOLD,
        "max": 1,
        "step": 0.01,
        "mode": "slider",
        "state_topic": made.topics.camera(made.name, "state"),
        "value_template": f"{{{{ value_json.rules['{rule}'].threshold }}}}",
        "command_topic": f"{made.topics.rule(made.name, rule)}/set",
        "command_template": f"{{{{ {{'threshold': value}} {_TO_JSON}",
    }


def _prompt(made: Entities) -> Component:
    return {
        **made.entity("text", "prompt", "Prompt"),
        "icon": "mdi:comment-question-outline",
        "entity_category": "config",
        "min": 1,
        "max": PROMPT_CHARS,
        "mode": "text",
        "state_topic": made.topics.camera(made.name, "state"),
        # A longer one, from the configuration, would make the state unknown.
        "value_template": f"{{{{ value_json.prompt[:{PROMPT_CHARS}] }}}}",
        "command_topic": made.topics.camera(made.name, "set"),
        "command_template": f"{{{{ {{'prompt': value}} {_TO_JSON}",
    }


def _describe(made: Entities) -> Component:
    return {
        **made.entity("button", "describe", "Describe now"),
        "icon": "mdi:message-image",
        "command_topic": made.topics.camera(made.name, "describe"),
        "payload_press": "{}",
    }
