"""Is every request understood, or refused in words that mend it?"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daemon.mqtt.commands import OPERATIONS, Level, SetRule
from daemon.mqtt.link_events import Arrived
from daemon.mqtt.payloads import response
from daemon.mqtt.reading import Command, Reader, Refusal
from daemon.mqtt.topics import Topics

CAMERAS = {"porch": ("package", "dog_out"), "yard": ()}


def reader(level: Level = "full", base: str = "smolwatch") -> Reader:
    return Reader(Topics(base), level, CAMERAS, elsewhere=("homeassistant",))


def read(
    topic: str, content: object = None, *, level: Level = "full", **more: Any
) -> Command | Refusal | None:
    payload = content if isinstance(content, bytes) else json.dumps(content or {}).encode()
    return reader(level).read(Arrived(f"smolwatch/{topic}", payload, False, **more))


def refused(topic: str, content: object = None, **more: Any) -> str:
    found = read(topic, content, **more)
    assert isinstance(found, Refusal)
    return found.reason


def understood(topic: str, content: object = None, **more: Any) -> Command:
    found = read(topic, content, **more)
    assert isinstance(found, Command), found
    return found


# What is understood


@pytest.mark.parametrize(
    ("topic", "content", "request_topic"),
    [
        ("porch/set", {"enabled": False}, "set"),
        ("porch/set", {"prompt": "Who is it?", "enabled": None}, "set"),
        ("porch/rule/package/set", {"armed": False}, "rule"),
        ("porch/rule/package/set", {"threshold": 1}, "rule"),
        ("porch/describe", {}, "describe"),
        ("porch/ask", {"question": "Is the gate open?", "last_s": 20}, "ask"),
        ("porch/snapshot/get", {}, "snapshot"),
    ],
)
def test_a_cameras_topic_and_a_request_say_the_same(
    topic: str, content: dict[str, object], request_topic: str
) -> None:
    names = {"camera": "porch"} | ({"rule": "package"} if "rule" in topic else {})
    found = understood(topic, content | {"transaction": "t1"})
    asked = understood(f"bridge/request/{request_topic}", content | names | {"transaction": "t1"})
    assert (found.operation, found.asked) == (asked.operation, asked.asked)
    assert found.back == asked.back
    assert found.back.topic == f"smolwatch/bridge/response/{request_topic}"


@pytest.mark.parametrize("operation", ["reload", "health", "info", "cameras", "ping"])
@pytest.mark.parametrize("payload", [b"", b"{}", b" \n{ }"])
def test_plain_requests_need_no_payload(operation: str, payload: bytes) -> None:
    assert understood(f"bridge/request/{operation}", payload).operation == operation


def test_what_home_assistant_sends_is_understood() -> None:
    assert understood("porch/set", b'{"enabled": false }').asked.model_dump()["enabled"] is False
    assert understood("porch/rule/package/set", b'{"threshold": 0.75 }').asked == SetRule(
        camera="porch", rule="package", threshold=0.75
    )
    assert understood("porch/describe", b"{}")


# What is not


@pytest.mark.parametrize(
    ("topic", "content", "words"),
    [
        ("porch/set", {"enable": True}, "enable: unknown key. Did you mean enabled? Known here: transaction, enabled, prompt"),  # noqa: E501
        ("porch/set", {"enabled": "ON"}, "enabled: found a text; expected true or false"),
        ("porch/set", {"enabled": 1}, "enabled: found 1; expected true or false"),
        ("porch/set", {}, "nothing to set: name one of enabled, prompt"),
        ("porch/set", {"transaction": 1}, "nothing to set: name one of enabled, prompt"),
        ("porch/set", {"prompt": ""}, "prompt: found nothing; expected a text that is not empty"),
        ("porch/set", {"prompt": "x" * 256}, "prompt: found a text; expected a text of at most 255 characters"),  # noqa: E501
        ("porch/set", {"prompt": "a\nb"}, "prompt: found control characters; expected one line of plain text"),  # noqa: E501
        ("porch/set", {"prompt": "a\u202eb"}, "prompt: found control characters; expected one line of plain text"),  # noqa: E501
        ("porch/set", {"prompt": "a<image>"}, "prompt: found <image>, which the model reads as a command: leave it out"),  # noqa: E501
        ("porch/set", {"camera": "yard", "enabled": True}, "camera: the topic names it already: leave this key out"),  # noqa: E501
        ("proch/set", {"enabled": True}, "there is no camera 'proch'. Did you mean porch? There are: porch, yard"),  # noqa: E501
        ("bridge/request/set", {"enabled": True}, "camera: missing; expected a name that the configuration has"),  # noqa: E501
        ("yard/rule/package/set", {"armed": True}, "yard: there is no rule 'package'. There are: none"),  # noqa: E501
        ("porch/rule/package/set", {"threshold": 0}, "threshold: found 0; expected a number of at least 0.01"),  # noqa: E501
        ("porch/rule/package/set", {"threshold": 1.1}, "threshold: found 1.1; expected a number of at most 1"),  # noqa: E501
        ("porch/rule/package/set", {"threshold": "0.5"}, "threshold: found a text; expected a number, without quotes"),  # noqa: E501
        ("porch/rule/package/set", {"threshold": True}, "threshold: found true; expected a number, without quotes"),  # noqa: E501
        ("porch/ask", {}, "question: missing; expected one line"),
        ("porch/ask", {"question": ["a"]}, "question: found a list; expected a text (put it in quotes if it looks like a number)"),  # noqa: E501
        ("porch/ask", {"question": "a?", "last_s": 0}, "last_s: found 0; expected a number above 0"),  # noqa: E501
        ("bridge/request/pong", {}, "there is no request 'pong'. Did you mean ping? There are: set, rule, describe, ask, snapshot, reload, health, info, cameras, ping"),  # noqa: E501
        ("bridge/request/ping", {"transaction": 1.5}, "transaction: expected a text of at most 64 characters, or a whole number"),  # noqa: E501
        ("bridge/request/ping", b"[]", 'expected an object in braces, such as {"enabled": true}'),
        ("bridge/request/ping", b"ON", "not JSON (Expecting value at character 1); expected an object such as {}"),  # noqa: E501
        ("bridge/request/ping", b"\xff", "not UTF-8 text; expected JSON, such as {}"),
        ("bridge/request/ping", b'{"a":1,"a":2}', "a: given twice: keep one"),
        ("bridge/request/ping", b'{"a":NaN}', "found NaN, which JSON does not have; expected a number"),  # noqa: E501
        ("bridge/request/ping", b"[" * 4000, "nested too deep, or a number too long; expected an object such as {}"),  # noqa: E501
        ("bridge/request/ping", b"{}" + b" " * 4096, "4098 bytes; at most 4096 are read"),
    ],
)  # fmt: skip
def test_refusals_name_the_key_and_the_fix(topic: str, content: object, words: str) -> None:
    assert refused(topic, content) == words


@pytest.mark.parametrize(
    "topic",
    ["porch/state", "porch/event", "porch/rule/package", "bridge/response/ping", "porch/snapshot",
     "a/b/c/d/e", "", "bridge/request", "bridge/request/a/b", "porch/describe/now"],
)  # fmt: skip
def test_other_topics_are_none_of_ours(topic: str) -> None:
    assert read(topic, {}) is None
    assert reader(base="smolwatch/attic").read(Arrived(f"smolwatch/{topic}", b"", False)) is None


# What a level allows

ARM = {
    "porch/set": {"enabled": False},
    "porch/rule/package/set": {"armed": False},
    "bridge/request/ping": {},
    "bridge/request/health": {},
    "bridge/request/info": {},
    "bridge/request/cameras": {},
}
FULL = {
    "porch/set": {"enabled": False, "prompt": "Who?"},
    "porch/rule/package/set": {"threshold": 0.5},
    "porch/describe": {},
    "porch/ask": {"question": "Who?"},
    "porch/snapshot/get": {},
    "bridge/request/reload": {},
}


@pytest.mark.parametrize(("topic", "content"), ARM.items())
def test_arm_switches_and_reads(topic: str, content: object) -> None:
    assert understood(topic, content, level="arm")
    assert understood(topic, content, level="full")
    assert read(topic, content, level="off") is None


@pytest.mark.parametrize(("topic", "content"), FULL.items())
def test_the_rest_needs_full(topic: str, content: object) -> None:
    assert understood(topic, content, level="full")
    assert "needs `mqtt: {commands: full}`" in refused(topic, content, level="arm")
    assert read(topic, content, level="off") is None


def test_only_what_is_allowed_is_subscribed_to() -> None:
    assert reader("off").subscriptions == ()
    arm = ("smolwatch/+/set", "smolwatch/+/rule/+/set", "smolwatch/bridge/request/+")
    assert reader("arm").subscriptions == arm
    more = ("smolwatch/+/describe", "smolwatch/+/ask", "smolwatch/+/snapshot/get")
    assert reader("full").subscriptions == (*arm, *more)


# Where the answer goes


def test_mqtt_5_says_where_and_with_which_mark() -> None:
    back = understood(
        "bridge/request/ping", {"transaction": 7}, response_topic="my/answers", correlation=b"\x00"
    ).back
    assert (back.topic, back.transaction, back.correlation) == ("my/answers", 7, b"\x00")
    own = "smolwatch/bridge/response/me"
    assert understood("bridge/request/ping", response_topic=own).back.topic == own


@pytest.mark.parametrize(
    "topic",
    ["", "a/+", "#", "a/#/b", "$SYS/x", "a\x00b", "a\nb", "x" * 257, "smolwatch",
     "smolwatch/porch/set", "smolwatch/porch/rule/package", "smolwatch/bridge/state",
     "smolwatch/bridge/request/reload", "homeassistant/device/x/config", "homeassistant/status"],
)  # fmt: skip
def test_an_answer_becomes_no_command_and_no_state(topic: str) -> None:
    found = read(
        "bridge/request/ping", {"transaction": "t"}, response_topic=topic, correlation=b"c"
    )
    assert isinstance(found, Refusal)
    assert "response topic" in found.reason
    assert found.back.topic == "smolwatch/bridge/response/ping"
    assert (found.back.transaction, found.back.correlation) == ("t", b"c")


def test_correlation_data_is_short() -> None:
    found = read("bridge/request/ping", correlation=b"x" * 257, response_topic="a/b")
    assert isinstance(found, Refusal)
    assert found.back.correlation is None
    assert "256 bytes" in found.reason


def test_a_refusal_goes_where_the_answer_would() -> None:
    found = read("porch/set", {"transaction": 5, "no": 1}, response_topic="a", correlation=b"c")
    assert isinstance(found, Refusal)
    assert (found.back.topic, found.back.transaction, found.back.correlation) == ("a", 5, b"c")
    found = read("bridge/request/Str%C3%A4nge", {"transaction": 5})
    assert isinstance(found, Refusal)
    assert (found.back.topic, found.back.transaction) == ("smolwatch/bridge/response/unknown", 5)


# Whatever comes

WORDS = st.sampled_from(
    ["camera", "rule", "enabled", "prompt", "armed", "threshold", "question", "last_s",
     "transaction", "porch", "package", "\ud800", "<image>", "\u202e"]
) | st.text(max_size=12)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=12,
)
TOPICS = st.sampled_from(
    ["smolwatch/porch/set", "smolwatch/porch/rule/package/set", "smolwatch/porch/ask",
     "smolwatch/porch/describe", "smolwatch/porch/snapshot/get", "smolwatch/no/set",
     *(f"smolwatch/bridge/request/{operation}" for operation in (*OPERATIONS, "no", "Ä"))]
)  # fmt: skip
PAYLOADS = st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode())


@settings(deadline=None, max_examples=500)
@given(
    TOPICS | st.text(max_size=30).map(lambda text: f"smolwatch/{text}"),
    PAYLOADS,
    st.none() | st.text(max_size=12) | st.just("smolwatch/porch/set"),
    st.none() | st.binary(max_size=300),
    st.sampled_from(["arm", "full"]),
)
@example("smolwatch/porch/set", b"[" * 4096, None, None, "full")
@example("smolwatch/porch/set", b'{"a":' * 800, None, None, "full")
@example(
    "smolwatch/porch/set",
    b'{"transaction": 1e999, "enabled": 1' + b"0" * 4000 + b"}",
    None,
    None,
    "full",
)
@example("smolwatch/porch/set", b'{"\\ud800": 1, "transaction": "\\ud800"}', None, None, "full")
def test_any_bytes_lead_to_a_command_or_to_a_refusal_that_can_be_sent(
    topic: str, payload: bytes, response_topic: str | None, correlation: bytes | None, level: Level
) -> None:
    found = reader(level).read(Arrived(topic, payload, False, response_topic, correlation))
    if found is None:
        return
    reason = found.reason if isinstance(found, Refusal) else None
    back = found.back
    told = response(back.topic, None, reason or "no", back.transaction, back.correlation)
    assert json.loads(told.payload)["transaction"] == back.transaction
    assert not {"+", "#", "\x00"} & set(told.topic)
    ours = told.topic.startswith("smolwatch/")
    assert not ours or told.topic.startswith("smolwatch/bridge/response/")
    told.topic.encode()


@settings(deadline=None, max_examples=300)
@given(TOPICS, st.dictionaries(WORDS, JSON, max_size=5), st.integers(-(2**53), 2**53))
def test_whatever_is_wrong_the_transaction_comes_back(
    topic: str, content: dict[str, object], mark: int
) -> None:
    payload = json.dumps({**content, "transaction": mark}).encode()
    found = reader().read(Arrived(topic, payload, False))
    assert found is not None
    assert found.back.transaction == mark or b"NaN" in payload or b"Infinity" in payload
