"""Are answers sent before what waits, and again when the link was lost with them?"""

from __future__ import annotations

import itertools

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode
from structlog.typing import EventDict

from daemon.delivery import Delivery
from daemon.mqtt.link_events import Accepted, Acknowledged, Arrived
from daemon.mqtt.options import MqttOptions
from daemon.mqtt.payloads import Message
from daemon.mqtt.replies import KEPT_S, Replies
from daemon.outbox import Outbox
from tests.fakes import FakeClock

REFUSED = ReasonCode(PacketTypes.PUBACK, identifier=0x87)
TAKEN = ReasonCode(PacketTypes.PUBACK, identifier=0)


class Line:
    """A link that only remembers."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, str, float | None]] = []
        self.topics: list[tuple[str, bool]] = []
        self._mids = itertools.count(1)

    def send(self, message: Message, left_s: float | None = None) -> int:
        mid = next(self._mids)
        self.sent.append((mid, message.topic, left_s))
        return mid

    def subscribe(self, topic: str, *, as_published: bool = False) -> int:
        self.topics.append((topic, as_published))
        return next(self._mids)

    def unsubscribe(self, topic: str) -> None:
        self.topics = [told for told in self.topics if told[0] != topic]


class Desk:
    topics = ("smolwatch/+/set",)

    def __init__(self, replies: Replies) -> None:
        self.replies = replies
        self.heard: list[Arrived] = []

    def hear(self, arrived: Arrived) -> None:
        self.heard.append(arrived)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def outbox(clock: FakeClock) -> Outbox:
    return Outbox(clock)


@pytest.fixture
def desk(clock: FakeClock, outbox: Outbox) -> Desk:
    return Desk(Replies(clock, outbox.changed))


@pytest.fixture
def delivery(clock: FakeClock, outbox: Outbox, desk: Desk) -> Delivery:
    return Delivery(outbox, MqttOptions("h"), clock, desk=desk)


def answer(topic: str) -> Message:
    return Message(topic, b"{}", 1, retain=False, kind="state")


def begun(delivery: Delivery) -> Line:
    """A new link, whose first words are taken."""
    line = Line()
    delivery.begin(Accepted(20), line)
    delivery.fill(line)
    delivery.hear([Acknowledged(mid, TAKEN) for mid, _, _ in line.sent])
    line.sent.clear()
    return line


def test_commands_are_subscribed_to_and_handed_on(delivery: Delivery, desk: Desk) -> None:
    assert begun(delivery).topics == [("smolwatch/+/set", True)]
    arrived = Arrived("smolwatch/a/set", b"{}", False)
    delivery.hear([arrived])
    assert desk.heard == [arrived]


def test_an_answer_goes_before_what_waits(delivery: Delivery, desk: Desk, outbox: Outbox) -> None:
    line = begun(delivery)
    outbox.put(answer("state"))
    desk.replies.put(answer("reply"))
    assert not delivery.is_done
    delivery.fill(line)
    assert [topic for _, topic, _ in line.sent] == ["reply", "state"]
    assert line.sent[0][2] == KEPT_S  # nobody waits longer for it


def test_an_answer_that_was_on_its_way_is_sent_again(delivery: Delivery, desk: Desk) -> None:
    line = begun(delivery)
    for topic in ("a", "b"):
        desk.replies.put(answer(topic))
    delivery.fill(line)
    delivery.hear([Acknowledged(line.sent[0][0], TAKEN)])
    delivery.end(hung_up=False)
    again = Line()
    delivery.begin(Accepted(20), again)
    delivery.fill(again)
    assert [topic for _, topic, _ in again.sent][1:] == ["b"]


def test_answers_wait_while_there_is_no_link_but_not_for_long(
    delivery: Delivery, desk: Desk, clock: FakeClock
) -> None:
    desk.replies.put(answer("old"))
    clock.advance(KEPT_S)
    desk.replies.put(answer("new"))
    line = Line()
    delivery.begin(Accepted(20), line)
    delivery.fill(line)
    assert [topic for _, topic, _ in line.sent][1:] == ["new"]


def test_topics_that_others_choose_are_named_once(
    delivery: Delivery, desk: Desk, logs: list[EventDict]
) -> None:
    line = begun(delivery)
    for number in range(3):
        desk.replies.put(answer(f"their/topic/{number}"))
        delivery.fill(line)
        delivery.hear([Acknowledged(line.sent[-1][0], REFUSED)])
    (entry,) = [entry for entry in logs if entry["event"] == "mqtt.publish_refused"]
    assert entry["topic"] == "a response topic"
