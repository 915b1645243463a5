"""What is sent over a link, in which order, and what becomes of it?

Knows no thread and no wait: `daemon.publisher` has them, and says what happened on the link. What
the broker did not accept is not forgotten here: it stays in the outbox, or is set aside there.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol

import structlog

from daemon.mqtt.complaints import Complaints
from daemon.mqtt.homeassistant import HomeAssistant
from daemon.mqtt.link_events import Accepted, Acknowledged, Arrived, LinkEvent, Subscribed
from daemon.mqtt.options import MqttOptions
from daemon.mqtt.payloads import Message, bridge_state
from daemon.mqtt.poison import SOON_S, Poison
from daemon.mqtt.refusals import REFUSED, Refusal, ends_the_link, packet_bytes, refused, too_large
from daemon.mqtt.replies import KEPT_S as REPLY_S
from daemon.mqtt.replies import Replies
from daemon.mqtt.topics import Topics
from daemon.outbox import IN_FLIGHT, Outbox, Queued
from pipelines.clock import Clock

log = structlog.get_logger(__name__)

_MEASURED: Final = 100  # messages whose delay is remembered


class Line(Protocol):
    """What is asked of a link (`daemon.mqtt.client.Link`)."""

    def send(self, message: Message, left_s: float | None = None) -> int:
        """Hand over; the message id that its answer will carry."""
        ...

    def subscribe(self, topic: str, *, as_published: bool = False) -> int:
        """Ask for a topic's messages; the id that the answer will carry."""
        ...

    def unsubscribe(self, topic: str) -> None:
        """Ask for no more of them."""
        ...


class Counter(Protocol):
    """Where requests are taken and answers wait (`daemon.desk.Desk`)."""

    topics: tuple[str, ...]
    replies: Replies

    def hear(self, arrived: Arrived) -> None:
        """Take in what was delivered. Neither blocks nor raises."""
        ...


class _Sent(NamedTuple):
    queued_id: int | None  # None: not from the outbox
    message: Message
    put_s: float
    sent_s: float
    is_reply: bool = False

    @property
    def key(self) -> object:
        """The same for the same message on another link."""
        if self.queued_id is not None:
            return self.queued_id
        return self.message.topic, self.message.payload


class Delivery:
    """Sends over one link after the other: what a new link must know first, then the outbox.

    `published` counts what the broker has accepted of the outbox, `refused` what it has not.
    """

    def __init__(
        self,
        outbox: Outbox,
        options: MqttOptions,
        clock: Clock,
        home: HomeAssistant | None = None,
        desk: Counter | None = None,
        *,
        measured: Callable[[float], object] = lambda _: None,
    ) -> None:
        """`measured` is given the seconds from put to acknowledged, of each message."""
        self.published = self.refused = 0
        self._outbox = outbox
        self._clock = clock
        self._home = home
        self._desk = desk
        self._topics = Topics(options.base_topic)
        self._connected = False
        self._window = 0  # how many may be in flight; 0 until the broker has accepted us
        self._max_packet: int | None = None
        self._first: deque[Message] = deque()  # goes out before anything of the outbox
        self._in_flight: dict[int, _Sent] = {}  # by paho's message id, in the order of sending
        self._subscribing: dict[int, str] = {}  # topics, by paho's message id
        self._poison = Poison()
        self._never_first: set[object] = set()  # keys of what ends links and is not in the outbox
        self._complaints = Complaints(options)
        self._measured = measured
        self._publish_ms: deque[float] = deque(maxlen=_MEASURED)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to be sent."""
        replies = len(self._desk.replies) if self._desk is not None else 0
        return not (self._first or self._in_flight or replies or self._outbox.stats().pending)

    @property
    def publish_ms_p50(self) -> float | None:
        """Median from put to acknowledged."""
        delays = list(self._publish_ms)
        return statistics.median(delays) if delays else None

    def begin(self, accepted: Accepted, line: Line) -> None:
        """A broker has accepted us: it may have no memory, other rights, and other limits."""
        now_s = self._clock.monotonic_s()
        self._connected = True
        self._window = min(IN_FLIGHT, accepted.receive_maximum)
        self._max_packet = accepted.max_packet
        if self._home is not None:  # before we announce: the broker keeps one message a topic
            for topic in self._home.connected(now_s):
                self._subscribing[line.subscribe(topic)] = topic
        for topic in self._desk.topics if self._desk is not None else ():
            self._subscribing[line.subscribe(topic, as_published=True)] = topic
        self._first = deque((bridge_state(self._topics, online=True), *self._all_retained()))
        self._outbox.retry_connected(accepted.max_packet)

    def rewire(
        self, home: HomeAssistant | None, desk: Counter | None, news: Iterable[Message]
    ) -> None:
        """Take the places of the earlier ones; their topics are the same. From any thread.

        `news` is lost with the link, since the next one is told everything.
        """
        self._home, self._desk = home, desk
        self._first.extend(news)

    def hear(self, events: Iterable[LinkEvent]) -> None:
        """Take in what happened on the link."""
        accepted: list[int] = []
        for event in events:
            match event:
                case Acknowledged():
                    accepted += self._answered(event)
                case Subscribed():
                    self._subscribed(event)
                case Arrived():
                    if self._desk is not None:
                        self._desk.hear(event)
                    if self._home is not None:
                        self._first.extend(self._home.hear(event, self._clock.monotonic_s()))
        self._outbox.acknowledge(accepted)

    def fill(self, line: Line) -> None:
        """Send as much as may be in flight."""
        self._tend_home(line)
        if self._connected:
            self._outbox.retry()
        window = min(self._window, 1) if self._poison.suspects else self._window
        while self._first and len(self._in_flight) < window:
            self._send(line, None, self._first.popleft(), None)
        while self._desk is not None and len(self._in_flight) < window:
            reply = self._desk.replies.take()
            if reply is None:
                break
            self._send(line, None, reply, REPLY_S, is_reply=True)
        free = window - len(self._in_flight)
        while free > 0 and (taken := self._outbox.take(free)):
            for queued in taken:
                self._send(line, queued, queued.message, queued.left_s)
            free = window - len(self._in_flight)

    def stop(self, line: Line) -> int:
        """Send nothing more but the last word; its message id."""
        self._window = 0
        self._first.clear()
        offline = bridge_state(self._topics, online=False)
        mid = line.send(offline)
        now_s = self._clock.monotonic_s()
        self._in_flight[mid] = _Sent(None, offline, now_s, now_s)
        return mid

    def is_unanswered(self, mid: int) -> bool:
        """Whether the broker has not answered that message yet."""
        return mid in self._in_flight

    def end(self, *, hung_up: bool) -> None:
        """The link is over. `hung_up`: the broker ended it, after it had accepted us."""
        if hung_up and self._in_flight:
            self._suspect(next(iter(self._in_flight.values())))
        if self._desk is not None:
            for sent in self._in_flight.values():
                if sent.is_reply:
                    self._desk.replies.put(sent.message)
        self._connected = False
        self._window = 0
        self._in_flight.clear()
        self._subscribing.clear()
        self._outbox.release()

    def _suspect(self, head: _Sent) -> None:
        if self._clock.monotonic_s() - head.sent_s > SOON_S:
            return
        if not self._poison.ended(head.key, alone=len(self._in_flight) == 1):
            return
        self.refused += 1
        why = ends_the_link(len(head.message.payload))
        log.error("mqtt.poison", topic=head.message.topic, reason=why.reason)
        if head.queued_id is None:
            self._never_first.add(head.key)
        else:
            self._outbox.refuse(head.queued_id, why)

    def _send(
        self,
        line: Line,
        queued: Queued | None,
        message: Message,
        left_s: float | None,
        *,
        is_reply: bool = False,
    ) -> None:
        now_s = self._clock.monotonic_s()
        sent = (
            _Sent(None, message, now_s, now_s, is_reply)
            if queued is None
            else _Sent(queued.id, message, queued.put_s, now_s)
        )
        size = packet_bytes(message.topic, message.payload, message.correlation)
        if self._max_packet is not None and size > self._max_packet:
            self._refuse(sent, too_large(size, self._max_packet))
        elif queued is not None or sent.key not in self._never_first:
            self._in_flight[line.send(message, left_s)] = sent

    def _answered(self, event: Acknowledged) -> list[int]:
        """What the outbox may forget."""
        sent = self._in_flight.pop(event.mid, None)
        if sent is None:
            return []
        self._poison.answered(sent.key)
        if event.reason.value >= REFUSED:
            self._refuse(sent, refused(event.reason.value, str(event.reason)))
            return []
        self._complaints.accepted(sent.message.topic)
        if sent.queued_id is None:
            return []
        self.published += 1
        took_s = self._clock.monotonic_s() - sent.put_s
        self._publish_ms.append(took_s * 1000)
        self._measured(took_s)
        return [sent.queued_id]

    def _refuse(self, sent: _Sent, why: Refusal) -> None:
        self.refused += 1
        self._complaints.refused(sent.message.topic, why, is_reply=sent.is_reply)
        if sent.queued_id is not None:
            self._outbox.refuse(sent.queued_id, why)

    def _subscribed(self, event: Subscribed) -> None:
        topic = self._subscribing.pop(event.mid, "")
        if event.reason.value >= REFUSED:
            self._complaints.unreadable(topic, str(event.reason))

    def _all_retained(self) -> tuple[Message, ...]:
        """Discovery before the states that it tells of."""
        announced = self._home.messages() if self._home is not None else ()
        return (*announced, *self._outbox.retained())

    def _tend_home(self, line: Line) -> None:
        """What Home Assistant is due by now."""
        if self._home is None or not self._connected:
            return
        now_s = self._clock.monotonic_s()
        if self._home.learned(now_s):
            line.unsubscribe(self._home.kept_topics)
        since_s = self._home.answer_due(now_s)
        if since_s is not None:
            self._first.extend(self._all_retained())
            replayed = self._outbox.replay(since_s)
            log.info("homeassistant.replay", alerts=replayed)
