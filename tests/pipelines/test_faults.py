"""What must a camera's fault never do? One test for each of the faults that cameras are known for.

Faults 12 (the host's clock) and 14 (a slow model) need no network; the others are done by a real
server to the real capture thread. 15 (a stop) is in daemon/test_exit.py, 16 (a hundred reconnects)
in test_leaks.py and 17 (USB) in test_usb.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from pipelines.clock import SystemClock
from pipelines.errors import EndOfStream, Stalled, Unreachable
from pipelines.ids import new_ulid
from pipelines.inference import InferenceWorker, Watch
from pipelines.ring import FrameRing
from pipelines.rules import RuleBook
from pipelines.sources import Picture
from pipelines.types import Frame
from pipelines.vitals import STALL_S, CameraHealth
from pipelines.windows import WindowPlan, WindowScheduler
from tests import rtsp_faults
from tests.cameras import PATIENCE_S, in_state, running, until, worker_of
from tests.fakes import FakeClock, FakeModel, FakeSink, FakeSource
from tests.h264 import load_clip, read_number, write_numbered_clip
from tests.rtsp_auth import Login, Scheme
from tests.rtsp_faults import Faults, Timeline
from tests.rtsp_server import RtspServer

FPS = 10
INTERVAL_S = 0.2


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_numbered_clip(tmp_path_factory.mktemp("clip") / "numbers.mp4", frames=250, gop=5)


def closed_port(clip: Path) -> str:
    server = RtspServer(clip)
    server.start()
    server.stop()
    return server.url


def fate(url: str) -> CameraHealth:
    """How a camera that gives no picture is, once that is known."""
    with running(url, FrameRing(4)) as (worker, _):
        until(in_state(worker, "offline"))
        return worker.health()


def gaps(ring: FrameRing) -> list[int]:
    """Pictures from one sampled frame to the next, by the numbers drawn in them."""
    return np.diff([read_number(frame.image) for frame in ring.frames_since(-1)]).tolist()


def frames_of(ring: FrameRing, at_least: int) -> Callable[[], bool]:
    return lambda: len(ring.stamps()) >= at_least


# 1 to 5: it never begins


def test_01_a_camera_that_is_off_at_boot_is_read_when_it_comes(clip: Path) -> None:
    server = RtspServer(clip)
    server.start()
    server.stop()
    ring = FrameRing(64)
    with running(server.url, ring) as (worker, stop):
        until(lambda: sum(worker.health().reconnects.values()) >= 3)
        assert worker.health().cause == "unreachable"
        with server:
            assert ring.wait_newer(3, stop, PATIENCE_S)
            assert worker.health().state == "online"


def test_02_a_tarpit_is_left(clip: Path) -> None:
    clock = SystemClock()
    with RtspServer(clip, faults=Faults(unanswered={"*"})) as server:
        begun_s = clock.monotonic_s()
        health = fate(server.url)
    assert health.cause == "unreachable"
    assert health.message is not None
    assert "no answer in time" in health.message
    # by its own account, whenever this thread came to look: open errors come within 5 s
    assert health.since_s - begun_s < STALL_S


@pytest.mark.parametrize("scheme", ["basic", "digest"])
def test_03_a_wrong_password_is_named_and_never_shown(clip: Path, scheme: Scheme) -> None:
    login = Login("admin", "right", scheme)
    with RtspServer(clip, login=login) as server, capture_logs() as logs:
        health = fate(server.url.replace("right", "hunter2"))
    assert health.cause == "auth_failed"
    assert "hunter2" not in f"{logs} {health}"
    assert logs[0]["cause"] == "auth_failed"


@pytest.mark.parametrize("scheme", ["basic", "digest"])
def test_03_the_right_password_opens(clip: Path, scheme: Scheme) -> None:
    ring = FrameRing(4)
    with (
        RtspServer(clip, login=Login("admin", "g:e@h/eim", scheme)) as server,
        running(server.url, ring) as (_, stop),
    ):
        assert ring.wait_newer(0, stop, PATIENCE_S)


@pytest.mark.parametrize(
    ("faults", "cause"),
    [
        (Faults(status={"DESCRIBE": 404}), "not_found"),
        (Faults(status={"DESCRIBE": 403}), "auth_failed"),
        (Faults(status={"PLAY": 500}), "no_video"),
        (Faults(sdp=lambda _: "it works!"), "no_video"),
        (Faults(sdp=lambda sdp: sdp.partition("m=video")[0]), "no_video"),
        (Faults(unanswered={"DESCRIBE"}), "unreachable"),
        (Faults(unanswered={"PLAY"}), "unreachable"),
    ],
    ids=["404", "403", "500", "no sdp", "no video in it", "slow describe", "slow play"],
)
def test_04_each_refusal_has_a_name(clip: Path, faults: Faults, cause: str) -> None:
    with RtspServer(clip, faults=faults) as server:
        health = fate(server.url)
    assert health.cause == cause
    assert health.message


def test_05_a_camera_that_plays_nothing_is_offline(clip: Path) -> None:
    with RtspServer(clip) as server:
        server.pause()
        health = fate(server.url)
    assert health.cause == "stalled"
    assert health.frames_in == 0


def test_05_and_is_so_after_eight_seconds_whatever_its_thread_waits_for() -> None:
    clock = FakeClock()
    worker = worker_of(FakeSource([]), clock)
    clock.advance(STALL_S)
    assert worker.health().state == "connecting"
    clock.advance(0.1)
    assert (worker.health().state, worker.health().cause) == ("offline", "stalled")


# 6 and 7: it ends


@pytest.mark.parametrize("audio", [False, True], ids=["silent", "with sound"])
def test_06_a_frozen_picture_is_offline_and_never_taken_for_a_new_one(
    clip: Path, audio: bool
) -> None:
    ring = FrameRing(64)
    with (
        RtspServer(clip, faults=Faults(audio=audio)) as server,
        running(server.url, ring) as (worker, stop),
    ):
        assert ring.wait_newer(3, stop, PATIENCE_S)
        server.pause()
        until(in_state(worker, "offline"))
        newest = ring.newest()
        health = worker.health()
        assert newest is not None
        assert health.cause == "stalled"
        assert health.since_s - newest.captured_s < STALL_S + INTERVAL_S
        assert health.frames_sampled == newest.seq + 1
        server.resume()
        until(in_state(worker, "online"))
        until(lambda: any(stamp.epoch > newest.epoch for stamp in ring.stamps()))


def test_07_a_camera_that_is_killed_and_restarted_is_read_again(clip: Path) -> None:
    ring = FrameRing(64)
    server = RtspServer(clip)
    server.start()
    with running(server.url, ring) as (worker, stop):
        for turn in range(3):
            assert ring.wait_newer(ring.stamps()[-1].seq if turn else 3, stop, PATIENCE_S)
            epoch = ring.stamps()[-1].epoch
            server.stop()
            until(in_state(worker, "offline"))
            server.start()
            until(lambda epoch=epoch: ring.stamps()[-1].epoch > epoch)
        assert set(worker.health().reconnects) <= {"end_of_stream", "unreachable"}
    # The longest wait for both: it is tried again within 4 s of its return.
    assert {EndOfStream.backoff_cap_s, Unreachable.backoff_cap_s} == {4.0}
    server.stop()


# 8 to 11: what it sends is wrong


@pytest.mark.parametrize("harm", [rtsp_faults.halve, rtsp_faults.scramble])
def test_08_damaged_packets_are_counted_and_the_connection_stands(
    clip: Path, harm: Callable[[bytes], bytes]
) -> None:
    ring = FrameRing(64)
    faults = Faults(wire=rtsp_faults.every(13, harm))
    with RtspServer(clip, faults=faults) as server, running(server.url, ring) as (worker, stop):
        until(lambda: worker.health().frames_damaged >= 3)
        seq = ring.stamps()[-1].seq
        assert ring.wait_newer(seq + 5, stop, PATIENCE_S)
        assert dict(worker.health().reconnects) == {}


def test_08_a_connection_that_is_out_of_step_is_mended(clip: Path) -> None:
    ring = FrameRing(64)
    faults = Faults(wire=rtsp_faults.every(13, rtsp_faults.break_framing))
    with RtspServer(clip, faults=faults) as server, running(server.url, ring) as (_, stop):
        until(lambda: server.sent > 30)
        faults.wire = bytes
        seq = ring.stamps()[-1].seq if ring.stamps() else -1
        assert ring.wait_newer(seq + 5, stop, PATIENCE_S)


def test_09_after_lost_pictures_nothing_is_sampled_until_a_keyframe(clip: Path) -> None:
    lost = rtsp_faults.lose_pictures(lambda index, _: index % 20 in {6, 7})  # keyframes: 0, 5, 10..
    ring = FrameRing(128)
    with (
        RtspServer(clip, faults=Faults(media=lost)) as server,
        running(server.url, ring, interval_s=0.1) as (worker, _),
    ):
        until(frames_of(ring, 45))
        numbers = {read_number(frame.image) for frame in ring.frames_since(-1)}
        assert worker.health().frames_damaged >= 4
        assert dict(worker.health().reconnects) == {}
    assert not {number for number in numbers if number % 20 in {6, 7, 8, 9}}
    assert {number % 20 for number in numbers} >= {4, 5, 10, 11, 19, 0}


def test_10_a_camera_without_keyframes_says_so(clip: Path) -> None:
    faults = Faults(media=rtsp_faults.no_keyframes)
    with RtspServer(clip, faults=faults) as server:
        ring = FrameRing(4)
        with running(server.url, ring) as (worker, _):
            until(in_state(worker, "offline"))
            health = worker.health()
            assert health.cause == "no_keyframe"
            assert health.message is not None
            assert "I-frame" in health.message
            assert dict(health.reconnects) == {}  # it waits: the next keyframe may be on its way
            assert health.frames_sampled == 0


def test_10_and_is_read_from_its_first_keyframe_on() -> None:
    clock = FakeClock()
    broken = [Picture(None, damaged=True)] * 20
    sound = Picture(np.zeros((4, 4, 3), np.uint8), 0.0)
    seen: list[CameraHealth] = []

    def script() -> Iterator[Picture]:
        yield from broken
        seen.append(worker.health())
        yield sound
        seen.append(worker.health())
        yield from [Picture(None, damaged=True)] * 9

    worker = worker_of(FakeSource(script(), clock), clock)
    with pytest.raises(Stalled, match="only damaged pictures"):
        worker.run_once(threading.Event())
    waiting, playing = seen
    assert (waiting.state, waiting.cause) == ("offline", "no_keyframe")
    assert (playing.state, playing.cause) == ("online", None)


@pytest.mark.parametrize("by_s", [-1000.0, 5.0, 40_000.0])
def test_11_a_jump_of_the_cameras_clock_is_an_epoch_and_no_huge_window(
    clip: Path, by_s: float
) -> None:
    plan = WindowPlan(num_frames=4, interval_s=INTERVAL_S, stride_s=INTERVAL_S)
    ring = FrameRing(64)
    windows = WindowScheduler({"door": (plan, ring)}, SystemClock().monotonic_s())
    faults = Faults(media=rtsp_faults.jump(2.0, by_s))
    with RtspServer(clip, faults=faults) as server, running(server.url, ring) as (worker, _):
        spans = []
        epochs = set()

        def look() -> bool:
            window = windows.next_window(SystemClock().monotonic_s())
            if window is not None:
                spans.append(window.duration_s)
                epochs.update({frame.epoch for frame in window.frames})
            return len(epochs) == 2 and len(spans) > 4

        until(look)
        assert dict(worker.health().reconnects) == {}
    assert all(0.0 < span_s <= plan.longest_span_s for span_s in spans)
    assert not [gap for gap in gaps(ring) if gap > 5]


def test_12_a_step_of_the_hosts_clock_touches_no_window() -> None:
    clock = FakeClock()
    plan = WindowPlan(num_frames=4, interval_s=1.0, stride_s=1.0)
    ring = FrameRing(plan.ring_capacity)
    windows = WindowScheduler({"door": (plan, ring)}, clock.monotonic_s())
    given: list[tuple[int, ...]] = []

    def script() -> Iterator[Picture]:
        for second in range(30):
            clock.step_wall({10: 86_400.0, 20: -172_800.0}.get(second, 0.0))
            window = windows.next_window(clock.monotonic_s())
            if window is not None:
                given.append(tuple(frame.seq for frame in window.frames))
            yield Picture(np.zeros((4, 4, 3), np.uint8), float(second))

    worker_of(FakeSource(script(), clock), clock, ring).run_once(threading.Event())
    assert given == [tuple(range(last - 3, last + 1)) for last in range(3, 29)]
    assert {stamp.epoch for stamp in ring.stamps()} == {0}


def test_13_a_change_of_resolution_is_an_epoch_of_the_right_shape(
    clip: Path, tmp_path: Path
) -> None:
    other = load_clip(write_numbered_clip(tmp_path / "other.mp4", 50, size_px=(240, 320)))
    ring = FrameRing(64)
    frames: list[Frame] = []
    faults = Faults(media=rtsp_faults.switch(2.0, other))
    with RtspServer(clip, faults=faults) as server, running(server.url, ring) as (worker, _):

        def turned() -> bool:
            frames.extend(ring.frames_since(frames[-1].seq if frames else -1))
            return bool(frames) and frames[-1].image.shape == (64, 48, 3)

        until(turned)
        until(lambda: worker.health().width_px == 240)
        assert dict(worker.health().reconnects) == {}
    shapes = {frame.epoch: frame.image.shape for frame in frames}
    assert shapes == {0: (48, 64, 3), 1: (64, 48, 3)}


# 14 to 18: it, or what comes after it, is too slow or too fast


def test_14_a_slow_model_sees_what_is_new_and_costs_no_memory() -> None:
    """A window takes twelve seconds, and one is due every two: for ten minutes."""
    clock, model = FakeClock(), FakeModel()
    plan = WindowPlan(num_frames=4, interval_s=1.0, stride_s=2.0)
    ring = FrameRing(6)  # shorter than the model takes: frames go unseen
    windows = WindowScheduler({"door": (plan, ring)}, clock.monotonic_s())
    watch = Watch(RuleBook("door", (), new_ulid), None, "What happens?")
    inference = InferenceWorker(model, windows, {"door": watch}, FakeSink(), clock, new_ulid)
    ages_s = []

    def script() -> Iterator[Picture]:
        free_s = 0.0
        for second in range(600):
            began_s = clock.monotonic_s()
            if began_s >= free_s and inference.run_once():
                ages_s.append(began_s - model.asked[-1][0].end_s)
                free_s = began_s + 12.0
            yield Picture(np.zeros((4, 4, 3), np.uint8), float(second))

    worker_of(FakeSource(script(), clock), clock, ring).run_once(threading.Event())
    assert len(ages_s) >= 45
    assert max(ages_s) <= 2.0
    counts = windows.counts("door", clock.monotonic_s())
    assert counts.skipped == pytest.approx(600 / 2 - len(ages_s), abs=5)
    assert ring.dropped > 150
    assert len(ring.stamps()) <= 6
    assert counts.blind_share == pytest.approx(1 - 4 / 12, abs=0.05)


def test_18_a_camera_with_4k_at_60_a_second_is_sampled_on_time(tmp_path: Path) -> None:
    big = write_numbered_clip(tmp_path / "4k.mp4", 120, 60, size_px=(3840, 2160), gop=60)
    ring = FrameRing(16)
    with RtspServer(big) as server, running(server.url, ring, 1.0) as (worker, _):
        until(frames_of(ring, 8))
        health = worker.health()
    assert dict(health.reconnects) == {}
    assert (health.width_px, health.height_px) == (3840, 2160)
    assert health.frames_in > 6 * 60
    # a second from frame to frame, as it is filmed (numbers begin again at 120)
    assert all(abs(gap % 120 - 60) <= 1 for gap in gaps(ring)[1:])


# One broken camera and the others


def test_no_fault_touches_another_camera(clip: Path) -> None:
    """A healthy camera beside one with each fault that keeps a thread or a socket busy."""
    plan = WindowPlan(num_frames=4, interval_s=INTERVAL_S, stride_s=INTERVAL_S)
    frozen = RtspServer(clip)
    frozen.pause()
    broken = [
        RtspServer(clip, faults=Faults(unanswered={"*"})),
        RtspServer(clip, faults=Faults(unanswered={"PLAY"})),
        RtspServer(clip, login=Login("admin", "right")),
        RtspServer(clip, faults=Faults(media=rtsp_faults.no_keyframes)),
        RtspServer(clip, faults=Faults(wire=rtsp_faults.every(3, rtsp_faults.break_framing))),
        RtspServer(clip, faults=Faults(media=short_lived)),
        frozen,
    ]
    with ExitStack() as stack:
        for server in broken:
            stack.enter_context(server)
        urls = [*(server.url.replace("right", "wrong") for server in broken), closed_port(clip)]
        others = [stack.enter_context(running(url, FrameRing(4)))[0] for url in urls]
        healthy = stack.enter_context(RtspServer(clip))
        ring = FrameRing(128)
        worker, stop = stack.enter_context(running(healthy.url, ring))
        windows = WindowScheduler({"door": (plan, ring)}, SystemClock().monotonic_s())
        until(lambda: all(other.health().cause for other in others[:3]))
        assert ring.wait_newer(0, stop, PATIENCE_S)
        start = ring.stamps()[-1].seq
        given = []
        while len(given) < 30:
            assert ring.wait_newer(start + len(given), stop, PATIENCE_S)
            window = windows.next_window(SystemClock().monotonic_s())
            if window is not None:
                windows.ran(window)
                given.append(window)
        health = worker.health()
        assert sum(sum(other.health().reconnects.values()) for other in others) >= 3
    assert (health.state, dict(health.reconnects), health.frames_damaged) == ("online", {}, 0)
    assert set(gaps(ring)) <= {2, 2 - 250}  # not one frame was late or left out
    assert {frame.epoch for window in given for frame in window.frames} == {0}


def short_lived(timeline: Timeline) -> Timeline:
    """A camera that hangs up as soon as it has begun."""
    return islice(timeline, 1)
