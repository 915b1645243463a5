"""Which command does a message hold, and where does its answer go?

Knows topics, names and the models of `daemon.mqtt.commands`; carries nothing out. Pure: any bytes
on any topic may come, and lead to a command, a refusal in words, or nothing where the topic is none
of ours.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn

from pydantic import ValidationError

from daemon.config_errors import Refused, did_you_mean, explain
from daemon.mqtt.commands import (
    CHANGES,
    KEYS_NEED_FULL,
    MODELS,
    NEEDS_FULL,
    OPERATIONS,
    Asked,
    Level,
    Operation,
    Transaction,
    transaction,
)
from daemon.mqtt.link_events import Arrived
from daemon.mqtt.text import summary
from daemon.mqtt.topics import Topics

PAYLOAD_BYTES: Final = 4096
CORRELATION_BYTES: Final = 256
RESPONSE_TOPIC_CHARS: Final = 256
_NOT_IN_A_TOPIC: Final = re.compile(r"[+#\x00-\x1f\x7f-\x9f\ud800-\udfff]|^\$|^$")
_FULL: Final = "that needs `mqtt: {commands: full}` in smolwatch's configuration"


@dataclass(frozen=True, slots=True)
class Return:
    """Where an answer goes, and the marks that it carries back."""

    topic: str
    transaction: Transaction = None
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """A request that may be carried out."""

    operation: Operation
    asked: Asked
    back: Return

    @property
    def about(self) -> tuple[str, ...]:
        """Operation, camera and rule: what one of many requests is about."""
        names = (getattr(self.asked, name, "") for name in ("camera", "rule"))
        return (self.operation, *names)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that may not, and why: what is wrong, and how to mend it."""

    reason: str
    back: Return


class Reader:
    """Reads requests as far as `level` allows them.

    `cameras`: name -> the rules that are judged on it. `elsewhere`: topics below which others'
    affairs lie; no answer goes there.
    """

    def __init__(
        self,
        topics: Topics,
        level: Level,
        cameras: Mapping[str, Collection[str]],
        elsewhere: Collection[str] = (),
    ) -> None:
        self._topics = topics
        self._level = level
        self._cameras = cameras
        self._elsewhere = tuple(elsewhere)

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """The topics to subscribe to: only such as are allowed."""
        base = self._topics.base
        if self._level == "off":
            return ()
        switches = (f"{base}/+/set", f"{base}/+/rule/+/set", f"{base}/bridge/request/+")
        if self._level == "arm":
            return switches
        return (*switches, f"{base}/+/describe", f"{base}/+/ask", f"{base}/+/snapshot/get")

    def read(self, arrived: Arrived) -> Command | Refusal | None:
        """What a message asks for; None where its topic is not one of a command."""
        place = self._place(arrived.topic) if self._level != "off" else None
        if place is None:
            return None
        operation, names = place
        echoed = operation if operation in OPERATIONS else "unknown"
        usual = Return(self._topics.bridge(f"response/{echoed}"))
        content, unread = _parsed(arrived.payload)
        back, unanswerable = self._back(arrived, usual, content.get("transaction"))
        problem = unanswerable or unread
        if problem is not None:
            return Refusal(summary(problem), back)
        try:
            return self._command(operation, names, content, back)
        except Refused as refused:
            return Refusal(summary(str(refused)), back)

    def _place(self, topic: str) -> tuple[str, dict[str, str]] | None:
        """The operation that a topic names, and the camera and rule in it."""
        base = f"{self._topics.base}/"
        place: tuple[str, dict[str, str]] | None = None
        match topic.removeprefix(base).split("/") if topic.startswith(base) else ():
            case ["bridge", "request", operation]:
                place = operation, {}
            case [camera, "set"]:
                place = "set", {"camera": camera}
            case [camera, "rule", rule, "set"]:
                place = "rule", {"camera": camera, "rule": rule}
            case [camera, "describe" | "ask" as operation]:
                place = operation, {"camera": camera}
            case [camera, "snapshot", "get"]:
                place = "snapshot", {"camera": camera}
        return place

    def _back(self, arrived: Arrived, usual: Return, mark: object) -> tuple[Return, str | None]:
        """Where the answer is wanted; or the usual place, and what is wrong with the wanted one."""
        with contextlib.suppress(Refused):  # its model says so, in the words of its key
            usual = replace(usual, transaction=transaction(mark))
        if arrived.correlation is not None:
            if len(arrived.correlation) > CORRELATION_BYTES:
                return usual, f"correlation data: expected at most {CORRELATION_BYTES} bytes"
            usual = replace(usual, correlation=arrived.correlation)
        topic = arrived.response_topic
        if topic is None:
            return usual, None
        problem = self._no_place_for_answers(topic)
        return (usual, problem) if problem else (replace(usual, topic=topic), None)

    def _no_place_for_answers(self, topic: str) -> str | None:
        """An answer may not become a command, or a state of ours, or speak for somebody else."""
        if _NOT_IN_A_TOPIC.search(topic) or len(topic) > RESPONSE_TOPIC_CHARS:
            return "response topic: expected a plain topic, without + or #"
        answers = self._topics.bridge("response/")
        ours = (self._topics.base, *self._elsewhere)
        below = any(topic == place or topic.startswith(f"{place}/") for place in ours)
        if below and not topic.startswith(answers):
            return f"response topic: expected {answers}NAME, or one of your own"
        return None

    def _command(
        self, operation: str, names: Mapping[str, str], content: dict[str, Any], back: Return
    ) -> Command | Refusal:
        if operation not in OPERATIONS:
            guess = did_you_mean(operation, OPERATIONS)
            raise Refused(
                f"there is no request '{operation}'.{guess} There are: {', '.join(OPERATIONS)}"
            )
        if operation in NEEDS_FULL and self._level != "full":
            raise Refused(f"{operation}: {_FULL}")
        for key in names.keys() & content.keys():
            raise Refused(f"{key}: the topic names it already: leave this key out")
        try:
            asked = MODELS[operation].model_validate({**names, **content})
        except ValidationError as error:
            raise Refused(_explained(error, MODELS[operation], names)) from None
        self._check(operation, asked)
        return Command(operation, asked, back)

    def _check(self, operation: Operation, asked: Asked) -> None:
        """Names that there are, keys that are allowed, and something to do."""
        camera, rule = getattr(asked, "camera", None), getattr(asked, "rule", None)
        if camera is not None and camera not in self._cameras:
            raise Refused(_unknown("camera", camera, self._cameras))
        if rule is not None and camera is not None and rule not in self._cameras[camera]:
            raise Refused(f"{camera}: {_unknown('rule', rule, self._cameras[camera])}")
        changes = CHANGES.get(operation, ())
        if changes and not asked.model_fields_set & set(changes):
            raise Refused(f"nothing to set: name one of {', '.join(changes)}")
        key = KEYS_NEED_FULL.get(operation)
        if key in asked.model_fields_set and self._level != "full":
            raise Refused(f"{key}: {_FULL}")


def _unknown(what: str, name: str, known: Collection[str]) -> str:
    there = ", ".join(known) or "none"
    return f"there is no {what} '{name}'.{did_you_mean(name, known)} There are: {there}"


def _parsed(payload: bytes) -> tuple[dict[str, Any], str | None]:
    """The object in a payload, or an empty one and what is wrong."""
    try:
        return _object(payload), None
    except json.JSONDecodeError as error:
        place = f"{error.msg} at character {error.pos + 1}"
        return {}, f"not JSON ({place}); expected an object such as {{}}"
    except UnicodeDecodeError:
        return {}, "not UTF-8 text; expected JSON, such as {}"
    except Refused as refused:
        return {}, str(refused)
    except (RecursionError, ValueError):
        return {}, "nested too deep, or a number too long; expected an object such as {}"


def _object(payload: bytes) -> dict[str, Any]:
    """What is in a payload; no bytes are an object without keys. Raises what JSON raises."""
    if len(payload) > PAYLOAD_BYTES:
        raise Refused(f"{len(payload)} bytes; at most {PAYLOAD_BYTES} are read")
    content = json.loads(
        payload.decode() or "{}", object_pairs_hook=_once, parse_constant=_no_constant
    )
    if not isinstance(content, dict):
        raise Refused('expected an object in braces, such as {"enabled": true}')
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys stand in it once; else it is left to chance which one holds."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1)
        raise Refused(f"{twice}: given twice: keep one")
    return found


def _no_constant(word: str) -> NoReturn:
    raise Refused(f"found {word}, which JSON does not have; expected a number")


def _explained(error: ValidationError, model: type[Asked], names: Mapping[str, str]) -> str:
    """All that is wrong, a key each; what the topic names is no key that is known there."""
    told = []
    for details in error.errors(include_url=False):
        problem = explain(details, model)
        text = problem.text
        for name in names:
            text = text.replace(f", {name}", "").replace(f"{name}, ", "")
        told.append(f"{'.'.join(map(str, problem.path))}: {text}")
    return "; ".join(told)
