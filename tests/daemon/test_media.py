"""Do alerts get their pictures, and does nothing wait or break for them?"""

from __future__ import annotations

import itertools
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.app import build_app
from daemon.config import load_config
from daemon.media import MediaWriter, Wish
from daemon.media_files import MediaFiles, is_ours, name_of
from daemon.mqtt.payloads import event_content, snapshot
from daemon.mqtt.topics import Topics
from daemon.running import Running
from daemon.systemd import Notifier, Watchdog
from pipelines.clock import SystemClock
from pipelines.packet_ring import PacketRing
from pipelines.sources import Picture
from pipelines.types import Event, Outcome, Severity
from tests.daemon.events import match
from tests.fakes import FakeClock, FakeModel
from tests.h264 import draw_numbered, read_number
from tests.mosquitto import wait_until

WISH = Wish(snapshot=True, before_s=2.0, after_s=3.0, window_s=4.0)
CONFIG = """
cameras:
  yard:
    source: scene://yard?seed=3&width=320
    window: {num_frames: 4, interval_s: 0.2, stride_s: 0.2}
    gate: always
    describe: off
rules:
  person:
    ask: "Is there a person?"
    debounce: {needed: 1, of: 1}
    snapshot: true
    clip: {before_s: 0, after_s: 1}
media: {dir: media}
log: {events: events.jsonl}
store: off
"""


class Told:
    """A sink that keeps what it was told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def publish(self, outcome: Outcome) -> None:
        self.events.extend(outcome.events)


class Scene:
    """A writer with a ring that holds a picture for each second up to 1000."""

    def __init__(self, folder: Path, wish: Wish = WISH, max_bytes: int = 10**9) -> None:
        self.clock = FakeClock(start_s=1000.0)
        self.sink = Told()
        self.shown: list[tuple[str, bytes]] = []
        self.ring = PacketRing(keep_s=60.0)
        self.folder = folder
        ids = (f"01JD{number:022d}" for number in itertools.count(900))
        self.writer = MediaWriter(
            self.sink,
            MediaFiles(folder, max_bytes, 3600.0, self.clock),
            {"porch": self.ring},
            {("porch", "package_delivered"): wish},
            show=lambda camera, jpeg: self.shown.append((camera, jpeg)),
            clock=self.clock,
            new_id=lambda: next(ids),
        )
        for second in range(980, 1001):
            self.picture(second)

    def picture(self, second: int) -> None:
        image = draw_numbered(second % 256, 320, 240)
        self.ring.put(Picture(image), image, float(second))

    def alert(self, number: int = 1, **changes: object) -> Event:
        event = match(number, captured_s=1000.0, **changes)
        self.writer.publish(Outcome("porch", None, {}, (event,), None))
        return event


def test_the_alert_goes_at_once_the_snapshot_then_and_the_clip_when_its_time_is_over(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path / "media")
    event = scene.alert()
    assert scene.sink.events == [event]
    scene.writer.run_once()
    [(camera, jpeg)] = scene.shown
    assert camera == "porch"
    assert read_number(cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)) == 1000 % 256
    assert (tmp_path / "media" / f"porch-{event.event_id}.jpg").read_bytes() == jpeg
    assert len(scene.sink.events) == 1  # the clip's last seconds are not there yet
    for second in range(1001, 1004):
        scene.clock.advance(1.0)
        scene.picture(second)
        scene.writer.run_once()
    _, update = scene.sink.events
    assert update.event_type == "rule_update"
    assert update.incident_id == event.incident_id
    assert update.event_id != event.event_id
    names = {"snapshot": f"porch-{event.event_id}.jpg", "clip": f"porch-{event.event_id}.mp4"}
    assert update.media == names
    assert event_content(update, 1.0)["media"] == names
    with av.open(str(tmp_path / "media" / names["clip"])) as container:
        numbers = [read_number(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    assert numbers == [second % 256 for second in range(994, 1004)]  # 2 + 4 s before, 3 after
    assert scene.writer.counts == {"snapshots": 1, "clips": 1}


def test_a_camera_that_goes_away_has_the_clip_that_there_is(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.alert()
    scene.writer.run_once()
    scene.clock.advance(WISH.after_s + 2.1)
    scene.writer.run_once()
    assert set(scene.sink.events[-1].media or {}) == {"snapshot", "clip"}


def test_a_stop_writes_what_is_noted(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.alert()
    stop = threading.Event()
    stop.set()
    scene.writer.run(stop)
    assert len(list(tmp_path.iterdir())) == 2


def test_other_events_and_other_rules_want_nothing(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.alert(1, rule="car_left")
    scene.alert(2, event_type="rule_clear")
    scene.writer.run_once(ending=True)
    assert len(scene.sink.events) == 2
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_costs_the_pictures_only(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    scene = Scene(blocked)
    scene.alert()
    scene.writer.run_once(ending=True)
    assert len(scene.sink.events) == 1
    assert scene.writer.counts == {"failed": 2}


def test_a_ring_without_the_picture_is_counted(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.writer.publish(Outcome("porch", None, {}, (match(1, captured_s=2000.0),), None))
    scene.writer.run_once(ending=True)
    assert scene.writer.counts == {"failed": 2}
    assert not list(tmp_path.iterdir())


def test_too_many_alerts_are_dropped_and_counted_but_told(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    for number in range(70):
        scene.alert(number)
    assert scene.writer.counts == {"dropped": 6}
    assert len(scene.sink.events) == 70


def test_a_snapshot_is_retained_on_its_topic() -> None:
    message = snapshot(Topics(), "porch", b"\xff\xd8")
    assert (message.topic, message.payload, message.retain) == (
        "smolwatch/porch/snapshot",
        b"\xff\xd8",
        True,
    )


def filler(size: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(b"x" * size)

    return write


@settings(deadline=None, max_examples=25)
@given(sizes=st.lists(st.integers(0, 60), max_size=20))
def test_the_folder_keeps_to_its_bytes_and_the_newest_stay(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("media")
    (folder / "holiday.jpg").write_bytes(b"mine" * 100)
    files = MediaFiles(folder, max_bytes=100, max_age_s=1e12, clock=SystemClock())
    for number, size in enumerate(sizes):
        name = f"porch-01JD{number:022d}.jpg"
        files.write(name, filler(size))
        os.utime(folder / name, (number, number))
        left = sorted(path.name for path in folder.iterdir() if path.name != "holiday.jpg")
        assert sum((folder / one).stat().st_size for one in left) <= 100
        assert left == [f"porch-01JD{n:022d}.jpg" for n in range(number + 1)][-len(left) :]
        assert left
    assert (folder / "holiday.jpg").exists()


def test_files_of_alerts_are_the_last_to_go(tmp_path: Path) -> None:
    files = MediaFiles(tmp_path, max_bytes=100, max_age_s=1e12, clock=SystemClock())

    def put(number: int, severity: Severity) -> str:
        name = name_of(match(number, severity=severity), "jpg")
        files.write(name, filler(30))
        if (tmp_path / name).exists():
            os.utime(tmp_path / name, (number, number))
        return name

    def left() -> list[str]:
        return sorted(path.name for path in tmp_path.iterdir())

    old = put(1, "alert")
    warning, info = put(2, "warning"), put(3, "info")
    newer = put(4, "alert")
    assert left() == sorted([old, warning, newer])  # not the oldest, but what is worth least
    assert is_ours(info)
    newest = put(5, "alert")
    assert left() == sorted([old, newer, newest])
    assert put(6, "info") not in left()  # beside alerts there is no room for it
    last = put(7, "alert")
    assert left() == sorted([newer, newest, last])
    assert files.deleted == 4


def test_what_has_no_room_beside_alerts_is_not_told_of(tmp_path: Path) -> None:
    scene = Scene(tmp_path, max_bytes=60_000)
    for number in range(5, 9):
        (tmp_path / f"porch-01JD{number:022d}.jpg").write_bytes(bytes(15_000))
    scene.alert(severity="info")
    scene.writer.run_once(ending=True)
    assert len(scene.sink.events) == 1
    assert scene.writer.counts == {"dropped": 2}
    scene.alert(2, severity="alert")
    scene.writer.run_once(ending=True)
    assert set(scene.sink.events[-1].media or {}) == {"snapshot", "clip"}


def test_what_is_too_old_goes_and_nothing_half_written_stays(tmp_path: Path) -> None:
    clock = FakeClock()
    files = MediaFiles(tmp_path, max_bytes=1000, max_age_s=60.0, clock=clock)
    old = "porch-01JD0000000000000000000001.mp4"
    files.write(old, filler(1))
    os.utime(tmp_path / old, (clock.wall_time() - 61, clock.wall_time() - 61))
    leftover = tmp_path / "porch-01JD0000000000000000000002.mp4.part"
    leftover.write_text("of a crash")
    os.utime(leftover, (0, 0))
    with pytest.raises(OSError, match="full"):
        files.write(
            "porch-01JD0000000000000000000003.mp4", lambda _: (_ for _ in ()).throw(OSError("full"))
        )
    new = "porch-01JD0000000000000000000004.mp4"
    files.write(new, filler(1))
    assert [path.name for path in tmp_path.iterdir()] == [new]
    assert files.deleted == 2


def test_from_a_scene_to_its_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "smolwatch.yaml"
    path.write_text(CONFIG)
    model = FakeModel({"Is there a person?": 0.9})
    app = build_app(load_config(path, os.environ), model, None, SystemClock())
    notifier = Notifier()
    thread = threading.Thread(target=Running(app).run, args=(Watchdog(notifier, None), notifier))
    thread.start()
    log = tmp_path / "events.jsonl"
    wait_until(lambda: log.exists() and "rule_update" in log.read_text(), "the update")
    app.workers.ended.set()
    thread.join(10)
    told = [json.loads(line) for line in log.read_text().splitlines()]
    assert [event["event_type"] for event in told[:2]] == ["rule_match", "rule_update"]
    media = told[1]["media"]
    image = cv2.imread(str(tmp_path / "media" / media["snapshot"]))
    assert image.shape == (180, 320, 3)  # the camera's resolution, not the model's
    with av.open(str(tmp_path / "media" / media["clip"])) as container:
        assert len(list(container.decode(video=0))) >= 3  # 10 on a machine that has time


def test_a_rule_that_wants_pictures_needs_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG.replace("media: {dir: media}\n", ""))
    with pytest.raises(Exception, match=r"c.yaml:12: rules.person.snapshot: needs a folder"):
        load_config(path, os.environ)
