"""Does the daemon do what is asked over a real broker, and does it stay done?"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import paho.mqtt.client as paho
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from daemon.app import App, build_app
from daemon.config import load_config
from daemon.running import Running
from daemon.store import Limits, Store
from daemon.systemd import Notifier, Watchdog
from pipelines.clock import SystemClock
from tests.fakes import FakeModel
from tests.mosquitto import WAIT_S, Gate, Mosquitto, Subscriber, mosquitto, wait_until

CONFIG = """
mqtt: {{broker: "127.0.0.1:{port}", commands: {commands}}}
cameras:
  yard:
    source: scene://yard?seed=3&width=160
    window: {{num_frames: 4, interval_s: 0.1, stride_s: 0.1}}
    gate: always
    describe: {{every_s: 3600}}
rules:
  person: {{ask: "Is there a person?", debounce: {{needed: 1, of: 1}}, cooldown_s: 0}}
"""
EVENT, STATE, RULE = "smolwatch/yard/event", "smolwatch/yard/state", "smolwatch/yard/rule/person"
RESPONSE = "smolwatch/bridge/response"


@contextmanager
def daemon(
    port: int, folder: Path, model: FakeModel, commands: str = "full", protocol: str = "auto"
) -> Iterator[App]:
    path = folder / "c.yaml"
    path.write_text(CONFIG.format(port=port, commands=commands))
    config, clock = load_config(path, {}), SystemClock()
    assert config.mqtt is not None
    options = config.mqtt.options("test")
    if protocol != "auto":
        options = type(options)("127.0.0.1", port, protocol="3.1.1", client_id="old")
    store = Store(folder / "s.db", Limits(), clock)
    app = build_app(config, model, options, clock, store)
    notifier, codes = Notifier(), list[int]()
    thread = threading.Thread(
        target=lambda: codes.append(Running(app).run(Watchdog(notifier, None), notifier))
    )
    thread.start()
    try:
        assert app.publisher is not None
        wait_until(lambda: app.publisher and app.publisher.health().connected, "connected")
        wait_until(lambda: app.captures["yard"].health().state != "connecting", "the camera")
        yield app
    finally:
        app.workers.ended.set()
        thread.join(WAIT_S)
    assert codes == [0]


class Asker:
    """A client of its own that sends requests, and hears the answers by their transaction."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._marks = itertools.count(1)
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def send(self, topic: str, payload: bytes, *, retain: bool = False, **more: Any) -> None:
        properties = Properties(PacketTypes.PUBLISH)
        for key, value in more.items():
            setattr(properties, key, value)
        sent = self._client.publish(
            f"smolwatch/{topic}", payload, 1, retain, properties if more else None
        )
        sent.wait_for_publish(WAIT_S)

    def ask(
        self, subscriber: Subscriber, operation: str, topic: str | None = None, **keys: Any
    ) -> dict[str, Any]:
        """The answer to a request."""
        mark = next(self._marks)
        payload = json.dumps({**keys, "transaction": mark}).encode()
        self.send(topic or f"bridge/request/{operation}", payload)

        def answers() -> list[dict[str, Any]]:
            found = [m.content for m in subscriber.on(f"{RESPONSE}/{operation}")]
            return [content for content in found if content["transaction"] == mark]

        wait_until(answers, f"the answer to {operation}")
        (answer,) = answers()
        return answer

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def asker(broker: Mosquitto) -> Iterator[Asker]:
    client = Asker(broker.port)
    yield client
    client.close()


def kinds(subscriber: Subscriber) -> list[str]:
    """What was told of the rule."""
    events = (m.content for m in subscriber.on(EVENT))
    return [str(event["event_type"]) for event in events if event["rule"] is not None]


def test_disarm_threshold_and_restart(broker: Mosquitto, asker: Asker, tmp_path: Path) -> None:
    model = FakeModel({"Is there a person?": 0.8})
    with Subscriber(broker.port) as heard:
        with daemon(broker.port, tmp_path, model):
            wait_until(lambda: "rule_match" in kinds(heard), "an alert")
            done = asker.ask(heard, "rule", "yard/rule/person/set", armed=False)
            assert done["data"] == {
                "camera": "yard", "rule": "person", "armed": False, "threshold": 0.7,
            }  # fmt: skip
            wait_until(lambda: kinds(heard)[-1] == "rule_clear", "it is closed")
            heard.wait_for_state(RULE, "OFF")
            rule = heard.on(STATE)[-1].content["rules"]["person"]  # type: ignore[index]
            assert rule == {"armed": False, "threshold": 0.7}
            seen = len(model.asked)
            wait_until(lambda: len(model.asked) > seen + 10, "windows")
        before = len(kinds(heard))
        with daemon(broker.port, tmp_path, model):
            seen = len(model.asked)
            wait_until(lambda: len(model.asked) > seen + 10, "windows after the restart")
            assert len(kinds(heard)) == before
            raised = asker.ask(
                heard, "rule", camera="yard", rule="person", armed=True, threshold=0.9
            )
            assert raised["status"] == "ok"
            seen = len(model.asked)
            wait_until(lambda: len(model.asked) > seen + 10, "windows at 0.9")
            assert len(kinds(heard)) == before
            asker.ask(heard, "rule", "yard/rule/person/set", threshold=None)
            wait_until(lambda: kinds(heard)[before:] == ["rule_match"], "an alert at 0.7 again")


def test_a_camera_is_switched_off_and_on(broker: Mosquitto, asker: Asker, tmp_path: Path) -> None:
    available = "smolwatch/yard/availability"
    with (
        Subscriber(broker.port) as heard,
        daemon(broker.port, tmp_path, FakeModel({"Is there a person?": 0.8}), "arm"),
    ):
        wait_until(lambda: "rule_match" in kinds(heard), "an alert")
        heard.wait_for_state(available, "online")
        assert asker.ask(heard, "set", "yard/set", enabled=False)["status"] == "ok"
        heard.wait_for_state(available, "offline")
        wait_until(lambda: kinds(heard)[-1] == "rule_clear", "its incident is closed")
        assert heard.on(STATE)[-1].content["enabled"] is False
        refused = asker.ask(heard, "ask", camera="yard", question="Who?")
        assert "commands: full" in refused["error"]
        asker.ask(heard, "set", "yard/set", enabled=True)
        wait_until(lambda: heard.on(available)[-1].content["state"] == "online", "it is back")
        wait_until(lambda: kinds(heard)[-1] == "rule_match", "an alert again")


def test_questions_words_and_pictures(broker: Mosquitto, asker: Asker, tmp_path: Path) -> None:
    model = FakeModel({"Is it day?": 0.75}, description="A person walks by.")
    with Subscriber(broker.port) as heard, daemon(broker.port, tmp_path, model) as app:
        wait_until(lambda: app.captures["yard"].health().state == "online", "pictures")
        wait_until(lambda: app.inference.windows_run > 3, "windows")
        answer = asker.ask(heard, "ask", "yard/ask", question="Is it day?", last_s=5)["data"]
        assert (answer["question"], answer["p_yes"]) == ("Is it day?", 0.75)
        assert answer["text"] == "A person walks by."
        asker.ask(heard, "set", camera="yard", prompt="What colour is it?")
        words = asker.ask(heard, "describe", "yard/describe")["data"]
        assert words["text"] == "A person walks by."
        assert any(prompt == "What colour is it?" for _, _, prompt in model.asked)
        told = heard.wait_for("smolwatch/yard/event", 2)[-1].content  # the first was on schedule
        assert (told["event_type"], told["summary"]) == ("describe", "A person walks by.")
        taken = asker.ask(heard, "snapshot", "yard/snapshot/get")["data"]
        (picture,) = heard.wait_for(taken["topic"])
        assert len(picture.payload) == taken["bytes"]
        image = cv2.imdecode(np.frombuffer(picture.payload, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        assert image.std() > 5.0  # a picture, not a surface
        asker.ask(heard, "set", "yard/set", enabled=False)
        assert "switched off" in asker.ask(heard, "snapshot", "yard/snapshot/get")["error"]
        assert "switched off" in asker.ask(heard, "ask", "yard/ask", question="Who?")["error"]


def test_what_is_known_can_be_asked_for(broker: Mosquitto, asker: Asker, tmp_path: Path) -> None:
    with Subscriber(broker.port) as heard, daemon(broker.port, tmp_path, FakeModel()):
        assert asker.ask(heard, "ping")["data"].keys() == {"version"}
        assert asker.ask(heard, "cameras")["data"]["cameras"][0]["camera"] == "yard"
        assert asker.ask(heard, "info")["data"]["configuration"]["mqtt"]["commands"] == "full"
        assert asker.ask(heard, "health")["data"]["broker"]["connected"] is True
        assert "restart it" in asker.ask(heard, "reload")["error"]


def test_an_answer_goes_where_mqtt_5_wants_it(
    broker: Mosquitto, asker: Asker, tmp_path: Path
) -> None:
    with Subscriber(broker.port, "#") as heard, daemon(broker.port, tmp_path, FakeModel()):
        asker.send("bridge/request/ping", b"", ResponseTopic="me/pong", CorrelationData=b"\x01")
        (pong,) = heard.wait_for("me/pong")
        assert pong.content["status"] == "ok"
        assert not pong.retain
        asker.send("bridge/request/ping", b"", ResponseTopic="smolwatch/yard/set")
        (refused,) = heard.wait_for(f"{RESPONSE}/ping")
        assert "response topic" in str(refused.content["error"])
        assert heard.on("smolwatch/yard/set") == []


@pytest.mark.parametrize("protocol", ["auto", "3.1.1"])
def test_a_kept_command_is_not_carried_out(
    broker: Mosquitto, asker: Asker, tmp_path: Path, protocol: str
) -> None:
    asker.send("yard/set", b'{"enabled": false}', retain=True)
    with (
        Subscriber(broker.port) as heard,
        daemon(broker.port, tmp_path, FakeModel(), protocol=protocol),
    ):
        assert asker.ask(heard, "ping")["status"] == "ok"  # it came after the kept one
        assert all(m.content["enabled"] is True for m in heard.wait_for(STATE))
        if protocol == "auto":  # MQTT 5 tells also of a new one that it is to be kept
            asker.send("yard/set", b'{"enabled": false}', retain=True)
            assert asker.ask(heard, "ping")["status"] == "ok"
            assert heard.on(STATE)[-1].content["enabled"] is True
        assert heard.on(f"{RESPONSE}/set") == []


def test_off_listens_to_nothing(broker: Mosquitto, asker: Asker, tmp_path: Path) -> None:
    model = FakeModel()
    with Subscriber(broker.port) as heard, daemon(broker.port, tmp_path, model, "off"):
        asker.send("yard/set", b'{"enabled": false}')
        asker.send("bridge/request/ping", b"{}")
        seen = len(model.asked)
        wait_until(lambda: len(model.asked) > seen + 10, "windows")
        assert heard.on(f"{RESPONSE}/ping") == []
        assert heard.on(f"{RESPONSE}/set") == []


def test_after_a_lost_link_commands_are_taken_again(
    broker: Mosquitto, asker: Asker, tmp_path: Path
) -> None:
    with (
        Gate(broker.port) as gate,
        Subscriber(broker.port) as heard,
        daemon(gate.port, tmp_path, FakeModel()) as app,
    ):
        gate.cut()
        assert app.publisher is not None
        heard.wait_for("smolwatch/bridge/state", 3)  # online, the last will, online
        assert asker.ask(heard, "ping")["status"] == "ok"


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[App, Asker]]:
    folder = tmp_path_factory.mktemp("lasting")
    with mosquitto(folder) as broker, daemon(broker.port, folder, FakeModel()) as app:
        client = Asker(broker.port)
        yield app, client
        client.close()


TOPICS = st.sampled_from(
    ["yard/set", "yard/rule/person/set", "yard/ask", "yard/describe", "yard/snapshot/get",
     "no/set", "bridge/request/set", "bridge/request/ping", "bridge/request/no"]
)  # fmt: skip


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(
            TOPICS,
            st.binary(max_size=100) | st.just(b"[" * 5000) | st.just(b"x" * 300_000),
            st.none() | st.text("ab/é", min_size=1, max_size=8),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_no_payload_ends_or_blocks_the_daemon(
    lasting: tuple[App, Asker], messages: list[tuple[str, bytes, str | None]]
) -> None:
    app, asker = lasting
    for topic, payload, response_topic in messages:
        more = {} if response_topic is None else {"ResponseTopic": response_topic}
        asker.send(topic, payload, **more)
    with Subscriber(asker.port, f"{RESPONSE}/info", garbage=True) as heard:
        # By an operation that the garbage does not use up.
        mark = str(id(messages))
        asker.send("bridge/request/info", json.dumps({"transaction": mark}).encode())
        wait_until(
            lambda: any(m.content["transaction"] == mark for m in heard.messages), "an answer"
        )
    assert app.workers.failed is None
    assert app.publisher is not None
    assert app.publisher.health().connected
