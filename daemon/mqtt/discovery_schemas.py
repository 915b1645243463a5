"""What is in a discovery message, key by key?

Knows no camera. The keys are Home Assistant's (https://www.home-assistant.io/integrations/mqtt/ and
the pages of sensor.mqtt, binary_sensor.mqtt and event.mqtt there); a test holds them against a list
with the page of each.
"""

from __future__ import annotations

from typing import Literal, Required

from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

Platform = Literal[
    "sensor", "binary_sensor", "event", "image", "switch", "number", "text", "button"
]


class Available(TypedDict):
    """Where Home Assistant reads whether something is there."""

    topic: str
    value_template: str


class Device(TypedDict, total=False):
    """A device as Home Assistant's registry shows it."""

    identifiers: Required[list[str]]
    name: Required[str]
    manufacturer: str
    model: str
    sw_version: str
    via_device: str


class Origin(TypedDict):
    """Who tells Home Assistant all this."""

    name: str
    sw_version: str


class Component(TypedDict, total=False):
    """One entity. With nothing but its platform it is removed."""

    platform: Required[Platform]
    unique_id: str
    default_entity_id: str
    name: str
    icon: str
    device_class: str
    entity_category: Literal["diagnostic", "config"]
    state_class: str
    unit_of_measurement: str
    suggested_display_precision: int
    expire_after: int
    state_topic: str
    value_template: str
    payload_on: str
    payload_off: str
    state_on: str
    state_off: str
    command_topic: str
    command_template: str
    payload_press: str
    min: float
    max: float
    step: float
    mode: Literal["slider", "text"]
    event_types: list[str]
    image_topic: str
    content_type: str
    json_attributes_topic: str
    json_attributes_template: str
    availability: list[Available]


class Discovery(TypedDict, total=False):
    """All that one device has. An unknown key makes Home Assistant refuse the whole message."""

    device: Required[Device]
    origin: Required[Origin]
    availability: list[Available]
    availability_mode: Literal["all"]
    qos: Literal[1]
    components: Required[dict[str, Component]]
