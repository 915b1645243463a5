"""Is what is old deleted in steps too short to be in anybody's way?"""

from __future__ import annotations

import dataclasses
import math
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.store import STEP_S, Limits, Store
from daemon.store_pruning import FEW_ROWS, TEXT_GRAIN, Pruning
from daemon.store_queries import why
from daemon.store_schema import MIGRATIONS
from daemon.store_turns import Turns
from tests.daemon.test_store import NOW, count, look, rows, told
from tests.fakes import FakeClock
from tests.mosquitto import wait_until


class TickingClock(FakeClock):
    """Each look at it takes a millisecond."""

    def monotonic_s(self) -> float:
        self.advance(0.001)
        return super().monotonic_s()


@pytest.fixture
def clock() -> TickingClock:
    return TickingClock(wall_time=NOW)


@pytest.fixture
def store(tmp_path: Path, clock: TickingClock) -> Iterator[Store]:
    opened = Store(tmp_path / "s.db", Limits(), clock)
    yield opened
    opened.close()


def fill(store: Store, observations: int) -> None:
    for n in range(observations):
        store.record(*told(look(NOW + n / 100)))


def test_a_step_ends_when_its_time_is_over(store: Store, clock: TickingClock) -> None:
    fill(store, 400)
    clock.step_wall(40 * 86_400)
    left = 400
    while store.prune_step():
        gone = left - int(str(count(store, "observations")))
        assert gone <= FEW_ROWS * (STEP_S / 0.001 + 1)
        left -= gone
    assert left == 0


def test_a_step_ends_when_somebody_waits(store: Store) -> None:
    fill(store, 100)
    pruning, waits = Pruning(), lambda: False
    while not pruning.step(store._connection, math.inf, 1 << 40, waits):
        pass
    assert count(store, "observations") == 100 - FEW_ROWS


def test_the_holder_of_a_lock_sees_who_waits() -> None:
    turns, got = Turns(), threading.Event()

    def use() -> None:
        with turns:
            got.set()

    with turns:
        assert not turns.wanted
        thread = threading.Thread(target=use)
        thread.start()
        wait_until(lambda: turns.wanted, "somebody who waits")
        assert not got.is_set()
    thread.join(10)
    assert got.is_set()
    assert not turns.wanted


def test_no_table_waits_for_another_ones_rows(store: Store, clock: TickingClock) -> None:
    fill(store, 600)
    for n in range(3):
        store.span("porch", "away", "no route", NOW + n, NOW + n)
    clock.step_wall(40 * 86_400)
    steps = 0
    while count(store, "spans") and steps < 8:
        assert store.prune_step()
        steps += 1
    assert count(store, "spans") == 0
    assert int(str(count(store, "observations"))) > 0


def texts(store: Store) -> set[str]:
    return {str(text) for (text,) in rows(store, "SELECT text FROM texts")}


def test_texts_that_nothing_uses_go_and_those_in_use_stay(
    store: Store, clock: TickingClock
) -> None:
    outcome, contents = told(look())
    for n in range(2 * TEXT_GRAIN + 100):
        why_not = f"for_s: 30, true for {n} s" if n < 50 else "open_above: 0.7"
        seen = look(NOW + n)
        store.record(
            dataclasses.replace(outcome, observation=seen, verdicts={"dog": why_not}), contents
        )
    assert len(texts(store)) == 50 + 3
    clock.step_wall(30 * 86_400 + TEXT_GRAIN + 60)  # all but the newest go
    while store.prune_step():
        pass
    assert texts(store) == {'{"dog":"open_above: 0.7"}', '["Is there a dog?"]', "tiny@1"}
    store.record(dataclasses.replace(outcome, observation=look(NOW + 9000)), contents)
    referred = (
        "SELECT count(*) FROM observations o JOIN texts q ON q.id = o.questions"
        " JOIN texts v ON v.id = o.verdicts JOIN texts m ON m.id = o.model"
    )
    assert rows(store, referred) == [(count(store, "observations"),)]


def test_a_text_that_was_deleted_can_come_again(store: Store, clock: TickingClock) -> None:
    outcome, contents = told(look())
    rare = dataclasses.replace(outcome, verdicts={"dog": "rare"})
    store.record(rare, contents)
    fill(store, TEXT_GRAIN + 50)
    clock.step_wall(30 * 86_400 + 10.25)
    while store.prune_step():
        pass
    assert '{"dog":"rare"}' not in texts(store)
    seen = look(NOW + 60)
    store.record(dataclasses.replace(rare, observation=seen), contents)
    assert why(store.path, "porch", NOW + 58)["windows"][0]["rules"] == {"dog": "rare"}


def test_texts_of_an_older_file_are_not_taken_for_unused(
    tmp_path: Path, clock: TickingClock
) -> None:
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as old:
        old.executescript(MIGRATIONS[0])
        old.execute("INSERT INTO texts (text) VALUES ('[\"Is there a dog?\"]'), ('{}'), ('m')")
        old.executemany(
            "INSERT INTO observations (id, camera, started, ended, questions, answers, verdicts,"
            " timings, model) VALUES (?, 'porch', ?, ?, 1, '[0.5]', 2, '[]', 3)",
            [(9000 + n, NOW + n, NOW + n + 7) for n in range(20)],
        )
        old.execute("PRAGMA user_version = 1")
    old.close()
    store = Store(path, Limits(), clock)
    while store.prune_step():
        pass
    assert len(texts(store)) == 3
    assert len(why(path, "porch", NOW + 5)["windows"]) == 6
    store.close()
