"""What becomes of alerts on real file systems that are full or read-only?"""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from daemon.config import Config
from daemon.disk_reserve import RESERVE_BYTES, DiskReserve
from daemon.media_files import LEAVE_BYTES, MediaFiles
from daemon.mqtt.payloads import Message
from daemon.outbox import Outbox
from daemon.service import open_store
from daemon.store import Limits, Store
from daemon.store_file import StoreError
from pipelines.types import Outcome
from tests.daemon.events import match
from tests.disks import fill, mounted
from tests.fakes import FakeClock

MIB = 1 << 20
NAME = "porch-01JD00000000000000000000{:02d}.jpg"


def picture(path: Path) -> None:
    path.write_bytes(b"x" * 1000)


def alert(store: Store, number: int) -> bool:
    event = match(number, incident_id=f"01JC{number:022d}")
    content = {"event_id": event.event_id, "pad": "x" * 4000}
    return store.record(Outcome("porch", None, {}, (event,), None), [content])


def message_of(number: int) -> Message:
    return Message(f"smolwatch/{number}", b"{}", 1, retain=False, kind="alert")


def words(store: Store) -> bool:
    """What can be done without."""
    return store.span("porch", "away", "", 0.0, 1.0) is not None


def test_pictures_stop_first_then_words_then_the_reserve_is_for_alerts(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=128m") as disk, capture_logs() as logs:
        clock = FakeClock()
        store = Store(disk / "s.db", Limits(), clock, DiskReserve(disk / "s.db.reserve"))
        files = MediaFiles(disk / "media", 10**9, 1e12, clock)
        files.write(NAME.format(1), picture)
        assert (words(store), alert(store, 1), store.trouble) == (True, True, None)

        half = fill(disk, "half", LEAVE_BYTES - MIB)
        with pytest.raises(OSError, match="No space"):
            files.write(NAME.format(2), picture)
        assert (words(store), alert(store, 2), store.trouble) == (True, True, None)

        full = fill(disk, "full", 0)
        assert alert(store, 3)  # with room that was kept for it
        assert not (disk / "s.db.reserve").exists()
        assert not words(store)
        assert "only alerts" in str(store.trouble)

        brim = fill(disk, "brim", 0)
        stored = 4
        while alert(store, stored) and stored < 9999:  # pages that were free are written first
            stored += 1
        assert stored < 9999
        assert "nothing can be stored" in str(store.trouble)
        loud = [entry for entry in logs if entry["log_level"] == "error"]
        assert [entry["event"] for entry in loud] == ["store.reserve_released", "store.failing"]
        outbox = Outbox(clock, store)
        assert outbox.stats().on_disk

        for ballast in (brim, full, half):
            ballast.unlink()
        assert alert(store, 10_000)
        store.keep_reserve()
        assert (disk / "s.db.reserve").stat().st_size == RESERVE_BYTES
        assert (words(store), store.trouble) == (True, None)
        files.write(NAME.format(3), picture)
        events = store.read(lambda c: c.execute("SELECT count(*) FROM events").fetchone()[0])
        assert events == stored  # 1 .. stored - 1, and the last one
        store.close()
    assert logs[-1]["event"] in {"store.recovered", "store.reserve_restored"}


def config_of(folder: Path) -> Config:
    cameras = {"a": {"source": "scene://driveway?seed=1"}}
    return Config.model_validate({"cameras": cameras, "store": {"path": folder / "s.db"}})


def test_a_read_only_disk_at_the_start_is_no_reason_to_watch_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with mounted(tmp_path / "disk", "ro,size=10m") as disk, capture_logs() as logs:
        store = open_store(config_of(disk), {"RUNTIME_DIRECTORY": str(run)}, FakeClock())
        assert store is not None
        assert alert(store, 1)
        assert "gone with a restart" in str(store.trouble)
        store.close()
        told = [entry["event"] for entry in logs if entry["log_level"] == "error"]
        assert told == ["store.in_memory"]
        with pytest.raises(StoreError, match="Read-only file system"):
            open_store(config_of(disk), {}, FakeClock())


def test_a_full_disk_at_the_start_neither(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with mounted(tmp_path / "disk", "size=1m") as disk:
        fill(disk, "full", 0)
        store = open_store(config_of(disk), {"RUNTIME_DIRECTORY": str(run)}, FakeClock())
        assert store is not None
        assert alert(store, 1)
        assert store.path.parent == run
        store.close()


def test_a_place_that_is_simply_wrong_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="name another place"):
        open_store(config_of(tmp_path / "file"), {"RUNTIME_DIRECTORY": "/run"}, FakeClock())
