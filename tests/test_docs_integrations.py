"""Do the examples for Node-RED and openHAB use topics and keys that there are?"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from daemon.mqtt.commands import Level
from daemon.mqtt.link_events import Arrived
from daemon.mqtt.reading import Command, Reader
from daemon.mqtt.reference import entries
from daemon.mqtt.topics import Topics

DOCS = Path(__file__).parents[1] / "docs"
FLOW: list[dict[str, Any]] = json.loads((DOCS / "node-red" / "flow.json").read_text("utf-8"))
THINGS = (DOCS / "openhab" / "smolwatch.things").read_text("utf-8")
ITEMS = (DOCS / "openhab" / "smolwatch.items").read_text("utf-8")
EXAMPLES = {entry.example.topic: json.loads(entry.example.payload) for entry in entries()}


def understood(topic: str, payload: str, level: Level = "full") -> bool:
    reader = Reader(Topics(), level, {"porch": ("package",)})
    return isinstance(reader.read(Arrived(topic, payload.encode(), False)), Command)


# Node-RED


def nodes(kind: str) -> list[dict[str, Any]]:
    return [node for node in FLOW if node["type"] == kind]


def test_the_flow_is_whole() -> None:
    ids = [node["id"] for node in FLOW]
    assert len(set(ids)) == len(ids)
    wired = {target for node in FLOW for wire in node.get("wires", []) for target in wire}
    assert wired <= set(ids)
    for node in FLOW:
        assert node.get("broker", "localhost") in {*ids, "localhost"}
        assert node.get("z", ids[0]) == ids[0]
    ends = {node["id"] for node in FLOW if node["type"] not in ("tab", "mqtt-broker")}
    starts = {node["id"] for node in (*nodes("inject"), *nodes("mqtt in"))}
    assert ends - starts <= wired  # nothing hangs loose


def test_the_flow_listens_where_something_is_told() -> None:
    topics = {node["topic"] for node in nodes("mqtt in")}
    assert topics == {"smolwatch/porch/event", "smolwatch/bridge/response/ask"}
    assert topics <= EXAMPLES.keys()


def test_what_the_flow_sends_is_understood() -> None:
    by_id = {node["id"]: node for node in FLOW}
    sent = 0
    for inject in nodes("inject"):
        (target,) = inject["wires"][0]
        out = by_id[target]
        assert out["retain"] == "false"  # kept commands are ignored
        assert understood(out["topic"], inject["payload"]), inject["name"]
        sent += 1
    assert sent == 3


def test_the_flow_reads_keys_that_there_are() -> None:
    alerts, words = (node["func"] for node in nodes("function"))
    event = EXAMPLES["smolwatch/porch/event"]
    read = set(re.findall(r"event\.(\w+)", alerts))
    assert read >= {"replay", "event_id", "event_type", "severity"}
    assert read <= event.keys()
    answer = EXAMPLES["smolwatch/bridge/response/ask"]
    taken = re.search(r"const \{ (.*?) \} = msg\.payload", words)
    assert taken is not None
    assert set(taken[1].split(", ")) <= answer.keys()
    assert set(re.findall(r"data\.(\w+)", words)) <= answer["data"].keys()
    (mine,) = nodes("switch")
    (ask,) = [json.loads(n["payload"]) for n in nodes("inject") if "question" in n["payload"]]
    assert mine["rules"][0]["v"] == ask["transaction"]


# openHAB

CHANNELS = {
    found[2]: (found[1], dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', found[3])))
    for found in re.finditer(
        r"Type (\w+)\s*:\s*(\w+)[^\[]*\[((?:[^\]\"]|\"(?:[^\"\\]|\\.)*\")*)\]", THINGS
    )
}


def test_channels_read_keys_that_there_are() -> None:
    assert len(CHANNELS) == THINGS.count("Type ") == 9
    for name, (_, said) in CHANNELS.items():
        topic = said.get("stateTopic")
        if topic in (None, "smolwatch/porch/snapshot"):
            continue
        value: Any = EXAMPLES[topic]
        path = said.get("transformationPattern", "JSONPATH:$")
        for key in re.findall(r"\.(\w+)", path.removeprefix("JSONPATH:$")):
            assert key in value, f"{name}: {path}"
            value = value[key]
    thing = THINGS[: THINGS.index("Channels:")]
    topic = re.search(r'availabilityTopic="(.*?)"', thing)
    assert topic is not None
    assert EXAMPLES[topic[1]]["state"] == "online"
    assert 'payloadAvailable="online"' in thing


@pytest.mark.parametrize(
    ("channel", "value", "level"),
    [
        ("enabled", "true", "arm"),
        ("enabled", "false", "arm"),
        ("package_armed", "false", "arm"),
        ("package_threshold", "0.8", "full"),
        ("ask", "Is the gate open?", "full"),
    ],
)
def test_what_channels_send_is_understood(channel: str, value: str, level: Level) -> None:
    kind, said = CHANNELS[channel]
    if kind == "switch":
        assert value in (said["on"], said["off"])
    payload = said["formatBeforePublish"].replace('\\"', '"') % value
    assert understood(said["commandTopic"], payload, level)
    assert level == "arm" or not understood(said["commandTopic"], payload, "arm")


def test_each_item_has_a_channel() -> None:
    linked = re.findall(r'channel="mqtt:topic:home:porch:(\w+)"', ITEMS)
    assert len(linked) == len(ITEMS.strip().splitlines())
    assert set(linked) == CHANNELS.keys() - {"event"}  # a trigger is for rules
    kinds = {"switch": "Switch", "string": "String", "number": "Number", "image": "Image"}
    for line in ITEMS.strip().splitlines():
        channel = line.rpartition(":")[2].split('"')[0]
        assert line.split()[0] == kinds[CHANNELS[channel][0]]
