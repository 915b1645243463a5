"""How do messages get from the outbox to the broker?

Knows no event: it keeps one link alive, sends in order, and forgets only what was acknowledged.
"""

from __future__ import annotations

import statistics
import threading
from collections import deque

import structlog
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from daemon.mqtt.client import Link
from daemon.mqtt.homeassistant import HomeAssistant
from daemon.mqtt.link_events import (
    Accepted,
    Acknowledged,
    Arrived,
    Ended,
    LinkEvent,
    Subscribed,
)
from daemon.mqtt.options import MqttOptions
from daemon.mqtt.payloads import Message, bridge_state
from daemon.mqtt.reasons import MQTT5, MQTT311, Problem, next_protocol
from daemon.mqtt.records import Protocol, PublisherHealth
from daemon.mqtt.retry import Retry
from daemon.mqtt.topics import Topics
from daemon.outbox import IN_FLIGHT, Outbox, Queued
from pipelines.clock import Clock

log = structlog.get_logger(__name__)

POLL_S = 0.2  # the longest a stop goes unnoticed; news wakes the thread at once
ACCEPT_S = 10.0  # for name, socket and the answer to CONNECT together
FLUSH_S = 2.0  # what a stop may cost, of the five seconds that a service has to end
GOODBYE_S = 0.5
_FAILURE = 0x80  # MQTT 5, 2.4: reason codes from here on are refusals
_PROTOCOLS: dict[MQTTProtocolVersion, Protocol] = {MQTT5: "5", MQTT311: "3.1.1"}


class Publisher:
    """The publisher thread. Raises `BrokerError` at once for a CA file that cannot be used.

    On each connect it says `online`, repeats every retained topic, and goes on with the outbox.
    Nothing here raises for a broker that is away, refuses, or comes back without its memory.
    """

    def __init__(
        self,
        outbox: Outbox,
        options: MqttOptions,
        clock: Clock,
        retry: Retry | None = None,
        home: HomeAssistant | None = None,
    ) -> None:
        self._outbox = outbox
        self._options = options
        self._clock = clock
        self._retry = retry or Retry()
        self._home = home
        self._topics = Topics(options.base_topic)
        self._tls = options.tls_context()
        self._protocol = MQTT5 if options.protocol == "auto" else MQTT311
        self._worked: MQTTProtocolVersion | None = None
        self._problem: Problem | None = None
        self._connected = False
        self._connected_s = 0.0
        self._window = 0  # how many may be in flight; 0 until the broker has accepted us
        self._first: deque[Message] = deque()  # goes out before anything of the outbox
        self._in_flight: dict[int, Queued | Message] = {}  # by paho's message id
        self._subscribing: dict[int, str] = {}  # topics, by paho's message id
        self._published = self._refused = 0
        self._refused_topics: set[str] = set()
        self._publish_ms: deque[float] = deque(maxlen=100)
        self._heartbeat_s = clock.monotonic_s()

    def run(self, stop: threading.Event) -> None:
        """Keep a link until `stop`, then flush, say `offline` and go, within four seconds."""
        failures = 0
        while not stop.is_set():
            end = self._run_link(stop)
            if end is None:
                return
            lived_s = self._clock.monotonic_s() - self._connected_s if end.accepted else 0.0
            failures = 1 if lived_s > self._retry.cap_s else failures + 1
            if self._falls_back(end):
                continue
            self._log_problem(end.problem)
            self._pause(stop, self._retry.delay_s(failures, end.problem))

    def health(self) -> PublisherHealth:
        """How it does, from any thread."""
        stats = self._outbox.stats()
        delays = list(self._publish_ms)
        return PublisherHealth(
            connected=self._connected,
            protocol=None if self._worked is None else _PROTOCOLS[self._worked],
            problem=None if self._problem is None else self._problem.message,
            pending=stats.pending,
            oldest_s=stats.oldest_s,
            published=self._published,
            refused=self._refused,
            dropped=sum(stats.dropped.values()),
            dropped_alerts=stats.dropped["alert"],
            publish_ms_p50=statistics.median(delays) if delays else None,
            heartbeat_s=self._heartbeat_s,
        )

    def _run_link(self, stop: threading.Event) -> Ended | None:
        """One link, from its first packet to its end; None if `stop` ended it."""
        will = bridge_state(self._topics, online=False)
        link = Link(self._options, self._protocol, will, self._outbox.changed, self._tls)
        link.open()
        give_up_s = self._clock.monotonic_s() + ACCEPT_S
        end: Ended | None = None
        while end is None and not stop.is_set():
            end = self._step(link)
            if not (end or self._connected) and self._clock.monotonic_s() > give_up_s:
                end = Ended(_no_answer(self._options.broker), accepted=False)
        if end is None and self._connected:
            self._say_goodbye(link)
        link.close(0.0 if end else GOODBYE_S)
        self._connected = False
        self._window = 0
        self._in_flight.clear()
        self._subscribing.clear()
        self._outbox.release()
        return end

    def _step(self, link: Link) -> Ended | None:
        """Wait for news, take it in, fill the window."""
        self._heartbeat_s = self._clock.monotonic_s()
        self._outbox.changed.wait(POLL_S)
        self._outbox.changed.clear()
        for event in link.events():
            if isinstance(event, Ended):
                return event
            self._take(event, link)
        self._tend_home(link)
        while len(self._in_flight) < self._window:
            due = self._first.popleft() if self._first else self._outbox.next()
            if due is None:
                break
            message = due.message if isinstance(due, Queued) else due
            self._in_flight[link.send(message)] = due
        return None

    def _take(self, event: LinkEvent, link: Link) -> None:
        if isinstance(event, Accepted):
            self._take_accepted(event, link)
        elif isinstance(event, Acknowledged):
            self._take_acknowledged(event)
        elif isinstance(event, Subscribed):
            self._take_subscribed(event)
        elif isinstance(event, Arrived) and self._home is not None:
            self._first.extend(self._home.hear(event, self._clock.monotonic_s()))

    def _take_accepted(self, event: Accepted, link: Link) -> None:
        self._connected = True
        self._connected_s = self._clock.monotonic_s()
        self._worked = self._protocol
        self._problem = None
        self._window = min(IN_FLIGHT, event.receive_maximum)
        if self._home is not None:  # before we announce: the broker keeps one message a topic
            for topic in self._home.connected(self._connected_s):
                self._subscribing[link.subscribe(topic)] = topic
        self._first = deque((bridge_state(self._topics, online=True), *self._all_retained()))
        log.info(
            "mqtt.connected",
            broker=self._options.broker,
            protocol=_PROTOCOLS[self._protocol],
            pending=self._outbox.stats().pending,
        )

    def _all_retained(self) -> tuple[Message, ...]:
        """Discovery before the states that it tells of."""
        announced = self._home.messages() if self._home is not None else ()
        return (*announced, *self._outbox.retained())

    def _tend_home(self, link: Link) -> None:
        """What Home Assistant is due by now."""
        if self._home is None or not self._connected:
            return
        now_s = self._clock.monotonic_s()
        if self._home.learned(now_s):
            link.unsubscribe(self._home.kept_topics)
        if self._home.answer_due(now_s):
            self._first.extend(self._all_retained())

    def _take_subscribed(self, event: Subscribed) -> None:
        topic = self._subscribing.pop(event.mid, "")
        if event.reason.value >= _FAILURE:
            self._log_refusal("mqtt.subscribe_refused", topic, event.reason, f"read {topic}")

    def _take_acknowledged(self, event: Acknowledged) -> None:
        sent = self._in_flight.pop(event.mid, None)
        if sent is None:
            return
        message = sent.message if isinstance(sent, Queued) else sent
        if event.reason.value >= _FAILURE:
            self._refused += 1
            if message.topic not in self._refused_topics:
                self._refused_topics.add(message.topic)
                base = f"{self._options.base_topic}/"
                where = f"{base}#" if message.topic.startswith(base) else message.topic
                self._log_refusal(
                    "mqtt.publish_refused", message.topic, event.reason, f"write to {where}"
                )
            if isinstance(sent, Queued):
                self._outbox.refuse(sent.id)
            return
        self._refused_topics.discard(message.topic)
        if isinstance(sent, Queued):
            self._published += 1
            self._publish_ms.append((self._clock.monotonic_s() - sent.put_s) * 1000)
            self._outbox.acknowledge(sent.id)

    def _log_refusal(self, event: str, topic: str, reason: ReasonCode, right: str) -> None:
        who = f"user {self._options.username!r}"
        hint = f"let {who} {right} in the broker's access list"
        log.error(event, topic=topic, reason=str(reason), hint=hint)

    def _say_goodbye(self, link: Link) -> None:
        """Send what is left, for a bounded time, then `offline` and no more."""
        deadline_s = self._clock.monotonic_s() + FLUSH_S
        while self._first or self._outbox.stats().pending:
            if self._clock.monotonic_s() > deadline_s or self._step(link) is not None:
                break
        self._window = 0
        offline = bridge_state(self._topics, online=False)
        mid = link.send(offline)
        self._in_flight[mid] = offline
        deadline_s = self._clock.monotonic_s() + GOODBYE_S
        while mid in self._in_flight and self._clock.monotonic_s() < deadline_s:
            if self._step(link) is not None:
                break
        pending = self._outbox.stats().pending
        log.info("mqtt.closed", broker=self._options.broker, unsent=pending)

    def _falls_back(self, end: Ended) -> bool:
        """Choose the next protocol; True if it is to be tried at once."""
        if self._options.protocol != "auto":
            return False
        silent = end.problem.cause in ("closed", "no_answer")
        self._protocol = next_protocol(
            self._protocol, refused=end.protocol_refused, silent=silent, worked=self._worked
        )
        at_once = end.protocol_refused and self._protocol == MQTT311
        if at_once:
            log.info("mqtt.fallback", broker=self._options.broker, protocol="3.1.1")
        return at_once

    def _log_problem(self, problem: Problem) -> None:
        """Once per state: an hour of refused connections is one line."""
        known, self._problem = self._problem, problem
        if known is None or known.cause != problem.cause:
            log.warning(
                "mqtt.unavailable",
                broker=self._options.broker,
                cause=problem.cause,
                error=problem.message,
                pending=self._outbox.stats().pending,
            )

    def _pause(self, stop: threading.Event, delay_s: float) -> None:
        """Wait before the next attempt, in steps that show life."""
        until_s = self._clock.monotonic_s() + delay_s
        while (left_s := until_s - self._clock.monotonic_s()) > 0:
            self._heartbeat_s = self._clock.monotonic_s()
            if self._clock.wait(stop, min(left_s, 1.0)):
                return


def _no_answer(broker: str) -> Problem:
    return Problem(
        "no_answer",
        f"{broker} accepted the connection but not the session within {ACCEPT_S:.0f} s: is the "
        "broker overloaded or frozen, and is that port MQTT?",
    )
