"""Is there room for alerts on a full disk, and is it taken back later?"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from daemon.config import Config
from daemon.disk_reserve import DiskReserve
from daemon.media_files import LEAVE_BYTES, MediaFiles
from daemon.service import open_store
from daemon.store import Limits, Store
from pipelines.clock import SystemClock
from tests.fakes import FakeClock


def disk_with(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))


def test_it_takes_real_blocks_and_gives_them_up_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "reserve"
    reserve = DiskReserve(path, 1_000_000)
    assert path.stat().st_blocks * 512 >= 1_000_000  # a hole would be no reserve
    with capture_logs() as logs:
        assert reserve.release()
        assert not reserve.release()
    assert not path.exists()
    assert [entry["event"] for entry in logs] == ["store.reserve_released"]


def test_it_is_taken_again_when_there_is_twice_as_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve = DiskReserve(tmp_path / "reserve", 1_000_000)
    reserve.release()
    disk_with(monkeypatch, 1_999_999)
    reserve.restore()
    assert reserve.released
    disk_with(monkeypatch, 2_000_000)
    reserve.restore()
    assert not reserve.released
    assert (tmp_path / "reserve").stat().st_size == 1_000_000


def test_a_disk_without_room_for_it_is_as_full(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    reserve = DiskReserve(tmp_path / "file" / "reserve", 1_000_000)
    assert reserve.released
    assert not reserve.release()


def test_while_it_is_given_away_only_what_must_be_is_written(tmp_path: Path) -> None:
    reserve = DiskReserve(tmp_path / "reserve", 100_000)
    store = Store(tmp_path / "s.db", Limits(), FakeClock(), reserve)
    reserve.release()
    assert store.span("porch", "away", "", 0.0, 1.0) is None
    store.remember("switch", "off")
    assert store.recall("switch") is not None
    store.keep_reserve()
    assert store.span("porch", "away", "", 0.0, 1.0) is not None
    store.close()


def test_the_service_has_one(tmp_path: Path) -> None:
    cameras = {"a": {"source": "scene://driveway?seed=1"}}
    config = Config.model_validate({"cameras": cameras})
    store = open_store(config, {"STATE_DIRECTORY": str(tmp_path)}, SystemClock())
    assert store is not None
    store.close()
    assert (tmp_path / "smolwatch.db.reserve").stat().st_size == 16 * 1024 * 1024


def touch(path: Path) -> None:
    path.write_bytes(b"x")


def test_pictures_are_the_first_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = MediaFiles(tmp_path, 10_000, 1e12, SystemClock())
    name = "porch-01JD0000000000000000000000.jpg"
    disk_with(monkeypatch, LEAVE_BYTES - 1)
    with pytest.raises(OSError, match="No space"):
        files.write(name, touch)
    assert list(tmp_path.iterdir()) == []
    disk_with(monkeypatch, LEAVE_BYTES)
    files.write(name, touch)
    assert [path.name for path in tmp_path.iterdir()] == [name]
