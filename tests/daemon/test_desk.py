"""Is every request carried out and answered, once, and is nothing that comes too much?"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.typing import EventDict

from daemon.ask_back import answer_content
from daemon.desk import EACH, MOST_WAITING, TOGETHER, Desk, Services
from daemon.mqtt.commands import Level
from daemon.mqtt.link_events import Arrived
from daemon.mqtt.payloads import Message
from daemon.mqtt.reading import Reader
from daemon.mqtt.records import RuleSetting
from daemon.mqtt.reference import entries
from daemon.mqtt.replies import KEPT_S, MOST, Replies
from daemon.mqtt.topics import Topics
from daemon.settings import CameraSetting, Settings, Value
from pipelines.errors import SmolwatchError
from pipelines.requests import Outlook, Requests
from pipelines.ring import FrameRing
from pipelines.window_plan import WindowPlan
from tests.daemon.test_reading import PAYLOADS, TOPICS
from tests.fakes import FakeClock
from tests.payload_schemas import check

PORCH = CameraSetting(
    enabled=True, prompt="What is it?", rules={"package": RuleSetting(armed=True, threshold=0.7)}
)


FACTS = ("health", "info", "cameras", "ping")
EXAMPLES = {entry.name: json.loads(entry.example.payload) for entry in entries()}


def example(operation: str) -> dict[str, Any]:
    """What the reference says is answered."""
    data: dict[str, Any] = EXAMPLES[f"response_{operation}"]["data"]
    return data


class Parts:
    """Settings without a camera behind them: what is changed is kept, and told of."""

    def __init__(self) -> None:
        self.settings = Settings({"porch": PORCH}, None)
        self.changes: list[Mapping[str, Value | None]] = []

    def change(self, camera: str, wanted: Mapping[str, Value | None]) -> CameraSetting:
        self.changes.append(wanted)
        self.settings.change(camera, wanted)
        return self.settings.of(camera)


class Bench:
    """A desk, and those who ask."""

    def __init__(self, level: Level = "full", **services: Any) -> None:
        self.clock = FakeClock()
        self.parts = Parts()
        self.requests = Requests({"porch": Outlook(FrameRing(4), WindowPlan())}, self.clock)
        offered: dict[str, Any] = {
            "switches": self.parts,
            "requests": self.requests,
            "facts": {name: partial(example, name) for name in FACTS},
            "snapshot": lambda _camera: example("snapshot"),
            "content": answer_content,
        }
        self.replies = Replies(self.clock, threading.Event())
        self.desk = Desk(
            Reader(Topics(), level, {"porch": ("package",)}, ("homeassistant",)),
            Services(**(offered | services)),
            self.replies,
            self.clock,
        )

    def hear(self, topic: str, content: object = None, **more: Any) -> None:
        payload = content if isinstance(content, bytes) else json.dumps(content or {}).encode()
        more.setdefault("retained", False)
        self.desk.hear(Arrived(f"smolwatch/{topic}", payload, **more))

    def work(self) -> list[Message]:
        """Carry out all that waits; the answers since the last call."""
        stop = threading.Event()
        while not self.desk._waiting.empty():
            self.desk.carry_out(self.desk._waiting.get_nowait())
        stop.set()
        found = []
        while (reply := self.replies.take()) is not None:
            found.append(reply)
        usual = "smolwatch/bridge/response/"
        check((r.topic, r.payload) for r in found if r.topic.startswith(usual))
        return found

    def told(self, topic: str, content: object = None, **more: Any) -> dict[str, Any]:
        self.hear(topic, content, **more)
        (reply,) = self.work()
        told: dict[str, Any] = json.loads(reply.payload)
        return told


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_what_is_set_is_told_as_it_is_now(bench: Bench) -> None:
    assert bench.told("porch/set", {"enabled": False, "transaction": "x"}) == {
        "status": "ok",
        "data": {"camera": "porch", "enabled": False, "prompt": "What is it?"},
        "error": None,
        "transaction": "x",
    }
    assert bench.told("porch/rule/package/set", {"threshold": 0.5, "armed": False})["data"] == {
        "camera": "porch",
        "rule": "package",
        "armed": False,
        "threshold": 0.5,
    }
    assert bench.told("porch/set", {"enabled": None})["data"]["enabled"] is True
    assert bench.parts.changes == [
        {"enabled": False},
        {"rule/package/armed": False, "rule/package/threshold": 0.5},
        {"enabled": None},
    ]


def test_an_answer_has_the_marks_of_its_request(bench: Bench) -> None:
    bench.hear("bridge/request/ping", {"transaction": 1})
    bench.hear("bridge/request/ping", response_topic="me/answers", correlation=b"\x01\x02")
    usual, own = bench.work()
    assert (usual.topic, usual.correlation) == ("smolwatch/bridge/response/ping", None)
    assert (own.topic, own.correlation) == ("me/answers", b"\x01\x02")
    assert not usual.retain
    assert usual.qos == own.qos == 1


def test_what_cannot_be_done_says_why(bench: Bench) -> None:
    assert bench.told("bridge/request/reload")["error"] == (
        "this smolwatch cannot reload its configuration: restart it"
    )
    asked = bench.told("porch/ask", {"question": "Is it?", "transaction": 3})
    assert asked["status"] == "error"
    assert asked["transaction"] == 3
    assert "has sent no picture yet" in asked["error"]

    def fails(camera: str) -> dict[str, Any]:
        raise SmolwatchError(f"{camera} is away: rtsp://u:hunter2@h/")

    told = Bench(snapshot=fails).told("porch/snapshot/get")
    assert told["error"] == "porch is away: rtsp://***@h/"
    assert told["data"] is None


def test_reload_is_done_where_it_can_be() -> None:
    told = Bench(reload=lambda: {"changed": ["porch"]}).told("bridge/request/reload")
    assert told["data"] == {"changed": ["porch"]}


def test_a_retained_command_is_ignored_and_named_once(bench: Bench, logs: list[EventDict]) -> None:
    for _ in range(3):
        bench.hear("porch/set", {"enabled": False}, retained=True)
        bench.hear("porch/set", b"\xff", retained=True)
    bench.hear("porch/state", {}, retained=True)
    assert bench.work() == []
    assert bench.parts.changes == []
    (entry,) = logs
    assert (entry["event"], entry["topic"]) == ("command.retained", "smolwatch/porch/set")
    for number in range(100):
        bench.hear(f"bridge/request/x{number}", retained=True)
    assert len(logs) < 50


def test_too_many_are_refused_and_a_little_later_not(bench: Bench) -> None:
    answers = [bench.told("bridge/request/ping")["status"] for _ in range(int(EACH.burst) + 1)]
    assert answers == ["ok"] * int(EACH.burst) + ["error"]
    assert bench.told("porch/set", {"enabled": True})["status"] == "ok"  # another's are its own
    bench.clock.advance(1.0)
    assert bench.told("bridge/request/ping")["status"] == "ok"
    assert "too many" in bench.told("bridge/request/ping")["error"]


def test_all_together_have_a_limit_too() -> None:
    cameras = {f"c{number}": PORCH for number in range(int(TOGETHER.burst) + 5)}
    bench = Bench()
    bench.desk._reader = Reader(Topics(), "full", dict.fromkeys(cameras, ()))
    bench.parts.settings = Settings(cameras, None)
    answers = [bench.told(f"{name}/set", {"enabled": True})["status"] for name in cameras]
    assert answers == ["ok"] * int(TOGETHER.burst) + ["error"] * 5


def test_when_nobody_works_the_rest_is_refused_at_once(bench: Bench) -> None:
    for number in range(MOST_WAITING + 3):
        bench.hear("bridge/request/ping", {"transaction": number})
        bench.clock.advance(1.0)  # so that it is not the rate that refuses
    waiting = bench.desk._waiting.qsize()
    assert waiting == MOST_WAITING
    refused = [bench.replies.take() for _ in range(3)]
    marks = [json.loads(reply.payload)["transaction"] for reply in refused if reply is not None]
    assert marks == [MOST_WAITING, MOST_WAITING + 1, MOST_WAITING + 2]


def test_what_waits_at_the_end_is_refused(bench: Bench) -> None:
    bench.hear("porch/set", {"enabled": False, "transaction": 1})
    stop = threading.Event()
    stop.set()
    bench.desk.run(stop)
    (reply,) = bench.work()
    assert "stopping" in json.loads(reply.payload)["error"]
    assert bench.parts.changes == []


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.tuples(
            TOPICS,
            PAYLOADS,
            st.none() | st.text(max_size=8),
            st.none() | st.binary(max_size=260),
            st.booleans(),
        ),
        max_size=12,
    ),
    st.sampled_from(["arm", "full"]),
)
def test_whatever_comes_each_is_answered_once_and_what_is_kept_never(
    messages: list[tuple[str, bytes, str | None, bytes | None, bool]], level: Level
) -> None:
    bench = Bench(level)
    fresh = 0
    for topic, payload, response_topic, correlation, retained in messages:
        arrived = Arrived(topic, payload, retained, response_topic, correlation)
        bench.desk.hear(arrived)
        fresh += not retained
    found = bench.work()
    assert len(found) == fresh
    assert all(json.loads(reply.payload)["status"] in ("ok", "error") for reply in found)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(TOPICS, st.dictionaries(st.text(max_size=9), st.booleans())), max_size=9))
def test_every_transaction_comes_back_exactly_once(
    messages: list[tuple[str, dict[str, bool]]],
) -> None:
    bench = Bench()
    for number, (topic, content) in enumerate(messages):
        marked = json.dumps({**content, "transaction": number}).encode()
        bench.desk.hear(Arrived(topic, marked, retained=False))
    marks = Counter(json.loads(reply.payload)["transaction"] for reply in bench.work())
    assert marks == Counter(range(len(messages)))


# Replies


def test_answers_nobody_takes_make_room_and_grow_old() -> None:
    clock, news = FakeClock(), threading.Event()
    replies = Replies(clock, news)
    for number in range(MOST + 2):
        replies.put(Message(str(number), b"", 1, False, "state"))
    assert news.is_set()
    first = replies.take()
    assert first is not None
    assert first.topic == "2"
    clock.advance(KEPT_S)
    assert replies.take() is None
    assert replies.dropped == MOST + 1
    assert len(replies) == 0
