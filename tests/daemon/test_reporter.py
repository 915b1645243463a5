"""Does the daemon say the truth about itself?"""

import json
from pathlib import Path

import pytest

from daemon.mqtt.options import MqttOptions
from daemon.mqtt.topics import Topics
from daemon.outbox import Outbox
from daemon.publisher import Publisher
from daemon.reporter import AWAY_S, HEALTH_EVERY_S, Reporter, Watched
from pipelines.capture import CaptureWorker
from pipelines.errors import Unreachable
from pipelines.inference import InferenceWorker, Watch
from pipelines.ring import FrameRing
from pipelines.rules import RuleBook
from pipelines.sources import Picture
from pipelines.windows import WindowPlan, WindowScheduler
from tests.fakes import FakeClock, FakeModel, FakeSink, FakeSource


class Desk:
    """One camera, all parts but the threads."""

    def __init__(self, source: FakeSource) -> None:
        self.clock = FakeClock()
        self.ring = FrameRing(4)
        self.capture = CaptureWorker(
            "drive", source, self.ring, self.clock, sample_interval_s=1.0, frame_edge_px=32
        )
        scheduler = WindowScheduler({"drive": (WindowPlan(), self.ring)}, self.clock.monotonic_s())
        self.book = RuleBook("drive", [], lambda: "id")
        self.inference = InferenceWorker(
            FakeModel(), scheduler, {"drive": Watch(self.book, None, "?")},
            FakeSink(), self.clock, lambda: "id",
        )  # fmt: skip
        self.outbox = Outbox(self.clock)
        publisher = Publisher(self.outbox, MqttOptions("127.0.0.1"), self.clock)
        watched = Watched({"drive": self.capture}, {"drive": self.ring}, scheduler, self.inference)
        self.reporter = Reporter(Topics("b"), self.outbox, publisher, watched, self.clock)

    def told(self) -> list[tuple[str, bytes]]:
        taken = self.outbox.take(100)
        self.outbox.acknowledge([queued.id for queued in taken])
        return [(queued.message.topic, queued.message.payload) for queued in taken]


def picture() -> Picture:
    import numpy as np  # noqa: PLC0415 - one helper

    return Picture(np.zeros((18, 32, 3), np.uint8), 0.0)


def test_availability_is_told_when_it_changes_and_health_on_its_schedule() -> None:
    desk = Desk(FakeSource([]))
    assert desk.reporter.report().startswith("0 of 1 cameras")
    first = [topic for topic, _ in desk.told()]
    assert first == ["b/drive/health", "b/bridge/health"]
    desk.capture._connected()
    desk.capture._admit(picture())
    assert desk.reporter.report().startswith("1 of 1 cameras")
    assert desk.told() == [("b/drive/availability", b'{"state":"online"}')]
    desk.reporter.report()
    assert desk.told() == []
    desk.clock.advance(HEALTH_EVERY_S)
    desk.reporter.report()
    topics = [topic for topic, _ in desk.told()]
    assert "b/drive/health" in topics
    desk.reporter.goodbye()


def test_a_camera_that_stays_away_has_its_incidents_closed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk(FakeSource([]))
    closed: list[tuple[str, str]] = []
    monkeypatch.setattr(desk.inference, "camera_lost", lambda *args: closed.append(args))
    desk.capture._connected()
    desk.capture._admit(picture())
    desk.reporter.report()
    desk.capture._vitals.lost(Unreachable("no answer"), desk.clock.monotonic_s())
    desk.reporter.report()
    assert closed == []  # a short break is no end
    desk.clock.advance(AWAY_S)
    desk.reporter.report()
    desk.reporter.report()
    assert closed == [("drive", "drive is unreachable")]
    assert ("b/drive/availability", b'{"state":"offline"}') in desk.told()


def test_a_problem_is_in_the_health_message(tmp_path: Path) -> None:
    desk = Desk(FakeSource([]))
    lost = Unreachable("rtsp://user:hunter2@10.0.0.5/: nothing listens there")
    desk.capture._vitals.lost(lost, desk.clock.monotonic_s())
    desk.reporter.report()
    payload = dict(desk.told())["b/drive/health"]
    assert b"nothing listens there" in payload
    assert b"hunter2" not in payload


def test_lag_is_told_as_the_camera_has_it() -> None:
    desk = Desk(FakeSource([]))
    assert desk.reporter.camera_health("drive").lag_s is None
    desk.capture._vitals.arrived(desk.clock.monotonic_s(), lag_s=0.4)
    assert desk.reporter.camera_health("drive").lag_s == 0.4


def test_pictures_and_clips_are_counted_in_the_bridges_health() -> None:
    desk = Desk(FakeSource([]))
    assert json.loads(desk.reporter.bridge_health().payload)["media"] is None

    class Writer:
        def figures(self) -> dict[str, int]:
            return {"clips": 3, "failed": 1, "waiting": 2}

    desk.reporter._media = Writer()  # type: ignore[assignment]
    told = json.loads(desk.reporter.bridge_health().payload)["media"]
    assert (told["clips"], told["failed"], told["snapshots"]) == (3, 1, 0)
