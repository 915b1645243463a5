"""Does what an earlier release left behind still work?

The files in releases/ were written by the code of that time and are never changed.
"""

from __future__ import annotations

import gzip
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from daemon.config import Config, ConfigError, load_config
from daemon.config_errors import section_keys
from daemon.config_renamed import RENAMED
from daemon.store import Limits, Store
from daemon.store_events import EventFilter, events
from daemon.store_queries import why
from daemon.store_schema import MIGRATIONS
from tests.daemon.events import DESCRIBE, MATCH
from tests.daemon.test_store import NOW, look, told
from tests.fakes import FakeClock

RELEASES = Path(__file__).parent / "releases"
STORES = sorted(RELEASES.glob("store-*.db.gz"))
CONFIGS = sorted(RELEASES.glob("config-*.yaml"))


def version(kept: Path) -> int:
    return int(re.findall(r"\d+", kept.name)[0])


def unpacked(kept: Path, folder: Path) -> Path:
    path = folder / "smolwatch.db"
    path.write_bytes(gzip.decompress(kept.read_bytes()))
    return path


def schema(path: Path) -> set[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))


@pytest.fixture(params=STORES, ids=lambda kept: kept.name)
def kept(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture
def upgraded(kept: Path, tmp_path: Path) -> Iterator[Store]:
    store = Store(unpacked(kept, tmp_path), Limits(), FakeClock(wall_time=NOW + 60))
    yield store
    store.close()


def test_the_first_store_is_kept() -> None:
    assert 1 in {version(kept) for kept in STORES}


def test_an_older_store_keeps_what_it_knows(upgraded: Store) -> None:
    found = [content for _, content in events(upgraded.path, EventFilter())]
    assert [content["event_id"] for content in found] == [DESCRIBE.event_id, MATCH.event_id]
    searched = events(upgraded.path, EventFilter(search="dogs"))
    assert [content["event_id"] for _, content in searched] == [DESCRIBE.event_id]
    moment = why(upgraded.path, "porch", NOW - 1)
    assert [window["rules"] for window in moment["windows"]] == [{"dog": "open_above: 0.7"}]
    assert why(upgraded.path, "porch", NOW + 15)["spans"][0]["cause"] == "unreachable"
    assert upgraded.recall("switch/porch") == ("off", NOW)


def test_an_older_store_goes_on(upgraded: Store) -> None:
    assert upgraded.record(*told(look(NOW + 60, description="A third dog.")))
    assert len(why(upgraded.path, "porch", NOW + 59)["windows"]) == 1


def test_an_older_store_becomes_what_a_new_one_is(upgraded: Store, tmp_path: Path) -> None:
    fresh = Store(tmp_path / "fresh.db", Limits(), FakeClock(wall_time=NOW))
    fresh.close()
    assert schema(upgraded.path) == schema(fresh.path)


def test_migrations_that_were_released_are_as_they_were(kept: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.db"
    with closing(sqlite3.connect(again)) as connection:
        for script in MIGRATIONS[: version(kept)]:
            connection.executescript(script)
    assert schema(again) == schema(unpacked(kept, tmp_path))


@pytest.mark.parametrize("kept", CONFIGS, ids=lambda kept: kept.name)
def test_an_older_configuration_works_or_is_told_the_new_names(kept: Path) -> None:
    names = set(re.findall(r"\{([A-Z_]+)\}", kept.read_text()))
    try:
        load_config(kept, {**os.environ, **dict.fromkeys(names, "secret")})
    except ConfigError as error:
        unhelpful = [p for p in error.problems if not p.text.startswith("is called ")]
        assert unhelpful == [], "add what was renamed to daemon/config_renamed.py"


def test_an_old_key_is_told_its_new_name(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text('mqtt:\n  host: localhost\ncameras:\n  porch:\n    url: "scene://porch"\n')
    with pytest.raises(ConfigError) as refused:
        load_config(path, {})
    assert f"{path}:2: mqtt.host: is called broker here" in str(refused.value)
    assert f"{path}:5: cameras.porch.url: is called source here" in str(refused.value)


@pytest.mark.parametrize("old", RENAMED, ids=".".join)
def test_new_names_are_keys_and_old_ones_are_not(old: tuple[str, ...]) -> None:
    keys = section_keys(Config, old[:-1])
    assert RENAMED[old] in keys
    assert old[-1] not in keys
