"""Would Home Assistant take what it is told, and is what is gone taken back?"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.sandbox import SandboxedEnvironment

from daemon.mqtt import payloads
from daemon.mqtt.discovery import Site, message, removal
from daemon.mqtt.discovery_entities import title
from daemon.mqtt.homeassistant import (
    AGAIN_S,
    LEARN_S,
    SETTLE_S,
    STATUS_TOPIC,
    UNSEEN_S,
    HomeAssistant,
)
from daemon.mqtt.link_events import Arrived
from daemon.mqtt.payloads import Message
from daemon.mqtt.reading import Command, Reader
from daemon.mqtt.records import CameraEntry, RuleSetting
from daemon.mqtt.topics import Topics

SITE = Site(Topics(), "homeassistant", "0.1.0")
ARM, FULL = (dataclasses.replace(SITE, commands=level) for level in ("arm", "full"))
PORCH = CameraEntry("porch", "scene://porch", ("package", "dog_out"), snapshots=True)
YARD = CameraEntry("yard", "scene://yard", ())
PORCH_TOPIC = "homeassistant/device/smolwatch_porch/config"
BRIDGE_TOPIC = "homeassistant/device/smolwatch_bridge/config"

# Every key that is used, and where Home Assistant says what it means.
MQTT = "https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload"
REGISTRY = "https://www.home-assistant.io/integrations/sensor.mqtt/#device"
ORIGIN = (
    "https://www.home-assistant.io/integrations/mqtt/"
    "#adding-information-about-the-origin-of-a-discovery-message"
)
AVAILABILITY = "https://www.home-assistant.io/integrations/mqtt/#using-availability-topics"
SENSOR = "https://www.home-assistant.io/integrations/sensor.mqtt/#configuration-variables"
BINARY = "https://www.home-assistant.io/integrations/binary_sensor.mqtt/#configuration-variables"
EVENT = "https://www.home-assistant.io/integrations/event.mqtt/#configuration-variables"
IMAGE = "https://www.home-assistant.io/integrations/image.mqtt/#configuration-variables"
SWITCH = "https://www.home-assistant.io/integrations/switch.mqtt/#configuration-variables"
NUMBER = "https://www.home-assistant.io/integrations/number.mqtt/#configuration-variables"
TEXT = "https://www.home-assistant.io/integrations/text.mqtt/#configuration-variables"
BUTTON = "https://www.home-assistant.io/integrations/button.mqtt/#configuration-variables"
TOP_KEYS = {
    "device": MQTT,
    "origin": MQTT,
    "components": MQTT,
    "availability": MQTT,
    "availability_mode": MQTT,
    "qos": MQTT,
}
DEVICE_KEYS = dict.fromkeys(
    ("identifiers", "name", "manufacturer", "model", "sw_version", "via_device"), REGISTRY
)
ORIGIN_KEYS = {"name": ORIGIN, "sw_version": ORIGIN}
AVAILABILITY_KEYS = {"topic": AVAILABILITY, "value_template": AVAILABILITY}
COMMON = ("platform", "unique_id", "default_entity_id", "name", "availability")
READ = ("state_topic", "value_template", "json_attributes_topic", "json_attributes_template")
STATED = ("icon", "entity_category", "device_class", "expire_after")
SET = ("icon", "entity_category", "state_topic", "value_template", "command_topic")
COMPONENT_KEYS = {
    "sensor": dict.fromkeys((*COMMON, *READ, *STATED, "state_class", "unit_of_measurement"), SENSOR)
    | {"suggested_display_precision": SENSOR},
    "binary_sensor": dict.fromkeys((*COMMON, *READ, *STATED, "payload_on", "payload_off"), BINARY),
    "event": dict.fromkeys((*COMMON, "state_topic", "event_types", "device_class"), EVENT),
    "image": dict.fromkeys((*COMMON, "image_topic", "content_type"), IMAGE),
    "switch": dict.fromkeys((*COMMON, *SET, "payload_on", "payload_off"), SWITCH)
    | {"state_on": SWITCH, "state_off": SWITCH},
    "number": dict.fromkeys((*COMMON, *SET, "command_template", "min", "max", "step"), NUMBER)
    | {"mode": NUMBER},
    "text": dict.fromkeys((*COMMON, *SET, "command_template", "min", "max", "mode"), TEXT),
    "button": dict.fromkeys((*COMMON, "icon", "command_topic", "payload_press"), BUTTON),
}


def devices(site: Site = SITE) -> dict[str, Any]:
    return {
        topic: json.loads(message(topic, device, {}).payload)
        for topic, device in site.devices([PORCH, YARD]).items()
    }


def entities() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for topic, device in devices(FULL).items():
        for key, component in device["components"].items():
            yield topic, key, component


# --- what is announced


def test_each_key_is_one_that_home_assistant_documents() -> None:
    used: dict[str, set[str]] = {platform: set() for platform in COMPONENT_KEYS}
    for device in devices(FULL).values():
        assert device.keys() <= TOP_KEYS.keys()
        assert device["device"].keys() <= DEVICE_KEYS.keys()
        assert device["origin"].keys() <= ORIGIN_KEYS.keys()
        for place in device.get("availability", []):
            assert place.keys() <= AVAILABILITY_KEYS.keys()
    for _, _, component in entities():
        used[component["platform"]] |= component.keys()
        for place in component.get("availability", []):
            assert place.keys() <= AVAILABILITY_KEYS.keys()
    for platform, keys in used.items():
        extra = keys - COMPONENT_KEYS[platform].keys()
        assert not extra, f"{platform}: no page says what {extra} mean"


def test_what_a_camera_and_the_bridge_have() -> None:
    found = devices()
    assert list(found) == [
        BRIDGE_TOPIC,
        PORCH_TOPIC,
        "homeassistant/device/smolwatch_yard/config",
    ]
    figures = {"fps": "sensor", "latency": "sensor", "drops": "sensor", "skipped": "sensor"}
    common = {
        "description": "sensor",
        "alert": "event",
        "problem": "binary_sensor",
        "blind": "sensor",
        **figures,
    }
    rules = {"rule_package": "binary_sensor", "rule_dog_out": "binary_sensor", "snapshot": "image"}
    platforms = [
        {key: component["platform"] for key, component in device["components"].items()}
        for device in found.values()
    ]
    assert platforms == [
        {
            "connection": "binary_sensor",
            "model_state": "sensor",
            "problem": "binary_sensor",
            "outbox_pending": "sensor",
            "dead_letters": "sensor",
            "windows_run": "sensor",
        },
        {**common, **rules},
        common,
    ]


def test_a_rule_and_the_description_read_their_topics() -> None:
    porch = devices()[PORCH_TOPIC]
    assert porch["components"]["rule_package"] == {
        "platform": "binary_sensor",
        "unique_id": "smolwatch_porch-rule_package",
        "default_entity_id": "binary_sensor.porch_package",
        "name": "Package",
        "device_class": "occupancy",
        "state_topic": "smolwatch/porch/rule/package",
        "value_template": "{{ value_json.state }}",
        "payload_on": "ON",
        "payload_off": "OFF",
        "json_attributes_topic": "smolwatch/porch/rule/package",
    }
    description = porch["components"]["description"]
    assert description["state_topic"] == "smolwatch/porch/description"
    assert "[:255]" in description["value_template"]  # more makes the state unknown
    assert "value_json.text" in description["json_attributes_template"]
    assert porch["device"]["via_device"] == "smolwatch_bridge"
    assert porch["device"]["name"] == "Porch camera"


def test_a_camera_is_there_if_it_and_the_bridge_are() -> None:
    porch = devices()[PORCH_TOPIC]
    assert porch["availability_mode"] == "all"
    assert [place["topic"] for place in porch["availability"]] == [
        "smolwatch/bridge/state",
        "smolwatch/porch/availability",
    ]


def test_what_tells_of_a_camera_that_is_away_does_not_go_with_it() -> None:
    components = devices()[PORCH_TOPIC]["components"]
    for key in ("problem", "alert", "blind"):
        assert [p["topic"] for p in components[key]["availability"]] == ["smolwatch/bridge/state"]
    assert "availability" not in components["rule_package"]
    connection = devices()[BRIDGE_TOPIC]["components"]["connection"]
    assert "availability" not in connection  # it says offline itself
    assert (connection["payload_on"], connection["payload_off"]) == ("online", "offline")


def test_the_pitfalls() -> None:
    for topic, key, component in entities():
        where = f"{topic} {key}"
        assert component["unique_id"], where
        assert "object_id" not in component, where
        shows = component["platform"] in ("sensor", "binary_sensor", "event", "image")
        category = component.get("entity_category")
        assert category != "config" if shows else category in (None, "config"), where
        assert component["default_entity_id"].startswith(component["platform"] + "."), where
        assert re.fullmatch(r"\w+\.[a-z0-9_]+", component["default_entity_id"]), where
        if component.get("state_topic", "").endswith("/porch/health"):
            assert component["expire_after"] > 60, where  # these are not retained
    for device in devices().values():
        assert device["origin"]["name"] == "smolwatch"
    alert = devices()[PORCH_TOPIC]["components"]["alert"]
    assert alert["event_types"] == ["rule_match", "rule_update", "rule_clear", "describe"]


SLUGS = st.text("ab_", min_size=1, max_size=4).filter(lambda name: name != "bridge")
NAMES = SLUGS | st.sampled_from(["problem", "a_armed", "armed_a", "armed", "b_threshold"])
CAMERAS = st.dictionaries(SLUGS | st.just("a_rule"), st.lists(NAMES, unique=True), max_size=4)


@settings(deadline=None)
@given(CAMERAS, st.sampled_from(["smolwatch", "home/attic.1", "a_b"]))
def test_no_two_entities_have_one_id(cameras: dict[str, list[str]], base: str) -> None:
    site = Site(Topics(base), "homeassistant", "1", "full")
    entries = [CameraEntry(name, "", tuple(rules)) for name, rules in cameras.items()]
    found = site.devices(entries)
    assert len(found) == len(entries) + 1
    for entry in entries:
        components = found[site.config_topic(entry.name)]["components"]
        assert len(components) == 12 + 3 * len(entry.rules)
    ids = [c["unique_id"] for device in found.values() for c in device["components"].values()]
    assert len(set(ids)) == len(ids)
    for topic in found:
        assert re.fullmatch(r"homeassistant/device/[a-zA-Z0-9_-]+/config", topic)


# --- what can be changed

CONTROLS = {"enabled": "switch", "armed_package": "switch", "armed_dog_out": "switch"}
MORE = {
    "prompt": "text",
    "describe": "button",
    "threshold_package": "number",
    "threshold_dog_out": "number",
}


def test_controls_are_those_that_commands_allow() -> None:
    shown = {
        level: {key: c["platform"] for key, c in devices(site)[PORCH_TOPIC]["components"].items()}
        for level, site in (("off", SITE), ("arm", ARM), ("full", FULL))
    }
    assert shown["arm"] == shown["off"] | CONTROLS
    assert shown["full"] == shown["off"] | CONTROLS | MORE


def rendered(template: str, **names: Any) -> str:
    """As Home Assistant does it, in a sandboxed Jinja with its filters."""
    environment = SandboxedEnvironment()
    environment.filters["to_json"] = json.dumps
    return environment.from_string(template).render(**names)


def pressed(component: dict[str, Any], value: Any) -> Command:
    """What we understand when somebody sets an entity to a value."""
    template = component.get("command_template", "{{ value }}")
    payload = rendered(template, value=value)
    reader = Reader(Topics(), "full", {"porch": ("package", "2_cars")})
    found = reader.read(Arrived(component["command_topic"], payload.encode(), False))
    assert isinstance(found, Command), found
    return found


def test_what_home_assistant_sends_does_what_the_entity_says() -> None:
    camera = CameraEntry("porch", "", ("package", "2_cars"))
    shown = FULL.devices([camera])[PORCH_TOPIC]["components"]
    for key, component in json.loads(json.dumps(shown)).items():
        match component["platform"]:
            case "switch":
                for way, wanted in (("payload_on", True), ("payload_off", False)):
                    asked = pressed(component, component[way]).asked
                    name = "enabled" if key == "enabled" else "armed"
                    assert getattr(asked, name) is wanted
                    assert key in ("enabled", f"armed_{getattr(asked, 'rule', '')}")
            case "number":
                for value in (component["min"], 0.5, component["max"]):
                    asked = pressed(component, value).asked
                    assert (f"threshold_{asked.rule}", asked.threshold) == (key, value)
            case "text":
                words = 'Who\'s "there"? {{ 7 * 6 }} ü'
                assert pressed(component, words).asked.prompt == words
            case "button":
                assert pressed(component, component["payload_press"]).operation == "describe"


@pytest.mark.parametrize("on", [True, False])
def test_entities_show_what_the_state_says(on: bool) -> None:
    camera = CameraEntry("porch", "", ("package", "2_cars"))
    shown = FULL.devices([camera])[PORCH_TOPIC]["components"]
    setting = RuleSetting(armed=on, threshold=0.85)
    state = payloads.camera_state(
        Topics(), "porch", enabled=on, prompt="x" * 400,
        rules={"package": setting, "2_cars": setting},
    )  # fmt: skip
    content = json.loads(state.payload)
    for key in ("enabled", "armed_package", "armed_2_cars", "threshold_2_cars", "prompt"):
        component = shown[key]
        assert component["state_topic"] == state.topic
        value = rendered(component["value_template"], value_json=content)
        expected = "ON" if on else "OFF"
        if key == "prompt":
            expected = "x" * 255  # more makes the state unknown
        if key.startswith("threshold"):
            expected = "0.85"
        assert value == expected


def test_what_may_no_longer_be_changed_is_taken_back() -> None:
    home = HomeAssistant(SITE, [PORCH])
    (correction,) = home.hear(kept([PORCH], FULL)[PORCH_TOPIC], 0.0)
    components = json.loads(correction.payload)["components"]
    for key, platform in (CONTROLS | MORE).items():
        assert components[key] == {"platform": platform}
    assert components["rule_package"]["unique_id"]
    home = HomeAssistant(ARM, [PORCH])
    (correction,) = home.hear(kept([PORCH], FULL)[PORCH_TOPIC], 0.0)
    components = json.loads(correction.payload)["components"]
    assert components["armed_package"]["unique_id"]
    assert components["describe"] == {"platform": "button"}


@pytest.mark.parametrize(("slug", "words"), [("front_door", "Front door"), ("_", "_")])
def test_names_are_written_as_people_do(slug: str, words: str) -> None:
    assert title(slug) == words


# --- what is taken back


def kept(cameras: list[CameraEntry], site: Site = SITE) -> dict[str, Arrived]:
    """What an earlier run with these cameras left on the broker."""
    return {
        topic: Arrived(topic, message(topic, device, {}).payload, retained=True)
        for topic, device in site.devices(cameras).items()
    }


def test_a_camera_that_is_gone_is_taken_back() -> None:
    home = HomeAssistant(SITE, [YARD])
    assert home.hear(kept([PORCH])[PORCH_TOPIC], 0.0) == (removal(PORCH_TOPIC),)
    assert removal(PORCH_TOPIC) == Message(PORCH_TOPIC, b"", 1, True, "state")


def test_a_rule_that_is_gone_is_taken_back_and_stays_so_for_this_run() -> None:
    home = HomeAssistant(SITE, [CameraEntry("porch", "", ("dog_out",))])
    (correction,) = home.hear(kept([PORCH])[PORCH_TOPIC], 0.0)
    components = json.loads(correction.payload)["components"]
    assert components["rule_package"] == {"platform": "binary_sensor"}
    assert components["snapshot"] == {"platform": "image"}
    assert components["rule_dog_out"]["unique_id"]
    assert correction in home.messages()
    # What is left of it is nothing to take back again, and the next run leaves it out.
    again = Arrived(PORCH_TOPIC, correction.payload, retained=True)
    assert home.hear(again, 1.0) == ()
    assert HomeAssistant(SITE, [CameraEntry("porch", "", ("dog_out",))]).hear(again, 0.0) == ()


def test_what_is_still_there_needs_nothing() -> None:
    home = HomeAssistant(SITE, [PORCH, YARD])
    for arrived in kept([PORCH, YARD]).values():
        assert home.hear(arrived, 0.0) == ()


def test_news_on_our_topics_is_not_answered() -> None:
    """Two of the same names would answer each other for ever."""
    old = kept([PORCH])[PORCH_TOPIC]
    assert HomeAssistant(SITE, []).hear(Arrived(old.topic, old.payload, False), 0.0) == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda device: device["origin"].update(name="zigbee2mqtt"),
        lambda device: device.pop("origin"),
        lambda device: device.update(origin=[]),
        lambda device: device.update(components=[]),
        lambda device: device.update(components={}),
        lambda device: device["components"]["alert"].update(state_topic="other/porch/event"),
        lambda device: device["components"]["alert"].update(state_topic="smolwatch/yard/event"),
    ],
)
def test_what_is_not_ours_is_left_alone(change: Any) -> None:
    device = devices()[PORCH_TOPIC]
    change(device)
    arrived = Arrived(PORCH_TOPIC, json.dumps(device).encode(), retained=True)
    assert HomeAssistant(SITE, []).hear(arrived, 0.0) == ()


def test_another_smolwatch_on_the_broker_is_left_alone() -> None:
    for base in ("smolwatch/attic", "smolwatch2", "attic"):
        other = Site(Topics(base), "homeassistant", "9")
        for arrived in kept([PORCH], other).values():
            assert HomeAssistant(SITE, []).hear(arrived, 0.0) == ()
        assert SITE.devices([PORCH]).keys().isdisjoint(other.devices([PORCH]))


def test_strange_components_are_not_repeated() -> None:
    device = devices()[PORCH_TOPIC]
    component = device["components"]["description"]
    device["components"]["x" * 201] = component
    device["components"]["vase"] = {**component, "platform": "vase"}
    device["components"]["listed"] = {**component, "platform": ["sensor"]}
    arrived = Arrived(PORCH_TOPIC, json.dumps(device).encode(), retained=True)
    assert HomeAssistant(SITE, [PORCH]).hear(arrived, 0.0) == ()


# --- birth messages


def online(*, retained: bool = False) -> Arrived:
    return Arrived(STATUS_TOPIC, b"online", retained)


def test_a_birth_message_is_answered_a_little_later() -> None:
    home = HomeAssistant(SITE, [PORCH])
    assert home.connected(0.0) == (STATUS_TOPIC, "homeassistant/device/+/config")
    assert home.hear(online(), 100.0) == ()
    assert not home.answer_due(100.0 + SETTLE_S - 0.1)
    assert home.answer_due(100.0 + SETTLE_S)
    assert not home.answer_due(100.0 + SETTLE_S)


def test_many_restarts_make_no_storm_and_the_last_is_answered() -> None:
    home = HomeAssistant(SITE, [PORCH])
    answers = []
    for tenth in range(1000):
        now_s = tenth / 10
        if now_s < 70:
            home.hear(online(), now_s)
        if home.answer_due(now_s):
            answers.append(now_s)
    assert answers == [SETTLE_S, SETTLE_S + AGAIN_S, SETTLE_S + 2 * AGAIN_S, SETTLE_S + 3 * AGAIN_S]


def test_only_a_fresh_online_is_a_birth() -> None:
    home = HomeAssistant(SITE, [PORCH])
    home.hear(online(retained=True), 0.0)
    home.hear(Arrived(STATUS_TOPIC, b"offline", False), 0.0)
    home.hear(Arrived(STATUS_TOPIC, b"Online", False), 0.0)
    assert not home.answer_due(1000.0)


def test_a_lost_link_does_not_make_it_forget_to_answer() -> None:
    home = HomeAssistant(SITE, [PORCH])
    home.hear(online(), 1000.0)
    home.connected(1001.0)  # discovery is told anyway, but missed alerts are not
    assert home.answer_due(2000.0)


def test_alerts_may_be_missed_since_it_went_or_for_five_minutes() -> None:
    home = HomeAssistant(SITE, [PORCH])
    gone = Arrived(STATUS_TOPIC, b"offline", False)
    home.hear(online(), 1000.0)
    assert home.answer_due(1000.0 + SETTLE_S) == 1000.0 - UNSEEN_S
    home.hear(gone, 2000.0)
    home.hear(online(), 2001.0)
    home.hear(gone, 2002.0)  # it had not been answered: nobody knows what it took in
    home.hear(online(), 2003.0)
    assert home.answer_due(2010.0) == 2000.0
    home.hear(online(), 3000.0)
    assert home.answer_due(3000.0 + SETTLE_S) == 3000.0 - UNSEEN_S


def test_learning_ends_once_a_link() -> None:
    home = HomeAssistant(SITE, [PORCH])
    assert not home.learned(5.0)
    home.connected(5.0)
    assert not home.learned(5.0 + LEARN_S - 0.1)
    assert home.learned(5.0 + LEARN_S)
    assert not home.learned(5.0 + LEARN_S)


# --- nothing that arrives does harm

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.just("smolwatch"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["origin", "name", "components", "platform", "state_topic", "a"])
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from([PORCH_TOPIC, BRIDGE_TOPIC, STATUS_TOPIC]) | st.text(max_size=30),
    st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()),
    st.booleans(),
)
def test_any_message_is_survived_and_garbage_is_not_answered(
    topic: str, payload: bytes, retained: bool
) -> None:
    home = HomeAssistant(SITE, [PORCH])
    assert home.hear(Arrived(topic, payload, retained), 0.0) == ()


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_our_own_payloads_with_pieces_changed_are_survived(data: st.DataObject) -> None:
    device = devices()[PORCH_TOPIC]
    for _ in range(data.draw(st.integers(1, 3))):
        place: Any = device
        while True:
            key = data.draw(st.sampled_from(sorted(place)))
            if isinstance(place[key], dict) and place[key] and data.draw(st.booleans()):
                place = place[key]
                continue
            place[key] = data.draw(JSON)
            break
    arrived = Arrived(PORCH_TOPIC, json.dumps(device).encode(), retained=True)
    for told in HomeAssistant(SITE, [PORCH]).hear(arrived, 0.0):
        assert json.loads(told.payload)["components"].keys() <= device["components"].keys() | set(
            devices()[PORCH_TOPIC]["components"]
        )
    for told in HomeAssistant(SITE, []).hear(arrived, 0.0):
        assert told == removal(PORCH_TOPIC)


@pytest.mark.parametrize("payload", [b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000, b"\xff"])
def test_payloads_that_break_parsers_are_survived(payload: bytes) -> None:
    assert HomeAssistant(SITE, [PORCH]).hear(Arrived(PORCH_TOPIC, payload, True), 0.0) == ()
