"""What if the disk turns read-only while the daemon runs, and is mended?"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from daemon.app import App, build_app
from daemon.config import load_config
from daemon.mqtt.options import MqttOptions
from daemon.outbox import Outbox
from daemon.running import Running
from daemon.service import open_store
from daemon.store import Limits, Store
from daemon.systemd import Notifier, Watchdog
from pipelines.clock import SystemClock
from tests.daemon.test_disk_full import alert, message_of, words
from tests.disks import Stick, stick
from tests.fakes import FakeClock, FakeModel
from tests.mosquitto import WAIT_S, Subscriber, mosquitto, wait_until

CONFIG = """
mqtt: {{broker: "127.0.0.1:{port}"}}
cameras:
  yard:
    source: scene://yard?seed=3&width=320
    window: {{num_frames: 4, interval_s: 0.2, stride_s: 0.2}}
    gate: always
    describe: off
rules:
  person:
    ask: "Is there a person?"
    debounce: {{needed: 1, of: 1}}
    cooldown_s: 0
    snapshot: true
store: {{path: {disk}/s.db}}
media: {{dir: {disk}/media}}
log: {{events: {disk}/events.jsonl}}
"""
READ_ONLY = "the file system is read-only"


@contextmanager
def running(app: App) -> Iterator[None]:
    notifier = Notifier()
    thread = threading.Thread(target=Running(app).run, args=(Watchdog(notifier, None), notifier))
    thread.start()
    try:
        yield
    finally:
        app.workers.ended.set()
        thread.join(WAIT_S)
    assert not thread.is_alive()


def health(listener: Subscriber) -> dict[str, Any]:
    return json.loads(listener.on("smolwatch/bridge/health")[-1].payload)


class Visitor(FakeModel):
    """Sees somebody whenever a test wants it."""

    def __init__(self) -> None:
        self.is_there = False
        super().__init__(lambda _window, _question: 0.9 if self.is_there else 0.1)

    def comes_and_goes(self, listener: Subscriber, count: int) -> None:
        """The rule opens for the so many-th time and closes, and both arrive."""
        self.is_there = True
        wait_until(lambda: told(listener, "rule_match") == count, "the alert")
        self.is_there = False
        wait_until(lambda: told(listener, "rule_clear") == count, "its end")


def told(listener: Subscriber, event_type: str) -> int:
    found = (one.content for one in listener.on("smolwatch/yard/event"))
    return sum(one["event_type"] == event_type for one in found)


def stored(store: Store) -> int:
    find = "SELECT count(*) FROM events WHERE event_type = 'rule_match'"
    return int(store.read(lambda c: c.execute(find).fetchone()[0]) or 0)


def test_alerts_go_out_it_is_shown_everywhere_and_the_mended_disk_is_gone_on_with(
    tmp_path: Path,
) -> None:
    with stick(tmp_path) as disk, mosquitto(tmp_path) as broker, capture_logs() as logs:
        path = tmp_path / "c.yaml"
        path.write_text(CONFIG.format(disk=disk.folder, port=broker.port))
        config = load_config(path, os.environ)
        clock, visitor = SystemClock(), Visitor()
        store = open_store(config, {}, clock)
        assert store is not None
        app = build_app(config, visitor, MqttOptions("127.0.0.1", broker.port), clock, store)
        listener = Subscriber(broker.port)
        with listener, running(app):
            visitor.comes_and_goes(listener, 1)
            wait_until(lambda: len(list((disk.folder / "media").glob("*.jpg"))) == 1, "a picture")

            disk.fail()
            visitor.comes_and_goes(listener, 2)  # while nothing can be written
            wait_until(lambda: READ_ONLY in str(health(listener)["problem"]), "MQTT tells")
            wait_until(lambda: "no pictures are kept" in str(health(listener)["problem"]), "all")

            def shown() -> str:
                (line,) = app.front.answers["top"]({})  # `smolwatch top`, and HTTP
                return str(line["problem"])

            wait_until(lambda: "memory only" not in shown(), "the broker has the alerts")
            assert shown() == (
                "nothing can be stored, no pictures are kept, the event log is not written: "
                f"{READ_ONLY}: look for disk errors (dmesg), stop smolwatch, check the file "
                "system, mount it writable"
            )
            assert READ_ONLY in app.reporter.report()  # systemctl status
            assert stored(store) == 1  # reading goes on

            disk.pull_out()
            disk.mend()
            disk.put_in()
            wait_until(lambda: store.trouble is None, "the store")
            visitor.comes_and_goes(listener, 3)
            wait_until(lambda: health(listener)["problem"] is None, "MQTT tells", 2 * WAIT_S)
            assert len(list((disk.folder / "media").glob("*.jpg"))) == 2
            assert stored(store) == 2
            assert (disk.folder / "events.jsonl").read_text().count("rule_match") == 2
    told_of = [one["event"] for one in logs if one["event"].startswith(("store", "eventlog"))]
    assert told_of.count("store.failing") == 1  # and not every few seconds
    assert told_of.count("store.reopened") == told_of.count("eventlog.recovered") == 1


def broken(disk: Stick, clock: FakeClock) -> tuple[Store, Outbox]:
    """A store in which one message waits, on a disk that turned read-only."""
    store = Store(disk.folder / "s.db", Limits(), clock)
    outbox = Outbox(clock, store)
    outbox.put(message_of(1))
    disk.fail()
    assert not alert(store, 1)
    outbox.put(message_of(2))
    assert outbox.stats().in_memory == 1
    return store, outbox


def test_nothing_that_waits_is_lost_or_told_twice(tmp_path: Path) -> None:
    clock = FakeClock()
    with stick(tmp_path) as disk:
        store, outbox = broken(disk, clock)
        assert [one.message for one in outbox.take(9)] == [message_of(1), message_of(2)]
        outbox.acknowledge([1])  # it cannot be deleted, and is not sent again
        outbox.put(message_of(3))
        outbox.take(9)
        outbox.acknowledge([3])  # from memory it can
        outbox.release()
        assert outbox.stats().pending == 1
        assert [one.message for one in outbox.take(9)] == [message_of(2)]
        outbox.release()
        disk.pull_out()
        disk.mend()
        disk.put_in()
        store.keep_place()
        assert alert(store, 2)
        assert store.trouble is None
        clock.advance(60.0)
        assert [one.message for one in outbox.take(9)] == [message_of(2)]
        assert outbox.stats().in_memory == 0  # it has moved to the disk
        store.close()


def test_an_empty_disk_in_its_place_gets_what_waits(tmp_path: Path) -> None:
    clock = FakeClock()
    (tmp_path / "new").mkdir()
    with stick(tmp_path) as disk:
        store, outbox = broken(disk, clock)
        disk.pull_out()
        with stick(tmp_path / "new") as new:
            disk.folder.rename(tmp_path / "away")
            disk.folder.symlink_to(new.folder)
            store.keep_place()
            assert alert(store, 2)
            assert store.trouble is None
            clock.advance(60.0)
            assert [one.message for one in outbox.take(9)] == [message_of(1), message_of(2)]
            store.close()
            disk.folder.unlink()
            (tmp_path / "away").rename(disk.folder)


def test_another_store_in_its_place_is_left_alone(tmp_path: Path) -> None:
    with stick(tmp_path) as disk:
        other = disk.folder / "s.db"
        disk.pull_out()
        (disk.folder / "first").touch()  # so that the other one has another number
        Store(other, Limits(), FakeClock()).close()
        disk.put_in()
        store, _ = broken(disk, FakeClock())
        disk.pull_out()
        before = other.read_bytes()
        store.keep_place()
        assert "another store is at" in str(store.trouble)
        assert not words(store)
        assert other.read_bytes() == before
        store.close()


@pytest.mark.parametrize("writes", [0, 1])
def test_that_nothing_is_to_be_written_is_no_recovery(tmp_path: Path, writes: int) -> None:
    with stick(tmp_path) as disk, capture_logs() as logs:
        store, _ = broken(disk, FakeClock())
        if writes:
            store.remember("switch", "off")
        assert not store.prune_step()
        assert READ_ONLY in str(store.trouble)
        store.close()
    assert "store.recovered" not in [one["event"] for one in logs]
