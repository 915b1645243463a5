"""Do frames come into the ring, and come again after every fault?"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from pipelines.capture import scale_to_edge
from pipelines.errors import AuthFailed, EndOfStream, SourceError, Unreachable
from pipelines.ring import FrameRing
from pipelines.sources import Picture, SourceUrl, open_source
from pipelines.types import Image
from pipelines.vitals import STALL_S, CameraHealth
from tests.cameras import PATIENCE_S, in_state, running, until, worker_of
from tests.fakes import FakeClock, FakeSource
from tests.h264 import read_number, write_numbered_clip
from tests.rtsp_auth import Login
from tests.rtsp_server import RtspServer


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_numbered_clip(tmp_path_factory.mktemp("clip") / "numbers.mp4")


def picture(pts_s: float | None = None, size: tuple[int, int] = (12, 16)) -> Picture:
    return Picture(np.zeros((*size, 3), np.uint8), pts_s)


# The straight path


def test_frames_carry_where_and_when_they_were_taken() -> None:
    clock = FakeClock()
    stop = threading.Event()
    source = FakeSource([picture(0.0), Picture(None, 0.5), picture(1.0), stop], clock)
    ring = FrameRing(8)
    worker = worker_of(source, clock, ring)
    worker.run_once(stop)
    frames = ring.frames_since(-1)
    assert [(frame.camera, frame.epoch, frame.seq) for frame in frames] == [
        ("door", 0, 0),
        ("door", 0, 1),
    ]
    assert [frame.captured_s for frame in frames] == [1001.0, 1003.0]  # after the read
    assert frames[0].wall_time - frames[0].captured_s == clock.wall_time() - clock.monotonic_s()
    assert frames[0].image.shape == (48, 64, 3)
    health = worker.health()
    assert (health.frames_in, health.frames_sampled) == (3, 2)
    assert (health.width_px, health.height_px) == (16, 12)
    assert (source.opened, source.closed) == (1, 1)


def test_a_wall_clock_that_is_set_changes_no_frame_time() -> None:
    clock = FakeClock()
    stop = threading.Event()

    def script() -> Iterator[Picture | threading.Event]:
        yield picture(0.0)
        clock.step_wall(-86_400.0)
        yield picture(1.0)
        yield stop

    ring = FrameRing(8)
    worker_of(FakeSource(script(), clock), clock, ring).run_once(stop)
    first, second = ring.frames_since(-1)
    assert second.captured_s - first.captured_s == 1.0
    assert second.epoch == first.epoch
    assert second.wall_time < first.wall_time


@pytest.mark.parametrize(
    ("second", "epoch"),
    [
        (picture(1.0), 0),
        (picture(0.7), 0),  # a nudge
        (picture(-1000.0), 1),
        (picture(46_722.0), 1),
        (picture(None), 0),
        (picture(1.0, size=(24, 16)), 1),
        (picture(1.0, size=(24, 32)), 1),  # the same once it is scaled
    ],
)
def test_a_jump_of_time_or_size_starts_an_epoch(second: Picture, epoch: int) -> None:
    clock = FakeClock()
    stop = threading.Event()
    ring = FrameRing(8)
    worker_of(FakeSource([picture(1.0), second, stop], clock), clock, ring).run_once(stop)
    newest = ring.newest()
    assert newest is not None
    assert (newest.seq, newest.epoch) == (1, epoch)


def test_a_pause_with_time_stamps_that_tell_of_it_is_no_jump() -> None:
    clock = FakeClock()
    stop = threading.Event()
    ring = FrameRing(8)

    def script() -> Iterator[Picture | threading.Event]:
        yield picture(1.0)
        clock.advance(7.0)  # the network was away
        yield picture(9.0)
        yield stop

    worker_of(FakeSource(script(), clock), clock, ring).run_once(stop)
    assert [frame.epoch for frame in ring.frames_since(-1)] == [0, 0]


@pytest.mark.parametrize(
    ("size", "shape"),
    [((1080, 1920), (72, 128, 3)), ((1920, 1080), (128, 72, 3)), ((30, 40), (96, 128, 3))],
)
def test_the_long_edge_is_the_models(size: tuple[int, int], shape: tuple[int, ...]) -> None:
    image: Image = np.full((*size, 3), 7, np.uint8)
    scaled = scale_to_edge(image, 128)
    assert scaled.shape == shape
    assert scaled.min() == scaled.max() == 7


# Faults, with a fake camera and a fake clock


def retry_waits(errors: list[SourceError]) -> list[float]:
    clock = FakeClock()
    stop = threading.Event()
    worker_of(FakeSource([*errors, stop], clock), clock).run(stop)
    return clock.waits


def test_waits_double_up_to_the_cap_of_their_cause() -> None:
    for error, caps in (
        (Unreachable("x"), [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0]),
        (AuthFailed("x"), [3.75, 7.5, 15.0, 30.0, 60.0, 60.0, 60.0]),
    ):
        waits = retry_waits([error] * len(caps))
        assert len(waits) == len(caps)
        assert all(cap / 2 <= wait <= cap for wait, cap in zip(waits, caps, strict=True))
    assert len(set(waits)) == len(waits)  # no two alike


def test_frames_that_keep_coming_make_the_next_wait_short() -> None:
    clock = FakeClock()
    stop = threading.Event()
    lost = [EndOfStream("x")] * 6
    steady = [picture(float(second)) for second in range(8)]
    flapping = [picture(0.0), EndOfStream("x")] * 2
    worker_of(FakeSource([*lost, *steady, *lost[:1], *flapping, stop], clock), clock).run(stop)
    assert clock.waits[5] >= 2.0
    assert clock.waits[6] <= 0.25
    assert clock.waits[7] > 0.25  # one picture is no recovery
    assert clock.waits[8] > 0.5


def test_each_connection_is_an_epoch_and_each_loss_is_counted() -> None:
    clock = FakeClock()
    stop = threading.Event()
    script = [picture(0.0), EndOfStream("x"), picture(0.0), Unreachable("x"), picture(0.0), stop]
    source = FakeSource(script, clock)
    ring = FrameRing(8)
    worker = worker_of(source, clock, ring)
    with capture_logs() as logs:
        worker.run(stop)
    assert [(frame.epoch, frame.seq) for frame in ring.frames_since(-1)] == [(0, 0), (1, 1), (2, 2)]
    assert worker.health().reconnects == {"end_of_stream": 1, "unreachable": 1}
    assert (source.opened, source.closed) == (3, 3)
    assert [log["state"] for log in logs] == ["online", "offline"] * 2 + ["online"]
    assert logs[1]["cause"] == "end_of_stream"


def test_a_camera_that_stays_away_is_logged_once() -> None:
    clock = FakeClock()
    stop = threading.Event()
    errors = [Unreachable("x")] * 20 + [AuthFailed("x")] * 20
    worker = worker_of(FakeSource([*errors, stop], clock), clock)
    with capture_logs() as logs:
        worker.run(stop)
    assert [log["cause"] for log in logs] == ["unreachable", "auth_failed"]
    assert worker.health().state == "offline"


def test_damaged_pictures_are_counted_and_after_a_while_are_a_stall() -> None:
    clock = FakeClock()
    stop = threading.Event()
    broken = [Picture(None, damaged=True)] * 12
    worker = worker_of(FakeSource([picture(0.0), *broken, stop], clock), clock)
    worker.run(stop)
    health = worker.health()
    assert health.reconnects == {"stalled": 1}
    assert health.frames_damaged == 12
    assert health.frames_in == 1


def test_silence_is_offline_even_while_the_read_still_waits() -> None:
    clock = FakeClock()
    seen: list[CameraHealth] = []
    stop = threading.Event()

    def script() -> Iterator[Picture | threading.Event]:
        yield picture(0.0)
        for pause_s in (STALL_S - 0.5, 1.0):
            clock.advance(pause_s)
            seen.append(worker.health())
        yield stop

    worker = worker_of(FakeSource(script()), clock)
    worker.run(stop)
    assert [(one.state, one.cause) for one in seen] == [("online", None), ("offline", "stalled")]


def test_the_end_of_a_file_is_no_fault(clip: Path) -> None:
    clock = FakeClock()
    ring = FrameRing(64)
    source = open_source(SourceUrl(str(clip)), clock, realtime=False)
    worker = worker_of(source, clock, ring, interval_s=0.1)
    with capture_logs() as logs:
        worker.run(threading.Event())
    assert [read_number(frame.image) for frame in ring.frames_since(-1)] == list(range(40))
    health = worker.health()
    assert (health.state, dict(health.reconnects)) == ("ended", {})
    assert [log["state"] for log in logs] == ["online", "ended"]


# Faults, with a real server


def test_a_camera_that_is_killed_and_comes_back_is_read_again(clip: Path) -> None:
    ring = FrameRing(16)
    server = RtspServer(clip)
    server.start()
    with running(server.url, ring) as (worker, stop):
        assert ring.wait_newer(3, stop, PATIENCE_S)
        before = ring.newest()
        server.stop()
        until(in_state(worker, "offline"))
        assert worker.health().message
        server.start()
        until(in_state(worker, "online"))
        assert before is not None
        until(lambda: any(stamp.epoch > before.epoch for stamp in ring.stamps()))
        after = ring.newest()
        assert after is not None
        assert after.seq > before.seq
        assert sum(worker.health().reconnects.values()) >= 1
    server.stop()


def test_a_wrong_password_is_named_and_never_shown(clip: Path) -> None:
    with capture_logs() as logs, RtspServer(clip, login=Login("admin", "right")) as server:
        url = f"rtsp://admin:hunter2@127.0.0.1:{server.port}/stream"
        with running(url, FrameRing(4)) as (worker, _):
            until(in_state(worker, "offline"))
            health = worker.health()
    assert health.cause == "auth_failed"
    assert logs[0]["cause"] == "auth_failed"
    assert "hunter2" not in f"{logs} {health}"


def test_stop_ends_a_worker_that_waits_to_try_again() -> None:
    with running("rtsp://127.0.0.1:1/none", FrameRing(4)) as (worker, stop):
        until(in_state(worker, "offline"))
        stop.set()  # and `running` joins it
    assert worker.health().cause == "unreachable"  # it did wait, and for nothing else


def test_stop_ends_a_read_that_waits_for_a_silent_camera(clip: Path) -> None:
    ring = FrameRing(4)
    with RtspServer(clip) as server, running(server.url, ring) as (_, stop):
        assert ring.wait_newer(0, stop, PATIENCE_S)
        server.pause()
        stop.set()  # and `running` joins it, while the library's own time-out runs


def test_a_process_does_not_wait_for_a_thread_that_is_stuck_in_a_read(clip: Path) -> None:
    """The thread is left behind; that must neither hang the exit nor crash it."""
    program = """
import sys, threading, time
from pipelines.capture import CaptureWorker
from pipelines.clock import SystemClock
from pipelines.ring import FrameRing
from pipelines.sources import SourceUrl, open_source
clock, ring, stop = SystemClock(), FrameRing(4), threading.Event()
source = open_source(SourceUrl(sys.argv[1]), clock)
worker = CaptureWorker("a", source, ring, clock, sample_interval_s=0.2, frame_edge_px=64)
threading.Thread(target=worker.run, args=(stop,), daemon=True).start()
assert ring.wait_newer(0, stop, 30)
print("frames", flush=True)
sys.stdin.readline()
stop.set()
"""
    with (
        RtspServer(clip) as server,
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program, server.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        ) as process,
    ):
        assert process.stdout is not None
        assert b"frames\n" in iter(process.stdout.readline, b"")  # after lines of the log
        server.pause()
        process.communicate(b"\n", timeout=5.0)  # waiting for the read would take 6 s
        assert process.returncode == 0
