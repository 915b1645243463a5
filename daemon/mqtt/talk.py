"""What does the broker answer, one question after the other?

Knows no outbox and no retry: a link for somebody who waits, such as `smolwatch mqtt check`.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from paho.mqtt.enums import MQTTProtocolVersion

from daemon.mqtt.client import Link
from daemon.mqtt.link_events import Accepted, Acknowledged, Ended, LinkEvent, Subscribed
from daemon.mqtt.options import MqttOptions
from daemon.mqtt.payloads import Message
from daemon.mqtt.reasons import connect_failed
from pipelines.clock import Clock

ANSWER_S: Final = 10.0  # for name, socket and the answer to CONNECT; for later answers together


class Talk:
    """One link for a few questions, and what was heard on it."""

    def __init__(
        self, options: MqttOptions, protocol: MQTTProtocolVersion, will: Message,
        context: ssl.SSLContext | None, clock: Clock,
    ) -> None:  # fmt: skip
        self._wake = threading.Event()
        self._clock = clock
        self._broker = options.broker
        self.link = Link(options, protocol, will, self._wake, context)
        self.answers: dict[int, Acknowledged | Subscribed] = {}
        self._first: Accepted | Ended | None = None
        self.ended = False

    def wait_for_answer(self) -> Accepted | Ended:
        """The answer to CONNECT; the end of the link if there is none in time."""
        self.link.open()
        self._wait(lambda: self._first is not None)
        if self._first is None:
            problem = connect_failed(TimeoutError(), self._broker, tls=False)
            return Ended(replace(problem, cause="no_answer"), accepted=False)
        return self._first

    def wait_for(self, mids: set[int]) -> float:
        """Until all are answered, the link ends, or time is up; the seconds it took."""
        begun_s = self._clock.monotonic_s()
        self._wait(lambda: self.ended or mids <= self.answers.keys())
        return self._clock.monotonic_s() - begun_s

    def close(self) -> None:
        """Say goodbye."""
        self.link.close(1.0)

    def _wait(self, condition: Callable[[], bool]) -> None:
        until_s = self._clock.monotonic_s() + ANSWER_S
        while self._clock.monotonic_s() < until_s:
            for event in self.link.events():
                self._hear(event)
            if condition():
                return
            self._wake.wait(0.05)
            self._wake.clear()

    def _hear(self, event: LinkEvent) -> None:
        if isinstance(event, Acknowledged | Subscribed):
            self.answers[event.mid] = event
        elif isinstance(event, Accepted | Ended):
            self._first = self._first or event
            self.ended = isinstance(event, Ended)
