"""Does everything reach a real broker, in order, whatever the broker does?"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.typing import EventDict

from daemon.mqtt import payloads
from daemon.mqtt.options import MqttOptions
from daemon.mqtt.payloads import event_content, event_messages
from daemon.mqtt.reasons import Problem
from daemon.mqtt.records import CameraHealth, PublisherHealth
from daemon.mqtt.retry import Retry
from daemon.mqtt.topics import Topics
from daemon.outbox import Outbox
from daemon.publisher import Publisher
from pipelines.clock import SystemClock
from pipelines.types import Event
from tests.daemon.events import DESCRIBE, match
from tests.mosquitto import (
    WAIT_S,
    Gate,
    Mosquitto,
    Subscriber,
    free_port,
    mosquitto,
    wait_until,
)

TOPICS = Topics()
STATE, EVENT = "smolwatch/bridge/state", "smolwatch/porch/event"
RULE = "smolwatch/porch/rule/package_delivered"
QUICK = Retry(first_s=0.05, cap_s=0.2, slow_cap_s=0.2)


class Running:
    """A publisher on its thread, and what a test asks of it."""

    def __init__(self, options: MqttOptions) -> None:
        clock = SystemClock()
        self.outbox = Outbox(clock)
        self.publisher = Publisher(self.outbox, options, clock, QUICK)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.publisher.run, args=(self.stop,))
        self.thread.start()

    def tell(self, event: Event) -> None:
        for message in event_messages(TOPICS, event, event_content(event, 1.0)):
            self.outbox.put(message)

    def wait_for(self, condition: Callable[[PublisherHealth], object], what: str) -> None:
        wait_until(lambda: condition(self.publisher.health()), what)

    def wait_connected(self) -> None:
        self.wait_for(lambda health: health.connected, "connected")

    def end(self) -> None:
        self.stop.set()
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive(), "the publisher did not end"


@contextmanager
def publishing(port: int, **options: Any) -> Iterator[Running]:
    running = Running(MqttOptions("127.0.0.1", port, **options))
    try:
        yield running
    finally:
        running.end()


def named(logs: list[EventDict], event: str) -> list[EventDict]:
    return [entry for entry in logs if entry["event"] == event]


def ids(subscriber: Subscriber) -> list[object]:
    """The event ids received, each at its first arrival."""
    return list(dict.fromkeys(m.content["event_id"] for m in subscriber.on(EVENT)))


def test_events_arrive_in_order_with_their_qos_and_retain_flags(broker: Mosquitto) -> None:
    events = [match(n) for n in range(60)]
    with Subscriber(broker.port) as subscriber, publishing(broker.port) as running:
        for event in events:
            running.tell(event)
        running.tell(DESCRIBE)
        running.outbox.put(payloads.availability(TOPICS, "porch", online=True))
        subscriber.wait_for("smolwatch/porch/availability")
        subscriber.wait_for("smolwatch/porch/description")  # gives way to states, so may be later
        subscriber.wait_for(EVENT, len(events) + 1)
        assert ids(subscriber) == [event.event_id for event in (*events, DESCRIBE)]
        flags = {m.topic: (m.qos, m.retain) for m in subscriber.messages}
        assert flags == {
            STATE: (1, True),
            EVENT: (1, False),
            RULE: (1, True),
            "smolwatch/porch/description": (1, True),
            "smolwatch/porch/availability": (1, True),
        }
        assert subscriber.on(EVENT)[0].content == event_content(events[0], 1.0)
        assert subscriber.messages[0].topic == STATE  # before anything else


def test_health_messages_go_out_with_qos_0(broker: Mosquitto) -> None:
    health = CameraHealth(5.0, 0.1, 200.0, 0, 1, 0, 0.0, 0, None)
    with Subscriber(broker.port) as subscriber, publishing(broker.port) as running:
        running.outbox.put(payloads.camera_health(TOPICS, "porch", health))
        (received,) = subscriber.wait_for("smolwatch/porch/health")
        assert (received.qos, received.retain) == (0, False)
        running.wait_for(lambda h: h.pending == 0, "the outbox is empty")


def test_the_snapshot_tells_how_it_goes(broker: Mosquitto) -> None:
    with publishing(broker.port) as running:
        running.tell(match())
        running.wait_for(lambda h: h.published == 2 and h.pending == 0, "published")
        health = running.publisher.health()
        assert (health.connected, health.protocol, health.problem) == (True, "5", None)
        assert (health.refused, health.dropped, health.oldest_s) == (0, 0, 0.0)
        assert health.publish_ms_p50 is not None
        before = health.heartbeat_s
        running.wait_for(lambda h: h.heartbeat_s > before, "the heartbeat moves without news")
    assert not running.publisher.health().connected


def test_a_clean_exit_flushes_and_says_offline(broker: Mosquitto, logs: list[EventDict]) -> None:
    with Subscriber(broker.port) as subscriber:
        with publishing(broker.port) as running:
            running.wait_connected()
            for n in range(100):
                running.tell(match(n))
        subscriber.wait_for_state(STATE, "offline")
        assert len(ids(subscriber)) == 100
        assert subscriber.messages[-1].topic == STATE
    with Subscriber(broker.port) as late:  # and the broker keeps it
        late.wait_for_state(STATE, "offline")
    assert [entry["unsent"] for entry in named(logs, "mqtt.closed")] == [0]


def test_a_clean_exit_leaves_the_will_unsaid(broker: Mosquitto) -> None:
    with Subscriber(broker.port, "#") as subscriber:
        with publishing(broker.port) as running:
            running.wait_connected()
        with publishing(broker.port, base_topic="later", client_id="later"):
            subscriber.wait_for("later/bridge/state")  # by now the broker would have spoken
        assert [m.content["state"] for m in subscriber.on(STATE)] == ["online", "offline"]


def test_the_last_will_speaks_for_a_killed_process(broker: Mosquitto) -> None:
    program = (
        "import sys, threading\n"
        "from daemon.mqtt.options import MqttOptions\n"
        "from daemon.outbox import Outbox\n"
        "from daemon.publisher import Publisher\n"
        "from pipelines.clock import SystemClock\n"
        "clock = SystemClock()\n"
        "options = MqttOptions('127.0.0.1', int(sys.argv[1]))\n"
        "Publisher(Outbox(clock), options, clock).run(threading.Event())\n"
    )
    with Subscriber(broker.port) as subscriber:
        child = subprocess.Popen([sys.executable, "-c", program, str(broker.port)])
        try:
            subscriber.wait_for_state(STATE, "online")
        finally:
            child.kill()
            child.wait(WAIT_S)
        will = subscriber.wait_for_state(STATE, "offline")
        assert (will.qos, will.retain) == (1, True)


def test_a_cut_line_brings_the_will_and_then_online_again(broker: Mosquitto) -> None:
    with Gate(broker.port) as gate, Subscriber(broker.port) as subscriber:
        with publishing(gate.port) as running:
            subscriber.wait_for_state(STATE, "online")
            gate.cut()
            subscriber.wait_for(STATE, 3)
            running.tell(match())
            subscriber.wait_for(EVENT)
        subscriber.wait_for_state(STATE, "offline")
        states = [m.content["state"] for m in subscriber.on(STATE)]
        assert states == ["online", "offline", "online", "offline"]


def test_a_broker_that_comes_late_gets_everything_in_order(
    tmp_path: Path, logs: list[EventDict]
) -> None:
    broker = Mosquitto(tmp_path)
    with publishing(broker.port) as running:
        for n in range(200):
            running.tell(match(n))
        running.wait_for(lambda h: h.problem, "the problem shows")
        assert "start the broker" in str(running.publisher.health().problem)
        broker.start()
        try:
            running.wait_for(lambda h: h.pending == 0, "all sent")
            with Subscriber(broker.port) as subscriber:  # the newest rule state was kept
                (kept,) = subscriber.wait_for(RULE)
                assert kept.content["state"] == "ON"
            assert running.publisher.health().published == 400
        finally:
            running.end()
            broker.stop()
    assert [entry["cause"] for entry in named(logs, "mqtt.unavailable")] == ["refused"]


def test_what_waited_for_the_broker_arrives_in_order(broker: Mosquitto) -> None:
    with Gate(broker.port) as gate, Subscriber(broker.port) as subscriber:
        port = gate.port
        events = [match(n) for n in range(200)]
        running = Running(MqttOptions("127.0.0.1", port))
        for event in events:
            running.tell(event)
        subscriber.wait_for(EVENT, 200)
        running.end()
        assert ids(subscriber) == [event.event_id for event in events]


def test_two_of_the_same_name_are_told_so(broker: Mosquitto, logs: list[EventDict]) -> None:
    with publishing(broker.port) as first:
        first.wait_connected()
        with publishing(broker.port):
            wait_until(lambda: named(logs, "mqtt.unavailable"), "one is thrown out")
    entry = named(logs, "mqtt.unavailable")[0]
    assert entry["cause"] in {"lost", "taken_over"}  # some brokers say why, some do not
    assert "mqtt.client_id" in entry["error"]


def test_nothing_is_lost_while_lines_break(broker: Mosquitto) -> None:
    """At least once and in order, over a line that is cut again and again."""
    with (
        Gate(broker.port) as gate,
        Subscriber(broker.port) as subscriber,
        publishing(gate.port) as running,
    ):
        for n in range(300):
            running.tell(match(n))
            if n % 60 == 30:
                running.wait_connected()
                gate.cut()
        wait_until(lambda: len(ids(subscriber)) == 300, "300 events")
        assert ids(subscriber) == [match(n).event_id for n in range(300)]
        assert len(gate.connects) > 1


def test_a_restarted_broker_without_memory_gets_all_retained_topics_back(
    broker: Mosquitto,
) -> None:
    told = [
        payloads.bridge_info(TOPICS, version="1", model_id="m", configuration={}),
        payloads.bridge_cameras(TOPICS, []),
        payloads.availability(TOPICS, "porch", online=True),
        payloads.camera_state(TOPICS, "porch", enabled=True, prompt="", rules={}),
        *event_messages(TOPICS, match(), event_content(match(), 1.0))[1:],
        *event_messages(TOPICS, DESCRIBE, event_content(DESCRIBE, 1.0))[1:],
    ]
    with publishing(broker.port) as running:
        for message in told:
            running.outbox.put(message)
        running.wait_for(lambda h: h.pending == 0, "all sent")
        broker.stop()
        running.wait_for(lambda h: not h.connected, "the loss is noticed")
        newer = payloads.availability(TOPICS, "porch", online=False)
        running.outbox.put(newer)
        running.tell(match(2))
        broker.start()
        running.wait_for(lambda h: h.connected and h.pending == 0, "all sent again")
        with Subscriber(broker.port) as subscriber:
            wait_until(lambda: len(subscriber.messages) >= 7, "retained topics")
            kept = {m.topic: m.payload for m in subscriber.messages}
        expected = {message.topic: message.payload for message in told}
        assert kept == {
            **expected,
            STATE: b'{"state":"online"}',
            newer.topic: newer.payload,
            RULE: kept[RULE],
        }
        assert json.loads(kept[RULE])["state"] == "ON"


def test_a_frozen_broker_blocks_nobody_and_loses_nothing(broker: Mosquitto) -> None:
    with Subscriber(broker.port) as subscriber, publishing(broker.port) as running:
        running.wait_connected()
        broker.freeze()
        for n in range(200):
            running.tell(match(n))  # returns, or the test's time limit ends it
        assert running.publisher.health().pending == 400
        broker.thaw()
        wait_until(lambda: len(ids(subscriber)) == 200, "200 events")
        assert ids(subscriber) == [match(n).event_id for n in range(200)]


def test_a_frozen_broker_does_not_hold_up_the_end(broker: Mosquitto) -> None:
    with publishing(broker.port) as running:
        running.wait_connected()
        broker.freeze()
        running.tell(match())
        running.end()
        assert running.publisher.health().pending == 2  # not acknowledged, so not forgotten


def test_user_and_password_are_accepted(tmp_path: Path) -> None:
    login = {"smolwatch": "hunter2", "reader": "r"}
    with (
        mosquitto(tmp_path, users=login) as broker,
        Subscriber(broker.port, login=("reader", "r")) as subscriber,
        publishing(broker.port, username="smolwatch", password="hunter2") as running,
    ):
        running.tell(match())
        assert len(subscriber.wait_for(EVENT)) == 1


@pytest.mark.parametrize("protocol", ["auto", "3.1.1"])
def test_a_wrong_password_is_said_once_in_words_and_never_shown(
    tmp_path: Path, logs: list[EventDict], protocol: str
) -> None:
    with (
        mosquitto(tmp_path, users={"smolwatch": "right"}) as broker,
        Gate(broker.port) as gate,
        publishing(
            gate.port, username="smolwatch", password="hunter2", protocol=protocol
        ) as running,
    ):
        running.tell(match())
        wait_until(lambda: len(gate.connects) >= 4, "it keeps trying")
        health = running.publisher.health()
        assert not health.connected
        assert health.pending == 2
        assert "mqtt.password_file" in str(health.problem)
        assert "Not authorized" in str(health.problem)
    (entry,) = named(logs, "mqtt.unavailable")
    assert entry["cause"] == "not_authorized"
    assert "hunter2" not in repr((logs, health, running.publisher.__dict__))


def test_a_topic_that_the_broker_refuses_is_given_up_and_said(
    tmp_path: Path, logs: list[EventDict]
) -> None:
    access = (
        "user smolwatch\ntopic write smolwatch/bridge/#\ntopic write smolwatch/porch/event\n"
        "user reader\ntopic read #\n"
    )
    users = {"smolwatch": "pw", "reader": "r"}
    with (
        mosquitto(tmp_path, users, access) as broker,
        Subscriber(broker.port, login=("reader", "r")) as subscriber,
        publishing(broker.port, username="smolwatch", password="pw") as running,
    ):
        for n in range(30):  # more than the window holds: a refusal must not fill it up
            running.tell(match(n))
        running.wait_for(lambda h: h.pending == 0, "the outbox is empty")
        health = running.publisher.health()
        assert (health.published, health.refused) == (30, 30)
        assert len(subscriber.wait_for(EVENT, 30)) == 30
    (entry,) = named(logs, "mqtt.publish_refused")
    assert entry["topic"] == RULE
    assert entry["reason"] == "Not authorized"
    assert "access list" in entry["hint"]


@pytest.mark.parametrize(("answer", "levels"), [("refuse", [5, 4]), ("close", [5, 4])])
def test_a_broker_without_mqtt_5_gets_3_1_1_and_it_is_remembered(
    broker: Mosquitto, answer: Any, levels: list[int], logs: list[EventDict]
) -> None:
    with Gate(broker.port, mqtt5=answer) as gate, Subscriber(broker.port) as subscriber:
        with publishing(gate.port) as running:
            running.tell(match())
            subscriber.wait_for(EVENT)
            assert running.publisher.health().protocol == "3.1.1"
            assert gate.connects == levels
            gate.cut()
            wait_until(lambda: len(gate.connects) == 3, "it connects again")
            running.tell(match(2))
            subscriber.wait_for(EVENT, 2)
            assert gate.connects == [*levels, 4]
        subscriber.wait_for_state(STATE, "offline")
    assert [entry["protocol"] for entry in named(logs, "mqtt.connected")] == ["3.1.1", "3.1.1"]


def test_a_restart_does_not_make_it_forget_mqtt_5(broker: Mosquitto) -> None:
    with Gate(broker.port) as gate, publishing(gate.port) as running:
        running.wait_connected()
        gate.mqtt5 = "close"
        gate.cut()
        wait_until(lambda: len(gate.connects) >= 4, "it tries again")
        gate.mqtt5 = "pass"
        running.wait_connected()
        assert set(gate.connects) == {5}


@pytest.mark.parametrize(
    "nonsense",
    [
        pytest.param(b"\x20\x02\x00\x77", id="unknown reason"),
        pytest.param(b"\x20\x01\x00", id="too short"),
        pytest.param(b"\x20\x06\x00\x00\x03\xff\xff\xff", id="broken properties"),
        pytest.param(b"HTTP/1.0 400 Bad Request\r\n\r\n", id="a web server"),
        pytest.param(bytes(range(256)), id="all bytes"),
    ],
)
def test_nonsense_instead_of_mqtt_ends_no_thread(broker: Mosquitto, nonsense: bytes) -> None:
    with Gate(broker.port) as gate:
        gate.nonsense = nonsense
        with publishing(gate.port) as running:
            running.tell(match())
            wait_until(lambda: len(gate.connects) >= 3, "it tries again")
            assert running.publisher.health().pending == 2
            gate.nonsense = None
            running.wait_for(lambda h: h.published == 2, "it gets through")


@pytest.mark.parametrize(
    ("host", "cause"), [("no-such-host.invalid", "unresolvable"), ("a" * 70, "not_mqtt")]
)
def test_a_name_that_is_no_host_is_said_once(logs: list[EventDict], host: str, cause: str) -> None:
    running = Running(MqttOptions(host, free_port()))
    try:
        running.wait_for(lambda h: h.problem, "the problem shows")
        beat = running.publisher.health().heartbeat_s
        running.wait_for(lambda h: h.heartbeat_s > beat, "it tries again")
    finally:
        running.end()
    assert [entry["cause"] for entry in named(logs, "mqtt.unavailable")] == [cause]
    assert "mqtt.broker" in named(logs, "mqtt.unavailable")[0]["error"]


def test_a_wrong_password_is_retried_more_slowly_than_an_absent_broker() -> None:
    retry = Retry(first_s=0.5, cap_s=15.0, slow_cap_s=60.0)
    away, wrong = Problem("refused", ""), Problem("bad_password", "")
    assert [retry.delay_s(n, away) for n in (1, 2, 3, 6, 100)] == [0.5, 1.0, 2.0, 15.0, 15.0]
    assert [retry.delay_s(n, wrong) for n in (1, 6, 100)] == [0.5, 16.0, 60.0]
