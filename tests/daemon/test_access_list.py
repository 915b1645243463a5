"""Does the access list that we ship let everybody do their work, and nothing else?

A real Mosquitto reads it. What each user may write and read is tried with real clients, and every
line of the list is shown to be needed: without it the table below is no longer true.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from daemon.mqtt.check import Wanted, check_broker
from daemon.mqtt.homeassistant import STATUS_TOPIC
from daemon.mqtt.options import MqttOptions
from daemon.mqtt.reading import Reader
from daemon.mqtt.tls import TlsFiles
from daemon.mqtt.topics import Topics
from pipelines.clock import SystemClock
from tests.certificates import Authority
from tests.mosquitto import WAIT_S, Mosquitto, mosquitto, wait_until

LIST: Final = Path(__file__).parents[2] / "configs" / "mosquitto" / "acl"
COMMANDS: Final = (
    "smolwatch/bridge/request/ping",
    *(
        topic.replace("+", "porch", 1).replace("+", "package")
        for topic in Reader(Topics(), "full", {}).subscriptions
        if "bridge" not in topic
    ),
)
SAID: Final = (
    "smolwatch/bridge/state", "smolwatch/bridge/response/ping", "smolwatch/porch/event",
    "smolwatch/porch/rule/package", "smolwatch/porch/snapshot",
)  # fmt: skip
DISCOVERY: Final = "homeassistant/device/smolwatch_porch/config"
OTHERS: Final = ("zigbee2mqtt/lamp", "homeassistant/light/lamp/config")
EVERYTHING: Final = (*COMMANDS, *SAID, DISCOVERY, STATUS_TOPIC, *OTHERS)
MAY_WRITE: Final = {
    "smolwatch": {*COMMANDS, *SAID, DISCOVERY},  # `smolwatch/#` is its own
    "homeassistant": {*COMMANDS, DISCOVERY, STATUS_TOPIC, OTHERS[1]},
    "viewer": set[str](),
    "stranger": set[str](),
}
MAY_READ: Final = {
    "smolwatch": {*COMMANDS, DISCOVERY, STATUS_TOPIC},
    "homeassistant": {*COMMANDS, *SAID, DISCOVERY, STATUS_TOPIC, OTHERS[1]},
    "viewer": {*COMMANDS, *SAID},
    "stranger": set[str](),
}
USERS: Final = dict.fromkeys((*MAY_WRITE, "admin"), "pw")


class Person:
    """A client who reads all that it may, and knows which of its messages were taken."""

    def __init__(self, port: int, name: str) -> None:
        self.read: set[str] = set()
        self.answers: dict[int, int] = {}
        self._ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.username_pw_set(name, "pw")
        self._client.on_message = lambda _c, _u, message: self.read.add(message.topic)
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe("#", qos=1)
        assert self._ready.wait(WAIT_S)

    def write(self, topics: tuple[str, ...]) -> set[str]:
        """The topics that the broker takes."""
        mids = {self._client.publish(topic, b"x", 1).mid: topic for topic in topics}
        wait_until(lambda: mids.keys() <= self.answers.keys(), "all answered")
        return {topic for mid, topic in mids.items() if self.answers[mid] < 0x80}

    def leave(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._client.on_message = self._client.on_publish = self._client.on_subscribe = None

    def _on_publish(
        self, _c: paho.Client, _u: object, mid: int, reason: ReasonCode, _p: Properties
    ) -> None:
        self.answers[mid] = reason.value


Rights = dict[str, set[str]]


def rights(folder: Path, text: str) -> tuple[Rights, Rights]:
    """What each user may write, and read, with this list."""
    folder.mkdir(exist_ok=True)
    access = f"{text}\nuser admin\ntopic readwrite #\n"
    with mosquitto(folder, USERS, access) as broker:
        people = {name: Person(broker.port, name) for name in USERS}
        try:
            written = {name: people[name].write(EVERYTHING) for name in MAY_WRITE}
            for person in people.values():
                person.read.clear()
            for person in people.values():
                person.answers.clear()
            people["admin"].write((*EVERYTHING, "smolwatch/last"))
            # The broker hands a message to all before it takes the next, and each client's own
            # answer to a ping comes after what was handed to it (the socket keeps the order).
            for person in people.values():
                person.write(("smolwatch/ping",))
            read = {name: people[name].read & set(EVERYTHING) for name in MAY_READ}
        finally:
            for person in people.values():
                person.leave()
    return written, read


def test_everybody_may_do_their_work_and_nothing_else(tmp_path: Path) -> None:
    assert rights(tmp_path, LIST.read_text()) == (MAY_WRITE, MAY_READ)


def test_every_line_is_needed(tmp_path: Path) -> None:
    lines = LIST.read_text().splitlines()
    rules = [number for number, line in enumerate(lines) if line.startswith("topic")]
    assert len(rules) == 18
    for number in rules:
        text = "\n".join(line for n, line in enumerate(lines) if n != number)
        found = rights(tmp_path / str(number), text)
        assert found != (MAY_WRITE, MAY_READ), lines[number]


def test_the_listener_that_we_ship_is_one_that_mosquitto_takes(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("127.0.0.1")
    # The harness makes the password file and the list; then its broker reads the shipped lines.
    broker = Mosquitto(tmp_path, {"smolwatch": "pw"}, LIST.read_text())
    text = (LIST.parent / "smolwatch.conf").read_text()
    for shipped, ours in {
        "listener 8883": f"listener {broker.port} 127.0.0.1",
        "/etc/mosquitto/smolwatch.acl": str(tmp_path / "access"),
        "/etc/mosquitto/smolwatch.passwd": str(tmp_path / "passwords"),
        "/etc/mosquitto/certs/broker.crt": str(certificate),
        "/etc/mosquitto/certs/broker.key": str(key),
        "persistence true": "persistence false",
    }.items():
        assert shipped in text
        text = text.replace(shipped, ours)
    (tmp_path / "mosquitto.conf").write_text(text + ("user root\n" if os.geteuid() == 0 else ""))
    options = MqttOptions("127.0.0.1", broker.port, "smolwatch", "pw", tls=TlsFiles(authority.file))
    try:
        broker.start()
        found = list(check_broker(options, Wanted("full", "homeassistant"), SystemClock()))
    finally:
        broker.stop()
    assert [one for one in found if one.level == "fail"] == []
    assert "with TLS" in next(one.text for one in found if one.what == "encryption")
