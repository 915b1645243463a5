"""Does the embedded broker serve real clients, on loopback only, and end when told?"""

from __future__ import annotations

import logging
import socket
import threading

import pytest

from daemon.mqtt import payloads
from daemon.mqtt.embedded import EmbeddedBroker
from daemon.mqtt.options import MqttOptions
from daemon.mqtt.payloads import event_content, event_messages
from daemon.mqtt.reasons import MQTT311, BrokerError
from daemon.mqtt.topics import Topics
from daemon.outbox import Outbox
from daemon.publisher import Publisher
from pipelines.clock import SystemClock
from tests.daemon.events import match
from tests.mosquitto import Subscriber, wait_until

TOPICS = Topics()


def test_publisher_and_subscriber_meet_over_it() -> None:
    clock = SystemClock()
    outbox = Outbox(clock)
    stop = threading.Event()
    with EmbeddedBroker() as broker:
        options = MqttOptions("127.0.0.1", broker.port, protocol="3.1.1")
        publisher = Publisher(outbox, options, clock)
        thread = threading.Thread(target=publisher.run, args=(stop,))
        thread.start()
        try:
            outbox.put(payloads.availability(TOPICS, "porch", online=True))
            wait_until(lambda: publisher.health().published == 1, "acknowledged with QoS 1")
            with Subscriber(broker.port, protocol=MQTT311) as subscriber:
                (kept,) = subscriber.wait_for("smolwatch/porch/availability")
                assert kept.content == {"state": "online"}
                assert kept.retain
                for n in range(50):
                    for message in event_messages(TOPICS, match(n), event_content(match(n), 1.0)):
                        outbox.put(message)
                events = subscriber.wait_for("smolwatch/porch/event", 50)
                assert [m.content["event_id"] for m in events] == [
                    match(n).event_id for n in range(50)
                ]
                assert {m.qos for m in events} == {1}
                stop.set()
                subscriber.wait_for_state("smolwatch/bridge/state", "offline")
        finally:
            stop.set()
            thread.join(15.0)
        assert publisher.health().pending == 0


def test_it_listens_on_loopback_only_and_its_port_is_free_after_stop() -> None:
    broker = EmbeddedBroker()
    port = broker.start()
    assert port == broker.port != 0
    socket.create_connection(("127.0.0.1", port), 5.0).close()
    with pytest.raises(ConnectionRefusedError):  # Linux has all of 127/8 on its loopback
        socket.create_connection(("127.0.0.2", port), 5.0)
    broker.stop()
    broker.stop()  # nothing left to do
    with EmbeddedBroker(port) as again:
        assert again.port == port


def test_a_port_that_is_taken_is_named_with_the_way_out() -> None:
    with EmbeddedBroker() as first, pytest.raises(BrokerError, match=f"{first.port}.*or 0"):
        EmbeddedBroker(first.port).start()


def test_it_says_nothing_about_its_clients(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), EmbeddedBroker() as broker:
        line = socket.create_connection(("127.0.0.1", broker.port), 5.0)
        line.sendall(b"GET / HTTP/1.0\r\n\r\n")
        line.close()
        Subscriber(broker.port, protocol=MQTT311).__exit__()
    assert caplog.messages == []


def test_it_ends_with_clients_still_there() -> None:
    with EmbeddedBroker() as broker:
        silent = socket.create_connection(("127.0.0.1", broker.port), 5.0)
        subscriber = Subscriber(broker.port, protocol=MQTT311)
    silent.settimeout(5.0)
    assert silent.recv(1) == b""  # closed, not forgotten
    silent.close()
    subscriber.__exit__()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", broker.port), 5.0)
