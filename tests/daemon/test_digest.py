"""Is an hour or a day told truly: words by whoever can write, counts by the store?"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from daemon.announce import inventory, known_topics
from daemon.cli_digest import lines
from daemon.config import ConfigError, load_config
from daemon.control import ControlError
from daemon.digest import make_digest
from daemon.digest_desk import DigestDesk, answers_of
from daemon.digest_times import Schedule
from daemon.digest_wishes import digest_desk
from daemon.mqtt.discovery import Site
from daemon.mqtt.payloads import digest_content, digest_message, event_content
from daemon.mqtt.records import Digest
from daemon.mqtt.topics import Topics
from daemon.outbox import Outbox
from daemon.store import Limits, Store
from daemon.store_digest import MOST_NOTES, facts, newest_digest
from pipelines.errors import RequestRefused
from pipelines.summary import Task
from pipelines.types import Outcome
from pipelines.writing import Writings
from tests.daemon.events import match
from tests.daemon.test_store import look
from tests.fakes import FakeClock, FakeModel

NOW = datetime(2026, 11, 22, 7, 30, tzinfo=UTC).timestamp()
SEVEN = datetime(2026, 11, 22, 7, 0, tzinfo=UTC).timestamp()
DAY = (NOW - 86_400, NOW)
WRITTEN = ["", "A dog", "A dog runs past. Seven cars come."]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(wall_time=NOW)


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    opened = Store(tmp_path / "s.db", Limits(), clock)
    yield opened
    opened.close()


class Desk:
    """A writer beside it: what the inference thread would do."""

    def __init__(self, model: FakeModel, clock: FakeClock) -> None:
        self.model = model
        self.writings = Writings(clock)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        while not self._stop.wait(0.001):
            while self.writings.step(self.model, idle=True):
                pass

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)


@pytest.fixture
def desk(clock: FakeClock) -> Iterator[Desk]:
    made = Desk(FakeModel(written=WRITTEN), clock)
    yield made
    made.close()


def put(
    store: Store, at: float, words: str | None = None, *rules: str, camera: str = "porch"
) -> None:
    """A description, and incidents that open and close again."""
    seen = look(at, words)
    for number, rule in enumerate(rules):
        incident = f"{camera}-{at}-{rule}"
        for kind in ("rule_match", "rule_clear"):
            event = match(
                int(at) * 10 + 2 * number + (kind == "rule_clear"), rule=rule, camera=camera,
                wall_time=at, incident_id=incident, event_type=kind,
            )  # fmt: skip
            told = Outcome(camera, None, {}, (event,), None)
            assert store.record(told, [event_content(event, 1.0)])
    assert store.record(Outcome(camera, seen, {}, (), None), [])


def finished(making: Any) -> Digest:
    try:
        while True:
            next(making)
    except StopIteration as end:
        digest: Digest = end.value
        return digest


def made(store: Store, desk: Desk, camera: str = "porch") -> Digest:
    return finished(
        make_digest(store.path, camera, DAY, writer=desk.model, writings=desk.writings, zone=UTC)
    )


def test_counts_are_the_stores_and_words_are_the_models(store: Store, desk: Desk) -> None:
    put(store, NOW - 7200, "A dog runs past.", "dog", "package")
    put(store, NOW - 3600, "A dog runs past.", "dog")
    put(store, NOW - 1800, None, "dog")
    put(store, DAY[0] - 60, "Long ago.", "dog")
    put(store, NOW - 60, "Elsewhere.", "dog", camera="attic")
    digest = made(store, desk)
    assert digest.incidents == {"dog": 3, "package": 1}
    assert digest.descriptions == 3  # `look` is of the porch, whoever's incident it is
    assert (digest.text, digest.text_by) == ("A dog runs past.", "model")
    assert "05:30: A dog runs past." in desk.model.tasks[0]
    assert "05:30: Alert: dog." in desk.model.tasks[0]
    assert "Long ago" not in desk.model.tasks[0]
    told = digest_content(digest)
    assert told["summary"] == "3 incidents of dog, 1 of package. A dog runs past."


def test_who_cannot_write_lists_what_was_described(store: Store, clock: FakeClock) -> None:
    for minutes in (0, 60, 120):
        put(store, DAY[0] + 60 * minutes, "A dog runs past.")
    put(store, DAY[0] + 30, "a dog runs  past.")  # the same again, within three minutes
    put(store, NOW - 60, "A car arrives.")
    quiet = FakeModel()
    digest = finished(
        make_digest(store.path, "porch", DAY, writer=quiet, writings=Writings(clock), zone=UTC)
    )
    assert digest.text_by == "listing"
    assert digest.text.splitlines() == [
        "A dog runs past. (3 times, 07:30 to 09:30)",
        "A car arrives. (07:29)",
    ]
    assert quiet.tasks == []
    said = list(lines(digest_content(digest)))
    assert said[1] == "No incidents; 5 descriptions"
    assert "writes no summaries" in said[2]


def test_a_day_of_nothing(store: Store, desk: Desk) -> None:
    digest = made(store, desk)
    assert digest_content(digest)["summary"] == "No incidents. Nothing was described."
    assert desk.model.tasks == []


def test_what_nobody_saw_is_told(store: Store, desk: Desk) -> None:
    store.span("porch", "away", "no route to host", DAY[0] - 600, DAY[0] + 600)
    store.span("porch", "quiet", "nothing moved", NOW - 600, NOW - 60)
    store.span("attic", "away", "no route to host", NOW - 600, NOW - 60)
    digest = made(store, desk)
    assert digest.blind_s == 600
    assert "nobody looked for 10 min" in list(lines(digest_content(digest)))[1]


def test_more_than_can_be_read_is_thinned_out(store: Store, clock: FakeClock) -> None:
    connection = store._connection
    connection.execute("BEGIN")
    for n in range(2 * MOST_NOTES + 10):
        connection.execute(
            "INSERT INTO descriptions (camera, ended, text) VALUES ('porch', ?, ?)",
            (DAY[0] + n, f"Words {n}."),
        )
    connection.execute("COMMIT")
    known = facts(store.path, "porch", *DAY)
    assert known.descriptions == 2 * MOST_NOTES + 10
    assert MOST_NOTES // 2 <= len(known.words) <= MOST_NOTES


# On schedule


def scheduled(store: Store, desk: Desk, clock: FakeClock, told: list[Any]) -> DigestDesk:
    def make(camera: str, stretch: tuple[float, float]) -> Any:
        return make_digest(
            store.path, camera, stretch, writer=desk.model, writings=desk.writings, zone=UTC
        )  # fmt: skip

    return DigestDesk(
        store, make, ("porch", "attic"), clock, schedule=Schedule("day", time(7, 0), UTC),
        scheduled=("porch",), tell=lambda camera, stretch, content: told.append((stretch, content)),
    )  # fmt: skip


def test_the_first_start_tells_nothing_of_the_time_before_it(
    store: Store, desk: Desk, clock: FakeClock
) -> None:
    told: list[Any] = []
    made_by = scheduled(store, desk, clock, told)
    stop = threading.Event()
    assert made_by.run_once("porch", stop)
    assert told == []
    clock.advance(86_400 - 3600)
    assert made_by.run_once("porch", stop)
    assert told == []
    clock.advance(3600)
    assert made_by.run_once("porch", stop)
    assert [stretch for stretch, _ in told] == [(SEVEN, SEVEN + 86_400)]


CONFIG = """
cameras: {porch: {source: scene://porch}, attic: {source: scene://porch}}
digest: {every: day, at: 07:00, timezone: UTC, cameras: [porch]}
store: {path: s.db}
"""


def configured(tmp_path: Path, text: str = CONFIG) -> Any:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return load_config(path, {})


def test_a_digest_is_told_once_kept_and_made_up_after_a_stop(
    store: Store, desk: Desk, clock: FakeClock, tmp_path: Path
) -> None:
    outbox = Outbox(clock, store)
    store.remember("digest/porch", repr(SEVEN - 2 * 86_400))  # two days were missed
    put(store, SEVEN - 600, "A dog runs past.", "dog")
    stop = threading.Event()
    for _ in range(2):  # a restart in between
        made_by = digest_desk(configured(tmp_path), desk.model, desk.writings, store, outbox, clock)
        assert made_by is not None
        assert made_by.run_once("porch", stop)
        assert made_by.run_once("porch", stop)
    waiting = [queued.message for queued in outbox.take(10)]
    assert [message.topic for message in waiting] == ["smolwatch/porch/digest"]
    content = json.loads(waiting[0].payload)
    assert waiting[0].retain
    assert (content["since"], content["until"]) == (
        "2026-11-21T07:00:00.000Z",
        "2026-11-22T07:00:00.000Z",
    )
    assert content["incidents"] == {"dog": 1}
    assert newest_digest(store.path, "porch") == content
    rows = store._connection.execute("SELECT count(*) FROM digests").fetchone()[0]
    assert rows == 1


def test_a_clock_that_was_set_back_does_not_end_digests(
    store: Store, desk: Desk, clock: FakeClock
) -> None:
    told: list[Any] = []
    made_by = scheduled(store, desk, clock, told)
    store.remember("digest/porch", repr(SEVEN + 365 * 86_400))
    made_by.run_once("porch", threading.Event())
    clock.advance(86_400)
    made_by.run_once("porch", threading.Event())
    assert len(told) == 1


def test_what_cannot_be_written_now_is_tried_again(
    store: Store, desk: Desk, clock: FakeClock
) -> None:
    told: list[Any] = []
    put(store, SEVEN - 600, "A dog runs past.")
    store.remember("digest/porch", repr(SEVEN - 86_400))
    made_by = scheduled(store, desk, clock, told)
    waiting = desk.writings
    desk.close()  # nobody writes, until a moment later
    full = [waiting.put(Task("x", 8)) for _ in range(4)]
    assert not made_by.run_once("porch", threading.Event())
    assert told == []
    for future in full:
        future.cancel()
    while waiting.step(desk.model, idle=True):
        pass
    again = Desk(desk.model, clock)
    again_by = scheduled(store, again, clock, told)
    assert again_by.run_once("porch", threading.Event())
    again.close()
    assert len(told) == 1


def test_a_stop_ends_the_waiting(store: Store, clock: FakeClock) -> None:
    put(store, SEVEN - 600, "A dog runs past.")
    store.remember("digest/porch", repr(SEVEN - 86_400))
    writings = Writings(clock)  # nobody writes
    told: list[Any] = []
    model = FakeModel(written=WRITTEN)

    def make(camera: str, stretch: tuple[float, float]) -> Any:
        return make_digest(store.path, camera, stretch, writer=model, writings=writings, zone=UTC)

    made_by = DigestDesk(
        store, make, ("porch",), clock, schedule=Schedule("day", time(7, 0), UTC),
        scheduled=("porch",), tell=lambda *content: told.append(content),
    )  # fmt: skip
    stop = threading.Event()
    thread = threading.Thread(target=made_by.run, args=(stop,))
    thread.start()
    stop.set()
    writings.close("smolwatch is stopping")
    thread.join(30)
    assert not thread.is_alive()
    assert told == []


# On request


def test_on_request(store: Store, desk: Desk, clock: FakeClock) -> None:
    put(store, NOW - 600, "A dog runs past.", "dog")
    answer = answers_of(scheduled(store, desk, clock, []))["digest"]
    *_, last = answer({"camera": "porch", "since": NOW - 3600})
    assert last["digest"]["incidents"] == {"dog": 1}
    assert last["digest"]["text"] == "A dog runs past."
    *_, last = answer({"camera": "porch", "since": NOW - 3600, "until": NOW - 1200})
    assert last["digest"]["incidents"] == {}


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"camera": "proch", "since": 0.0}, "Did you mean porch?"),
        ({"camera": "porch"}, "--since 24h"),
        ({"camera": "porch", "since": NOW + 60}, "over before it begins"),
    ],
)
def test_what_cannot_be_answered_is_said(
    store: Store, desk: Desk, clock: FakeClock, request_: dict[str, Any], says: str
) -> None:
    answer = answers_of(scheduled(store, desk, clock, []))["digest"]
    with pytest.raises(ControlError, match=says):
        list(answer(request_))


def test_without_a_store_or_a_writer(store: Store, clock: FakeClock) -> None:
    with pytest.raises(ControlError, match=r"store\.path"):
        list(answers_of(None)["digest"]({"camera": "porch"}))
    put(store, NOW - 600, "A dog runs past.")
    writings = Writings(clock)
    writings.close("smolwatch is stopping")
    making = make_digest(
        store.path, "porch", DAY, writer=FakeModel(written=WRITTEN), writings=writings, zone=UTC
    )  # fmt: skip
    with pytest.raises(RequestRefused, match="stopping"):
        finished(making)


# The configuration and the payload


def test_the_configuration(tmp_path: Path) -> None:
    said = configured(tmp_path).digest
    assert said.schedule() == Schedule("day", time(7, 0), ZoneInfo("UTC"))
    assert said.cameras == ("porch",)
    assert configured(tmp_path, CONFIG.replace("at: 07:00, ", "")).digest.schedule().at == time(7)
    every = configured(tmp_path, CONFIG.replace("every: day, at: 07:00", "every: hour")).digest
    assert every.schedule().every == "hour"
    everyone = configured(tmp_path, CONFIG.replace(", cameras: [porch]", "")).digest
    assert everyone.cameras == ("porch", "attic")
    assert configured(tmp_path, "digest: off\ncameras: {a: {source: scene://yard}}").digest is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("every: day", "every: hour"), "full hour"),
        (("at: 07:00", "at: 25:00"), "time of day"),
        (("timezone: UTC", "timezone: Mars"), "no time zone"),
        (("cameras: [porch]", "cameras: [proch]"), "Did you mean porch?"),
        (("store: {path: s.db}", "store: off"), "made of what is stored"),
    ],
)
def test_mistakes_in_it_are_told(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(tmp_path, CONFIG.replace(*change))
    assert says in str(caught.value)
    assert "digest" in str(caught.value)


def test_home_assistant_is_told_of_digests_where_there_are_any(tmp_path: Path) -> None:
    config = configured(tmp_path)
    site = Site(Topics(), "homeassistant", "0")
    devices = site.devices(inventory(config))
    sensor = devices[site.config_topic("porch")]["components"]["digest"]
    assert sensor["state_topic"] == "smolwatch/porch/digest"
    assert [one["topic"] for one in sensor["availability"]] == ["smolwatch/bridge/state"]
    assert "digest" not in devices[site.config_topic("attic")]["components"]


def test_a_digest_that_is_told_no_more_is_taken_back(tmp_path: Path) -> None:
    is_known = known_topics(configured(tmp_path), Topics())
    assert is_known("smolwatch/porch/digest")
    assert not is_known("smolwatch/attic/digest")
    assert is_known("smolwatch/attic/description")


def test_a_state_that_home_assistant_takes() -> None:
    digest = Digest(
        "porch", SEVEN - 86_400, SEVEN, "A very long story. " * 1000, "model", {"dog": 1}, 3, 0.0,
        "m",
    )  # fmt: skip
    content = digest_content(digest)
    assert len(str(content["summary"])) <= 255
    assert str(content["summary"]).startswith("1 incident of dog. A very long story.")
    assert len(str(content["text"]).encode()) <= 8192
    assert digest_message(Topics(), content).topic == "smolwatch/porch/digest"
