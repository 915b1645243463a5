"""Does a real broker carry discovery, removal and birth messages as Home Assistant needs them?"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode
from structlog.typing import EventDict

from daemon.app import build_app
from daemon.config import load_config
from daemon.delivery import Delivery
from daemon.mqtt import homeassistant, payloads
from daemon.mqtt.discovery import Site
from daemon.mqtt.embedded import EmbeddedBroker
from daemon.mqtt.homeassistant import STATUS_TOPIC, HomeAssistant
from daemon.mqtt.link_events import Subscribed
from daemon.mqtt.options import MqttOptions
from daemon.mqtt.records import CameraEntry, PublisherHealth
from daemon.mqtt.retry import Retry
from daemon.mqtt.topics import Topics
from daemon.outbox import Outbox
from daemon.publisher import Publisher
from pipelines.clock import SystemClock
from tests.fakes import FakeModel
from tests.mosquitto import WAIT_S, Gate, Mosquitto, Subscriber, mosquitto, wait_until

TOPICS = Topics()
SITE = Site(TOPICS, "homeassistant", "0.1.0")
PORCH = CameraEntry("porch", "", ("package", "dog_out"))
PORCH_TOPIC = "homeassistant/device/smolwatch_porch/config"
BRIDGE_TOPIC = "homeassistant/device/smolwatch_bridge/config"
AVAILABILITY = "smolwatch/porch/availability"
STATE = "smolwatch/bridge/state"


class Running:
    """A publisher that announces these cameras, on its thread."""

    def __init__(self, port: int, cameras: Sequence[CameraEntry], **options: Any) -> None:
        clock = SystemClock()
        self.outbox = Outbox(clock)
        home = HomeAssistant(SITE, cameras)
        mqtt = MqttOptions("127.0.0.1", port, **options)
        self.publisher = Publisher(self.outbox, mqtt, clock, Retry(0.05, 0.2, 0.2), home)
        for camera in cameras:
            self.outbox.put(payloads.availability(TOPICS, camera.name, online=True))
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.publisher.run, args=(self.stop,))
        self.thread.start()

    def health(self) -> PublisherHealth:
        return self.publisher.health()

    def end(self) -> None:
        self.stop.set()
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive(), "the publisher did not end"


@contextmanager
def announcing(port: int, *cameras: CameraEntry, **options: Any) -> Iterator[Running]:
    running = Running(port, cameras, **options)
    try:
        yield running
    finally:
        running.end()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Births are answered without the pause for a Home Assistant that is still busy."""
    monkeypatch.setattr(homeassistant, "SETTLE_S", 0.0)
    monkeypatch.setattr(homeassistant, "AGAIN_S", 0.0)


def components(message: Any) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads(message.payload)["components"]
    return found


def say(port: int, *messages: tuple[str, bytes], retain: bool = False) -> None:
    """Publish as somebody else, and wait until the broker has it."""
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for topic, payload in messages:
        client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(WAIT_S)
    client.disconnect()
    client.loop_stop()


def still_kept(port: int, topic: str) -> bool:
    """Whether the broker keeps a message there; one of our own, later, says that all came."""
    with Subscriber(port, "#") as subscriber:
        say(port, ("probe/end", b"."))
        subscriber.wait_for("probe/end")
        return bool(subscriber.on(topic))


def test_discovery_is_kept_and_comes_before_the_states(broker: Mosquitto) -> None:
    with Subscriber(broker.port, "#") as subscriber, announcing(broker.port, PORCH):
        subscriber.wait_for(AVAILABILITY)
        order = [m.topic for m in subscriber.messages]
        assert order == [STATE, BRIDGE_TOPIC, PORCH_TOPIC, AVAILABILITY]
        assert all((m.qos, m.retain) == (1, True) for m in subscriber.messages)
    with Subscriber(broker.port, "homeassistant/#") as late:
        late.wait_for(PORCH_TOPIC)
        assert "rule_package" in components(late.on(PORCH_TOPIC)[0])


def test_the_order_is_the_same_after_a_lost_link(broker: Mosquitto) -> None:
    with (
        Gate(broker.port) as gate,
        Subscriber(broker.port, "#") as subscriber,
        announcing(gate.port, PORCH),
    ):
        subscriber.wait_for(AVAILABILITY)
        before = len(subscriber.messages)
        gate.cut()
        subscriber.wait_for(AVAILABILITY, 2)
        order = [m.topic for m in subscriber.messages[before:]]
        assert order[order.index(BRIDGE_TOPIC) :] == [BRIDGE_TOPIC, PORCH_TOPIC, AVAILABILITY]


def test_a_broker_without_memory_gets_it_again(broker: Mosquitto) -> None:
    with announcing(broker.port, PORCH) as running:
        wait_until(lambda: running.health().published, "sent")
        broker.stop()
        wait_until(lambda: not running.health().connected, "the loss is noticed")
        broker.start()
        with Subscriber(broker.port, PORCH_TOPIC) as subscriber:
            assert subscriber.wait_for(PORCH_TOPIC)[-1].payload


@pytest.mark.parametrize("protocol", ["auto", "3.1.1"])
def test_a_camera_that_is_no_longer_configured_is_taken_back(
    broker: Mosquitto, protocol: str
) -> None:
    with announcing(broker.port, PORCH) as running:
        wait_until(lambda: running.health().published, "sent")
    assert still_kept(broker.port, PORCH_TOPIC)
    with (
        Subscriber(broker.port, "homeassistant/#") as subscriber,
        announcing(broker.port, CameraEntry("yard", "", ()), protocol=protocol),
    ):
        wait_until(lambda: any(m.payload == b"" for m in subscriber.messages), "a removal")
    (gone,) = [m for m in subscriber.messages if m.payload == b""]
    assert gone.topic == PORCH_TOPIC
    assert not still_kept(broker.port, PORCH_TOPIC)
    assert still_kept(broker.port, BRIDGE_TOPIC)


def test_a_rule_that_is_no_longer_configured_is_taken_back(broker: Mosquitto) -> None:
    with announcing(broker.port, PORCH) as running:
        wait_until(lambda: running.health().published, "sent")
    fewer = CameraEntry("porch", "", ("dog_out",))
    with Subscriber(broker.port, PORCH_TOPIC) as subscriber, announcing(broker.port, fewer):
        (_, new, correction) = subscriber.wait_for(PORCH_TOPIC, 3)
        assert "rule_package" not in components(new)
        assert components(correction)["rule_package"] == {"platform": "binary_sensor"}
        assert components(correction)["rule_dog_out"]["unique_id"]
    with Subscriber(broker.port, PORCH_TOPIC) as subscriber, announcing(broker.port, fewer):
        (_, left_out) = subscriber.wait_for(PORCH_TOPIC, 2)
        assert "rule_package" not in components(left_out)


def test_others_devices_and_garbage_are_left_alone(broker: Mosquitto) -> None:
    others = (
        ("homeassistant/device/0x01/config", b'{"device":{},"origin":{"name":"z"}}'),
        ("homeassistant/device/smolwatch_garage/config", b"\xff\xfe"),
        ("homeassistant/device/smolwatch_shed/config", b"[" * 50_000),
        ("homeassistant/device/smolwatch_attic/config", b"{" + b" " * 300_000 + b"}"),
        (STATUS_TOPIC, b"online"),
    )
    say(broker.port, *others, retain=True)
    with announcing(broker.port, PORCH) as running:
        wait_until(lambda: running.health().published, "sent")
        with Subscriber(broker.port, PORCH_TOPIC) as subscriber:
            subscriber.wait_for(PORCH_TOPIC)
    with Subscriber(broker.port, "homeassistant/#", garbage=True) as subscriber:
        for topic, payload in others:
            assert subscriber.wait_for(topic)[0].payload == payload


@pytest.mark.usefixtures("at_once")
def test_a_birth_message_brings_everything_again_in_order(broker: Mosquitto) -> None:
    with Subscriber(broker.port, "#") as subscriber, announcing(broker.port, PORCH):
        subscriber.wait_for(AVAILABILITY)
        say(broker.port, (STATUS_TOPIC, b"online"))
        subscriber.wait_for(AVAILABILITY, 2)
        after = [m.topic for m in subscriber.messages]
        after = after[after.index(STATUS_TOPIC) + 1 :]
        assert after == [BRIDGE_TOPIC, PORCH_TOPIC, AVAILABILITY]


def test_a_broker_that_forbids_reading_gets_everything_all_the_same(tmp_path: Path) -> None:
    access = "user smolwatch\ntopic write #\nuser reader\ntopic read #\n"
    users = {"smolwatch": "pw", "reader": "r"}
    with (
        mosquitto(tmp_path, users, access) as broker,
        Subscriber(broker.port, "#", login=("reader", "r")) as subscriber,
        announcing(broker.port, PORCH, username="smolwatch", password="pw"),
    ):
        subscriber.wait_for(AVAILABILITY)
        assert subscriber.wait_for(PORCH_TOPIC)[-1].payload


def test_a_refused_subscription_is_named(logs: list[EventDict]) -> None:
    """Mosquitto accepts one that it will not serve; other brokers say so."""
    clock = SystemClock()
    delivery = Delivery(Outbox(clock), MqttOptions("h", username="bob"), clock)
    delivery._subscribing[7] = STATUS_TOPIC
    codes = [ReasonCode(PacketTypes.SUBACK, identifier=code) for code in (0x87, 1)]
    delivery.hear(Subscribed(mid, code) for mid, code in enumerate(codes, start=7))
    (entry,) = logs
    assert (entry["event"], entry["topic"]) == ("mqtt.subscribe_refused", STATUS_TOPIC)
    assert "let user 'bob' read homeassistant/status" in entry["hint"]


def test_a_forbidden_discovery_topic_is_named(tmp_path: Path, logs: list[EventDict]) -> None:
    access = "user smolwatch\ntopic write smolwatch/#\nuser reader\ntopic read #\n"
    users = {"smolwatch": "pw", "reader": "r"}
    with (
        mosquitto(tmp_path, users, access) as broker,
        Subscriber(broker.port, "#", login=("reader", "r")) as subscriber,
        announcing(broker.port, PORCH, username="smolwatch", password="pw") as running,
    ):
        subscriber.wait_for(AVAILABILITY)
        wait_until(lambda: running.health().refused == 2, "both are refused")
    hints = [entry["hint"] for entry in logs if entry["event"] == "mqtt.publish_refused"]
    assert len(hints) == 2
    assert f"write to {PORCH_TOPIC}" in hints[1]


def test_the_embedded_broker_takes_back_what_is_gone() -> None:
    embedded = EmbeddedBroker()
    port = embedded.start()
    try:
        with announcing(port, PORCH, protocol="3.1.1") as running:
            wait_until(lambda: running.health().published, "sent")
        with (
            Subscriber(port, PORCH_TOPIC, protocol=paho.MQTTv311) as subscriber,
            announcing(port, protocol="3.1.1"),
        ):
            wait_until(lambda: any(m.payload == b"" for m in subscriber.messages), "a removal")
            assert any(m.payload for m in subscriber.messages), "it was there before"
    finally:
        embedded.stop()


CONFIG = """
mqtt: {{broker: "127.0.0.1:{port}"{more}}}
cameras: {{porch: {{source: "scene://porch"}}, yard: {{source: "scene://yard", enabled: false}}}}
rules: {{package: {{cameras: [porch], ask: "Is there a package?"}}}}
store: off
"""


@pytest.mark.parametrize(
    ("more", "prefix"),
    [
        ("", "homeassistant"),
        (", discovery_prefix: ha/discovery", "ha/discovery"),
        (", discovery: false", None),
    ],
)
def test_the_daemon_announces_what_its_configuration_says(
    broker: Mosquitto, tmp_path: Path, more: str, prefix: str | None
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG.format(port=broker.port, more=more))
    config = load_config(path, {})
    assert config.mqtt is not None
    app = build_app(config, FakeModel({}), config.mqtt.options("test"), SystemClock())
    assert app.publisher is not None
    stop = threading.Event()
    thread = threading.Thread(target=app.publisher.run, args=(stop,))
    with Subscriber(broker.port, "#") as subscriber:
        thread.start()
        subscriber.wait_for("smolwatch/yard/availability")
        stop.set()
        thread.join(WAIT_S)
    found = [m.topic for m in subscriber.messages if m.topic.endswith("/config")]
    names = () if prefix is None else ("bridge", "porch", "yard")
    assert found == [f"{prefix}/device/smolwatch_{name}/config" for name in names]
    for topic in found[1:2]:
        assert "rule_package" in components(subscriber.on(topic)[0])


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mosquitto, Running]]:
    with (
        mosquitto(tmp_path_factory.mktemp("broker")) as broker,
        announcing(broker.port, PORCH) as running,
    ):
        wait_until(lambda: running.health().published, "sent")
        yield broker, running


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([STATUS_TOPIC, PORCH_TOPIC, "homeassistant/device/x/config"]),
            st.binary(max_size=100) | st.just(b"x" * 300_000),
        ),
        min_size=1,
        max_size=5,
    ),
    st.booleans(),
)
def test_no_payload_ends_or_blocks_the_publisher(
    lasting: tuple[Mosquitto, Running], messages: list[tuple[str, bytes]], retain: bool
) -> None:
    broker, running = lasting
    say(broker.port, *messages, retain=retain)
    published = running.health().published
    running.outbox.put(payloads.availability(TOPICS, "porch", online=True))
    wait_until(lambda: running.health().published > published, "what came later is sent")
    assert running.health().connected
    assert running.thread.is_alive()
