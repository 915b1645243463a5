"""Who carries out what is asked over MQTT, and how is it answered?

Knows commands and what they are about; no connection. `hear` is called by the publisher's thread
for what the broker delivers, and only reads; a thread of its own (`run`) carries out, one command
after the other. Every request is answered once: a refusal at once, an answer of the model when it
is there.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from daemon.mqtt.commands import Ask, Describe, OfCamera, SetCamera, SetRule, Snapshot, wanted
from daemon.mqtt.link_events import Arrived
from daemon.mqtt.payloads import response
from daemon.mqtt.rate import Limit, RateLimit
from daemon.mqtt.reading import Command, Reader, Refusal, Return
from daemon.mqtt.replies import Replies
from daemon.settings import CameraSetting
from daemon.switches import Switches
from pipelines.clock import Clock
from pipelines.errors import SmolwatchError
from pipelines.requests import Answer, Request, Requests

log = structlog.get_logger(__name__)

Json = dict[str, Any]

EACH: Final = Limit(burst=10, per_s=1.0)  # of one operation at one camera or rule
TOGETHER: Final = Limit(burst=200, per_s=20.0)  # a scene may arm every rule of a house at once
MOST_WAITING: Final = 256
_POLL_S: Final = 0.5  # the longest that a stop goes unnoticed
_MOST_NAMED: Final = 32  # topics with retained commands that are told one by one


class CommandFailed(SmolwatchError):
    """What was asked cannot be done; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Services:
    """What the desk can have done.

    `facts`: operation -> what it answers with. `snapshot` publishes a camera's newest picture and
    tells of it. `reload` reads the configuration again; None where that cannot be done. They raise
    `SmolwatchError` where they fail.
    """

    switches: Switches
    requests: Requests
    facts: Mapping[str, Callable[[], Json]]
    snapshot: Callable[[str], Json]
    content: Callable[[Answer], Json]
    reload: Callable[[], Json] | None = None


class Desk:
    """Takes requests and has them carried out. Answers are put into `replies`."""

    def __init__(self, reader: Reader, services: Services, replies: Replies, clock: Clock) -> None:
        self.topics = reader.subscriptions
        self.replies = replies
        self.heartbeat_s = clock.monotonic_s()
        self._reader = reader
        self._services = services
        self._clock = clock
        self._rate = RateLimit(EACH, TOGETHER, clock.monotonic_s())
        self._waiting: queue.Queue[Command] = queue.Queue(MOST_WAITING)
        self._retained: set[str] = set()

    def hear(self, arrived: Arrived) -> None:
        """Take in what was delivered. Neither blocks nor raises, whatever it is."""
        found = self._reader.read(arrived)
        if found is None:
            return
        if arrived.retained:
            self._say_retained(arrived.topic)
            return
        about = found.about if isinstance(found, Command) else ("refused",)
        if not self._rate.allows(about, self._clock.monotonic_s()):
            self._refuse(found.back, "too many requests: at most one a second goes on for long")
        elif isinstance(found, Refusal):
            log.info("command.refused", topic=arrived.topic, reason=found.reason)
            self._refuse(found.back, found.reason)
        else:
            self._put(found)

    def run(self, stop: threading.Event) -> None:
        """Carry out what was asked, until `stop`; then refuse the rest."""
        while not stop.is_set():
            self.heartbeat_s = self._clock.monotonic_s()
            try:
                command = self._waiting.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            self.carry_out(command)
        while not self._waiting.empty():
            self._refuse(self._waiting.get_nowait().back, "smolwatch is stopping: ask again")

    def carry_out(self, command: Command) -> None:
        """Do it, and answer."""
        operation, asked, back = command.operation, command.asked, command.back
        try:
            if isinstance(asked, Describe | Ask):
                self._ask(asked, back)
                return
            data = self._done(command)
        except SmolwatchError as error:
            log.info("command.failed", operation=operation, error=str(error))
            self._refuse(back, str(error))
            return
        self._answer(back, data)

    def _put(self, command: Command) -> None:
        try:
            self._waiting.put_nowait(command)
        except queue.Full:
            self._refuse(command.back, f"{MOST_WAITING} requests wait already: ask again later")

    def _done(self, command: Command) -> Json:
        services, asked = self._services, command.asked
        match asked:
            case SetCamera() | SetRule():
                return self._set(asked)
            case Snapshot():
                return services.snapshot(asked.camera)
        if command.operation != "reload":
            return services.facts[command.operation]()
        if services.reload is None:
            raise CommandFailed("this smolwatch cannot reload its configuration: restart it")
        log.info("command.reload")
        return services.reload()

    def _set(self, asked: SetCamera | SetRule) -> Json:
        changes = wanted(asked)
        place = f"rule/{asked.rule}/" if isinstance(asked, SetRule) else ""
        found = self._services.switches.change(
            asked.camera, {f"{place}{key}": value for key, value in changes.items()}
        )
        log.info(
            "command.set", camera=asked.camera, **{f"{place}{k}": v for k, v in changes.items()}
        )
        return _state(asked, found)

    def _ask(self, asked: Describe | Ask, back: Return) -> None:
        """The answer comes from the inference thread, when it is there."""
        if isinstance(asked, Ask):
            request = Request(asked.camera, asked.question, asked.last_s)
        else:
            request = Request(asked.camera, publish=True)
        future = self._services.requests.put(request)
        future.add_done_callback(partial(self._answered, back))

    def _answered(self, back: Return, future: Future[Answer]) -> None:
        error = future.exception()
        if error is not None:
            self._refuse(back, str(error))
        else:
            self._answer(back, self._services.content(future.result()))

    def _say_retained(self, topic: str) -> None:
        """A command that a broker keeps would be carried out at every start: never, said once."""
        if topic not in self._retained and len(self._retained) < _MOST_NAMED:
            self._retained.add(topic)
            log.warning(
                "command.retained", topic=topic,
                hint="ignored: send commands without the retain flag, and delete this one",
            )  # fmt: skip

    def _answer(self, back: Return, data: Json) -> None:
        self.replies.put(response(back.topic, data, None, back.transaction, back.correlation))

    def _refuse(self, back: Return, reason: str) -> None:
        self.replies.put(response(back.topic, None, reason, back.transaction, back.correlation))


def _state(asked: OfCamera, found: CameraSetting) -> Json:
    """How what was set is set now."""
    if isinstance(asked, SetRule):
        rule = found.rules[asked.rule]
        told = {"armed": rule.armed, "threshold": rule.threshold}
        return {"camera": asked.camera, "rule": asked.rule, **told}
    return {"camera": asked.camera, "enabled": found.enabled, "prompt": found.prompt}
