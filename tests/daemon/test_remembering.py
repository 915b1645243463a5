"""Does a daemon go on where it was, and know afterwards when it was blind?

The app as `serve` builds it, on a scene camera, with a model that says what it is told; the
threads' work is done by hand, so that a crash can be put anywhere.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from daemon.app import App, build_app
from daemon.config import Config
from daemon.lookout import cause_of
from daemon.mqtt.options import MqttOptions
from daemon.outbox import Outbox
from daemon.service import open_store
from daemon.store import Limits, Store
from daemon.store_file import open_reader
from pipelines.windows import WindowCounts
from tests.fakes import FakeClock, FakeModel

ASK = "Is there a car?"
CONFIG = Config.model_validate(
    {
        "cameras": {"drive": {"source": "scene://driveway?seed=1", "gate": "always"}},
        "rules": {
            "car": {
                "cameras": ["drive"],
                "ask": ASK,
                "debounce": {"needed": 1, "of": 1},
                "cooldown_s": 30,
            }
        },
    }
)


class Life:
    """One life of a daemon: frames come, windows are run, nobody waits."""

    def __init__(self, path: Path, clock: FakeClock, model: FakeModel) -> None:
        self.clock = clock
        self.store = Store(path, Limits(), clock)
        options = MqttOptions(host="localhost")
        self.app: App = build_app(CONFIG, model, options, clock, self.store)

    def live(self, seconds: int) -> None:
        source, capture = self.app.sources["drive"], self.app.captures["drive"]
        stop = threading.Event()
        ends_s = self.clock.monotonic_s() + seconds
        source.open()
        capture._connected()
        while self.clock.monotonic_s() < ends_s:
            picture = source.read(1.0, stop)
            assert picture is not None
            capture._admit(picture)
            self.app.inference.run_once()
            assert self.app.lookout is not None
            self.app.lookout.look()

    def crash(self) -> None:
        self.store._connection.close()

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        reader = open_reader(self.store.path)
        found = list(reader.execute(sql))
        reader.close()
        return found

    @property
    def events(self) -> list[tuple[object, ...]]:
        return self.rows("SELECT event_type, json_extract(content, '$.text') FROM events")

    def state_told(self) -> object:
        """The rule's state among the messages that wait for the broker."""
        told = [queued.message for queued in self.outbox.take(100)]
        return next(
            json.loads(message.payload)["state"]
            for message in reversed(told)
            if message.topic == "smolwatch/drive/rule/car"
        )

    @property
    def outbox(self) -> Outbox:
        publisher = self.app.publisher
        assert publisher is not None
        return publisher._outbox


@pytest.fixture
def said() -> Iterator[list[EventDict]]:
    with capture_logs() as logs:
        yield logs


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_a_running_daemon_fills_the_store(tmp_path: Path, clock: FakeClock) -> None:
    life = Life(tmp_path / "s.db", clock, FakeModel({ASK: 0.9}))
    life.live(20)
    kinds = [kind for kind, _ in life.events]
    assert kinds.count("rule_match") == 1
    assert "describe" in kinds
    verdicts = life.rows(
        "SELECT DISTINCT text FROM observations JOIN texts ON texts.id = verdicts"
        " WHERE answers != '[]'"
    )
    assert verdicts == [('{"car":"on"}',)]
    assert life.rows("SELECT text FROM descriptions") == [("Something happens.",)]
    (filling,) = life.rows("SELECT cause FROM spans WHERE camera = 'drive'")
    assert filling == ("filling",)


def test_after_a_short_crash_an_incident_goes_on(tmp_path: Path, clock: FakeClock) -> None:
    first = Life(tmp_path / "s.db", clock, FakeModel({ASK: 0.9}))
    first.live(20)
    first.crash()
    clock.advance(10)
    second = Life(tmp_path / "s.db", clock, FakeModel({ASK: 0.1}))
    assert second.state_told() == "ON"
    second.live(20)
    kinds = [kind for kind, _ in second.events if kind != "describe"]
    assert kinds == ["rule_match", "rule_clear"]
    assert second.rows("SELECT count(*) FROM incidents WHERE closed IS NULL") == [(0,)]
    (gone,) = second.rows("SELECT ended - started FROM spans WHERE cause = 'not running'")
    assert isinstance(gone[0], float)
    assert 9 < gone[0] < 31


def test_after_a_long_crash_it_is_closed_and_says_so(tmp_path: Path, clock: FakeClock) -> None:
    first = Life(tmp_path / "s.db", clock, FakeModel({ASK: 0.9}))
    first.live(20)
    first.crash()
    clock.advance(3600)
    second = Life(tmp_path / "s.db", clock, FakeModel({ASK: 0.9}))
    second.live(20)
    told = [event for event in second.events if event[0] != "describe"]
    assert told[1] == ("rule_clear", "smolwatch was not running")
    assert [kind for kind, _ in told] == ["rule_match", "rule_clear"]  # the cooldown goes on too
    second.live(20)
    assert [kind for kind, _ in second.events if kind != "describe"][2:] == ["rule_match"]


def test_an_incident_of_a_rule_that_is_gone_is_closed(tmp_path: Path, clock: FakeClock) -> None:
    first = Life(tmp_path / "s.db", clock, FakeModel({ASK: 0.9}))
    first.live(20)
    first.crash()
    store = Store(tmp_path / "s.db", Limits(), clock)
    without = CONFIG.model_copy(update={"rules": {}})
    build_app(without, FakeModel(), None, clock, store)
    assert store._connection.execute("SELECT count(closed) FROM incidents").fetchone() == (1,)
    store.close()


def test_memory_of_another_format_is_forgotten_with_a_word(
    tmp_path: Path, clock: FakeClock, said: list[EventDict]
) -> None:
    store = Store(tmp_path / "s.db", Limits(), clock)
    store.remember("rules/drive", '{"format": 0}')
    build_app(CONFIG, FakeModel(), None, clock, store)
    assert "rules.forgotten" in [entry["event"] for entry in said]
    store.close()


NOTHING = WindowCounts()


@pytest.mark.parametrize(
    ("counts", "away", "cause"),
    [
        (WindowCounts(ran=1, waiting=None), "no route", "away"),
        (WindowCounts(failed=1, ran=1), None, "failed"),
        (WindowCounts(skipped=1, ran=1), None, "busy"),
        (WindowCounts(ran=1), None, "looked"),
        (WindowCounts(waiting="disabled"), None, "disabled"),
        (WindowCounts(waiting="no_frames"), None, "no frames"),
        (WindowCounts(waiting="filling"), None, "filling"),
        (WindowCounts(gated=1), None, "quiet"),
        (WindowCounts(), None, "as before"),
    ],
)
def test_every_cause_of_no_window_has_a_name(
    counts: WindowCounts, away: str | None, cause: str
) -> None:
    assert cause_of(NOTHING, counts, away)[0] == cause


def test_the_store_is_where_systemd_says(tmp_path: Path, clock: FakeClock) -> None:
    assert open_store(CONFIG, {}, clock) is None
    off = CONFIG.model_copy(update={"store": None})
    assert open_store(off, {"STATE_DIRECTORY": str(tmp_path)}, clock) is None
    store = open_store(CONFIG, {"STATE_DIRECTORY": str(tmp_path)}, clock)
    assert store is not None
    assert store.path == tmp_path / "smolwatch.db"
    store.close()
