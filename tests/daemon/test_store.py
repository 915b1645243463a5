"""Is what happened written down whole, kept within bounds, and never in anybody's way?"""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from daemon.mqtt.payloads import event_content
from daemon.store import LOG_BYTES, Limits, Store
from daemon.store_file import StoreError, checkpoint, log_bytes, open_reader
from daemon.store_rows import Content
from pipelines.types import Event, Observation, Outcome, Timings
from tests.daemon.events import DESCRIBE, MATCH, match
from tests.fakes import FakeClock

NOW = 1_700_000_000.0


def look(at: float = NOW, description: str | None = None, camera: str = "porch") -> Observation:
    return Observation(
        camera=camera,
        window_seq=1,
        start_s=93.0,
        end_s=100.0,
        wall_time=at,
        answers={"Is there a dog?": 0.123456},
        description=description,
        timings=Timings(3.0, 210.0, 340.0, 0.0),
        model_id="tiny@1",
        prompt_sha256="ab" * 32,
    )


def told(
    observation: Observation | None, *events: Event, state: str | None = None, camera: str = "porch"
) -> tuple[Outcome, list[Content]]:
    outcome = Outcome(camera, observation, {"dog": "open_above: 0.7"}, events, state)
    return outcome, [event_content(event, 560.0) for event in events]


@pytest.fixture
def said() -> Iterator[list[EventDict]]:
    with capture_logs() as logs:
        yield logs


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(wall_time=NOW)


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    opened = Store(tmp_path / "state" / "smolwatch.db", Limits(), clock)
    yield opened
    opened.close()


def rows(store: Store, sql: str) -> list[tuple[object, ...]]:
    reader = open_reader(store.path)
    try:
        return list(reader.execute(sql))
    finally:
        reader.close()


def count(store: Store, table: str) -> object:
    return rows(store, f"SELECT count(*) FROM {table}")[0][0]


def test_an_observation_keeps_its_answers_and_what_held_rules_back(store: Store) -> None:
    assert store.record(*told(look()))
    assert rows(
        store,
        "SELECT camera, started, ended, q.text, answers, v.text, timings, m.text"
        " FROM observations o JOIN texts q ON q.id = questions JOIN texts v ON v.id = verdicts"
        " JOIN texts m ON m.id = model",
    ) == [
        (
            "porch", NOW - 7, NOW, '["Is there a dog?"]', "[0.1235]", '{"dog":"open_above: 0.7"}',
            "[3.0,210.0,340.0,0.0]", "tiny@1",
        )
    ]  # fmt: skip


def test_texts_that_come_again_are_kept_once(store: Store) -> None:
    for n in range(5):
        store.record(*told(look(NOW + n)))
    assert count(store, "texts") == 3
    assert count(store, "observations") == 5


def test_descriptions_are_found_by_their_words_until_they_go(
    store: Store, clock: FakeClock
) -> None:
    store.record(*told(look(description="Two dogs run past the gate."), DESCRIBE))
    find = "SELECT rowid FROM descriptions_text WHERE descriptions_text MATCH 'dog'"
    assert rows(store, find) == [(1,)]
    assert rows(store, "SELECT description FROM events") == [(1,)]
    clock.step_wall(40 * 86_400)
    while store.prune_step():
        pass
    assert rows(store, find) == []


def test_an_event_opens_and_closes_its_incident(store: Store) -> None:
    store.record(*told(look(), MATCH))
    assert rows(store, "SELECT incident_id, opened, closed, score FROM incidents") == [
        (MATCH.incident_id, MATCH.wall_time, None, MATCH.score)
    ]
    clear = match(2, event_type="rule_clear", wall_time=MATCH.wall_time + 9)
    store.record(*told(None, clear))
    assert rows(store, "SELECT closed FROM incidents") == [(MATCH.wall_time + 9,)]
    assert count(store, "observations") == 1


def test_an_event_and_its_state_change_are_one(store: Store) -> None:
    """What fails in the middle leaves nothing: here the second event has the first one's id."""
    store.record(*told(look(), match(1), state="before"))
    assert not store.record(
        *told(look(NOW + 2), match(2, incident_id="b"), match(1), state="after")
    )
    assert (count(store, "events"), count(store, "observations")) == (1, 1)
    assert store.recall("rules/porch") == ("before", NOW)
    assert store.lost == 1
    third = match(3, incident_id="another")
    assert store.record(*told(look(NOW + 4), third, state="after"))  # and texts still fit
    assert store.recall("rules/porch") == ("after", NOW)


def test_a_text_that_was_taken_back_is_written_again(store: Store) -> None:
    new = dataclasses.replace(look(), answers={"A new question?": 0.5})
    store.record(*told(look(), match(1)))
    assert not store.record(*told(new, match(1)))
    assert store.record(*told(new))
    texts = rows(store, "SELECT text FROM observations JOIN texts ON texts.id = questions")
    assert texts == [('["Is there a dog?"]',), ('["A new question?"]',)]


def test_what_is_remembered_outlives_the_process(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "s.db"
    first = Store(path, Limits(), clock)
    first.remember("switch/porch", "off")
    first.close()
    again = Store(path, Limits(), clock)
    assert again.recall("switch/porch") == ("off", NOW)
    assert again.recall("switch/attic") is None
    again.close()


def test_old_rows_go_and_open_incidents_stay(store: Store, clock: FakeClock) -> None:
    for n in range(450):
        store.record(*told(look(NOW + n)))
    store.record(*told(None, MATCH))
    clock.step_wall(30 * 86_400 + 440)
    while store.prune_step():
        pass
    assert rows(store, "SELECT min(ended) FROM observations") == [(NOW + 440,)]
    clock.step_wall(5000 * 86_400)
    while store.prune_step():
        pass
    assert count(store, "observations") == 0
    assert count(store, "events") == 0
    assert count(store, "incidents") == 1


def test_too_many_bytes_cost_observations_first(tmp_path: Path, clock: FakeClock) -> None:
    store = Store(tmp_path / "s.db", Limits(max_bytes=300_000), clock)
    store.record(*told(None, MATCH))
    for n in range(5000):
        store.record(*told(look(NOW + n)))
    assert store.path.stat().st_size + store.path.with_name("s.db-wal").stat().st_size > 300_000
    while store.prune_step():
        pass
    checkpoint(store.path)
    left = count(store, "observations")
    assert isinstance(left, int)
    assert 500 < left < 5000
    assert rows(store, "SELECT max(ended) FROM observations") == [(NOW + 4999,)]
    assert count(store, "events") == 1
    store.close()
    assert store.path.stat().st_size <= 300_000


def test_a_damaged_file_is_set_aside_with_a_word_and_a_new_one_begun(
    tmp_path: Path, clock: FakeClock, said: list[EventDict]
) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(b"this is no database, " * 400)
    store = Store(path, Limits(), clock)
    assert store.record(*told(look(), MATCH))
    store.close()
    (aside,) = tmp_path.glob("s.db.damaged-*")
    assert aside.read_bytes().startswith(b"this is no")
    (damaged,) = (entry for entry in said if entry["event"] == "store.damaged")
    assert damaged["set_aside"] == str(aside)


def test_damage_within_the_file_is_found_at_the_start(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "s.db"
    store = Store(path, Limits(), clock)
    for n in range(2000):
        store.record(*told(look(NOW + n)))
    store.close()
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 8192)
    Store(path, Limits(), clock).close()
    assert len(list(tmp_path.glob("s.db.damaged-*"))) == 1


def test_damage_while_running_is_set_aside_too(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "s.db"
    store = Store(path, Limits(), clock)
    for n in range(2000):
        store.record(*told(look(NOW + n)))
    checkpoint(store.path)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    store._connection.execute("PRAGMA shrink_memory")  # what is in memory is not read again
    clock.step_wall(40 * 86_400)
    while store.prune_step():
        pass
    assert len(list(tmp_path.glob("s.db.damaged-*"))) == 1
    assert store.record(*told(look(), MATCH))
    assert count(store, "events") == 1
    store.close()


def test_a_full_disk_is_said_once_and_its_end_too(store: Store, said: list[EventDict]) -> None:
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    results = [store.record(*told(look(description="A dog. " * 300))) for _ in range(50)]
    assert results[-1] is False
    assert store.lost == results.count(False)
    assert [entry["event"] for entry in said] == ["store.failing"]
    store._connection.execute("PRAGMA max_page_count = 1000000")
    assert store.record(*told(look(), MATCH))
    assert said[-1]["event"] == "store.recovered"


def test_a_long_log_is_begun_anew_when_nobody_reads_it(store: Store) -> None:
    while log_bytes(store.path) <= LOG_BYTES:
        store.remember("word", "x" * 1_000_000, durable=False)
    reader = open_reader(store.path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM runtime").fetchone()
    store.keep_log()
    assert log_bytes(store.path) > LOG_BYTES  # it must not go while somebody reads it
    reader.close()
    store.keep_log()
    assert log_bytes(store.path) == 0
    assert store.recall("word") == ("x" * 1_000_000, NOW)


def test_a_place_that_cannot_be_written_says_what_to_do(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"store\.path"):
        Store(tmp_path / "file" / "s.db", Limits(), clock)


def test_others_may_not_read_it(store: Store) -> None:
    store.record(*told(look(), MATCH))
    files = list(store.path.parent.iterdir())
    assert len(files) == 3
    assert all(file.stat().st_mode & 0o007 == 0 for file in files)


def test_a_newer_file_is_left_alone(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "s.db"
    Store(path, Limits(), clock).close()
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA user_version = 99")
    raw.close()
    with pytest.raises(StoreError, match="newer smolwatch"):
        Store(path, Limits(), clock)
    assert path.exists()


def test_spans_grow(store: Store) -> None:
    span = store.span("porch", "away", "unreachable", NOW, NOW)
    assert span is not None
    store.lengthen(span, NOW + 60, 7)
    assert rows(store, "SELECT cause, detail, started, ended, windows FROM spans") == [
        ("away", "unreachable", NOW, NOW + 60, 7)
    ]
