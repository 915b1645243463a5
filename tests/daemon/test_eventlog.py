"""Does the event log keep whole lines, within bounds, whatever the disk does?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from structlog.typing import EventDict

from daemon.eventlog import EventLog
from daemon.mqtt.payloads import event_content
from daemon.mqtt.topics import Topics
from daemon.outbox import Outbox
from daemon.sink import EventSink
from pipelines.types import Event, Outcome
from tests.daemon.events import MATCH, match
from tests.fakes import FakeClock


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    with structlog.testing.capture_logs() as captured:
        yield captured


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_event_is_one_line_that_can_be_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "made" / "for" / "it" / "events.jsonl"
    log = EventLog(path)
    log.append({"n": 1, "text": "zwei\nZeilen, ü"})
    assert lines(path) == [{"n": 1, "text": "zwei\nZeilen, ü"}]
    log.append({"n": 2})
    log.close()
    EventLog(path).append({"n": 3})
    assert [line["n"] for line in lines(path)[1:]] == [2, 3]


def test_a_line_cut_by_a_crash_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n"')
    EventLog(path).append({"n": 2})
    assert path.read_text().splitlines() == ['{"n": 1}', '{"n"', '{"n":2}']


def test_full_files_are_numbered_and_so_many_kept(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path, max_bytes=100, keep=2)
    for n in range(50):
        log.append({"n": n, "pad": "x" * 20})
    names = ["events.jsonl.2", "events.jsonl.1", "events.jsonl"]
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(names)
    assert all(file.stat().st_size <= 100 for file in tmp_path.iterdir())
    kept = [line["n"] for name in names for line in lines(tmp_path / name)]
    assert kept == list(range(50))[-len(kept) :]


def test_without_predecessors_it_begins_anew(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl", max_bytes=30, keep=0)
    for n in range(10):
        log.append({"n": n, "pad": "x" * 10})
    assert [line["n"] for line in lines(tmp_path / "events.jsonl")] == [9]
    assert len(list(tmp_path.iterdir())) == 1


def test_old_files_go_and_those_of_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    others = ["events.jsonl.gz", "events.jsonl.1.bak", "events.jsonl2.1"]
    for name in [*others, "events.jsonl.1", "events.jsonl.2", "events.jsonl.7"]:
        (tmp_path / name).write_text("{}\n")
    os.utime(tmp_path / "events.jsonl.2", (1000.0, 1000.0))
    now = (tmp_path / "events.jsonl.1").stat().st_mtime
    EventLog(path, keep=3, max_age_s=3600.0, wall_time=lambda: now + 60).append({"n": 1})
    left = sorted(file.name for file in tmp_path.iterdir())
    assert left == sorted([*others, "events.jsonl", "events.jsonl.1"])


@pytest.mark.parametrize("how", ["moved", "deleted"])
def test_a_file_taken_away_by_logrotate_is_begun_anew(tmp_path: Path, how: str) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.append({"n": 1})
    path.rename(tmp_path / "old") if how == "moved" else path.unlink()
    log.append({"n": 2})
    assert lines(path) == [{"n": 2}]
    if how == "moved":
        assert lines(tmp_path / "old") == [{"n": 1}]
    assert log.lost == 0


def test_a_full_disk_is_said_once_and_its_end_too(tmp_path: Path, logs: list[EventDict]) -> None:
    path = tmp_path / "events.jsonl"
    path.symlink_to("/dev/full")  # every write to it fails as on a full disk
    log = EventLog(path)
    for n in range(3):
        log.append({"n": n})
    path.unlink()
    log.append({"n": 3})
    log.append({"n": 4})
    assert [line["n"] for line in lines(path)] == [3, 4]
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("eventlog.failing", "error"),
        ("eventlog.recovered", "warning"),
    ]
    assert logs[0]["error"] == "No space left on device"
    assert "free disk space" in logs[0]["hint"]
    assert logs[1]["lines_lost"] == log.lost == 3


def test_a_line_that_does_not_fit_is_taken_back(tmp_path: Path) -> None:
    """A file size limit cuts a write short just as a full disk does; a child process has one."""
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from daemon.eventlog import EventLog\n"
        "log = EventLog(Path(sys.argv[1]))\n"
        "log.append({'n': 1})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (12, 1000))\n"
        "log.append({'n': 2})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "log.append({'n': 3})\n"
    )
    path = tmp_path / "events.jsonl"
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, capture_output=True)
    assert path.read_text() == '{"n":1}\n{"n":3}\n'


def test_a_folder_that_cannot_be_made_is_said_once(tmp_path: Path, logs: list[EventDict]) -> None:
    (tmp_path / "file").touch()
    log = EventLog(tmp_path / "file" / "events.jsonl")
    log.append({})
    log.append({})
    assert [entry["event"] for entry in logs] == ["eventlog.failing"]
    assert str(tmp_path) in logs[0]["path"]


def test_lines_of_many_threads_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path, max_bytes=300)  # rotated every few lines

    def write(thread: int) -> None:
        for n in range(500):
            log.append({"thread": thread, "n": n})

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.lost == 0
    assert all(set(line) == {"thread", "n"} for line in lines(path))
    assert max(file.stat().st_size for file in tmp_path.iterdir()) <= 300


def outcome(*events: Event) -> Outcome:
    return Outcome("porch", None, {}, events, None)


def test_the_sink_writes_the_same_object_to_log_and_broker(tmp_path: Path) -> None:
    clock = FakeClock(start_s=1000.75)
    outbox = Outbox(clock)
    sink = EventSink(clock, Topics(), EventLog(tmp_path / "events.jsonl"), outbox)
    sink.publish(outcome(MATCH))
    (line,) = lines(tmp_path / "events.jsonl")
    assert line == event_content(MATCH, 750.0)
    queued = outbox.take(5)[0]
    assert queued.message.topic == "smolwatch/porch/event"
    assert json.loads(queued.message.payload) == line


def test_without_a_broker_the_log_alone_is_written(tmp_path: Path) -> None:
    sink = EventSink(FakeClock(), Topics(), EventLog(tmp_path / "events.jsonl"), None)
    sink.publish(outcome(match(1), match(2)))
    assert len(lines(tmp_path / "events.jsonl")) == 2
