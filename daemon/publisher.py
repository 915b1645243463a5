"""How is there always a link to the broker, and when is it given up?

Knows no message: what goes over a link is `daemon.delivery`'s. This is the thread, with its waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import structlog
from paho.mqtt.enums import MQTTProtocolVersion

from daemon.delivery import Counter, Delivery
from daemon.mqtt.client import Link
from daemon.mqtt.homeassistant import HomeAssistant
from daemon.mqtt.link_events import Accepted, Ended, LinkEvent
from daemon.mqtt.options import MqttOptions
from daemon.mqtt.payloads import Message, bridge_state
from daemon.mqtt.reasons import MQTT5, MQTT311, BrokerError, Problem, next_protocol
from daemon.mqtt.records import Protocol, PublisherHealth
from daemon.mqtt.retry import Retry
from daemon.mqtt.topics import Topics
from daemon.outbox import Outbox
from pipelines.clock import Clock

log = structlog.get_logger(__name__)

POLL_S = 0.2  # the longest a stop goes unnoticed; news wakes the thread at once
ACCEPT_S = 10.0  # for name, socket and the answer to CONNECT together
FLUSH_S = 2.0  # what a stop may cost, of the five seconds that a service has to end
GOODBYE_S = 0.5
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
        desk: Counter | None = None,
        *,
        measured: Callable[[float], object] = lambda _: None,
    ) -> None:
        self._outbox = outbox
        self._options = options
        self._clock = clock
        self._retry = retry or Retry()
        self._delivery = Delivery(outbox, options, clock, home, desk, measured=measured)
        self._topics = Topics(options.base_topic)
        self._tls = options.tls.context() if options.tls else None
        self._protocol = MQTT5 if options.protocol == "auto" else MQTT311
        self._worked: MQTTProtocolVersion | None = None
        self._problem: Problem | None = None
        self._connected = False
        self._connected_s = 0.0
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

    def rewire(
        self, home: HomeAssistant | None, desk: Counter | None, news: Iterable[Message]
    ) -> None:
        """Announce and take requests by these from now on, and send `news`. From any thread."""
        self._delivery.rewire(home, desk, news)
        self._outbox.changed.set()

    def health(self) -> PublisherHealth:
        """How it does, from any thread."""
        stats = self._outbox.stats()
        return PublisherHealth(
            connected=self._connected,
            protocol=None if self._worked is None else _PROTOCOLS[self._worked],
            problem=None if self._problem is None else self._problem.message,
            pending=stats.pending,
            oldest_s=stats.oldest_s,
            published=self._delivery.published,
            refused=self._delivery.refused,
            dropped=sum(stats.dropped.values()),
            dropped_alerts=stats.dropped["alert"],
            dead_letters=stats.dead_letters,
            in_memory=stats.in_memory,
            on_disk=stats.on_disk,
            publish_ms_p50=self._delivery.publish_ms_p50,
            heartbeat_s=self._heartbeat_s,
        )

    def _run_link(self, stop: threading.Event) -> Ended | None:
        """One link, from its first packet to its end; None if `stop` ended it."""
        will = bridge_state(self._topics, online=False)
        self._read_certificates()
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
        self._delivery.end(hung_up=end is not None and end.accepted)
        return end

    def _read_certificates(self) -> None:
        """Anew for each link, since they are renewed on disk; unreadable ones leave the last."""
        if self._options.tls is None:
            return
        try:
            self._tls = self._options.tls.context()
        except BrokerError as error:
            self._log_problem(Problem("certificate_file", str(error)))

    def _step(self, link: Link) -> Ended | None:
        """Wait for news, take it in, fill the window."""
        self._heartbeat_s = self._clock.monotonic_s()
        self._outbox.changed.wait(POLL_S)
        self._outbox.changed.clear()
        events: list[LinkEvent] = []
        for event in link.events():
            if isinstance(event, Accepted):
                self._take_accepted(event, link)
            else:
                events.append(event)
        self._delivery.hear(events)
        if events and isinstance(events[-1], Ended):
            return events[-1]
        self._delivery.fill(link)
        return None

    def _take_accepted(self, event: Accepted, link: Link) -> None:
        self._connected = True
        self._connected_s = self._clock.monotonic_s()
        self._worked = self._protocol
        self._problem = None
        self._delivery.begin(event, link)
        log.info(
            "mqtt.connected",
            broker=self._options.broker,
            protocol=_PROTOCOLS[self._protocol],
            pending=self._outbox.stats().pending,
        )

    def _say_goodbye(self, link: Link) -> None:
        """Send what is left, for a bounded time, then `offline` and no more."""
        deadline_s = self._clock.monotonic_s() + FLUSH_S
        while not self._delivery.is_done:
            if self._clock.monotonic_s() > deadline_s or self._step(link) is not None:
                break
        mid = self._delivery.stop(link)
        deadline_s = self._clock.monotonic_s() + GOODBYE_S
        while self._delivery.is_unanswered(mid) and self._clock.monotonic_s() < deadline_s:
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
