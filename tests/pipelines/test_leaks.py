"""Does a camera that is watched for long, or lost often, cost more and more?

The short forms run with every test; the long ones are marked slow.
"""

from __future__ import annotations

import gc
import os
import threading
from itertools import islice
from pathlib import Path

import pytest

from pipelines.clock import SystemClock
from pipelines.ring import FrameRing
from pipelines.sources import Picture, SourceUrl
from pipelines.sources.file import FileSource
from pipelines.sources.stream import StreamSource
from pipelines.windows import WindowPlan, WindowScheduler
from tests.cameras import running, until, worker_of
from tests.fakes import FakeClock
from tests.h264 import write_numbered_clip
from tests.rtsp_faults import Faults, Timeline
from tests.rtsp_server import RtspServer

ROOM = 8 * 2**20  # bytes that allocators may take and keep; a leaked connection costs 0.3 MB
FPS = 10


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_numbered_clip(tmp_path_factory.mktemp("clip") / "numbers.mp4", fps=FPS)


def rss() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - nothing else is wanted of them


class HastyClock(SystemClock):
    """Waits are short, so that what takes an hour of retries takes a minute."""

    def wait(self, stop: threading.Event, timeout_s: float) -> bool:
        return super().wait(stop, min(timeout_s, 0.01))


def hangs_up(timeline: Timeline) -> Timeline:
    """A camera that breaks the connection after five pictures."""
    return islice(timeline, 5)


@pytest.mark.parametrize("times", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_16_reconnects_leave_nothing_behind(clip: Path, times: int) -> None:
    ring = FrameRing(4)

    def lost() -> int:
        return sum(worker.health().reconnects.values())

    clock = HastyClock()
    with RtspServer(clip, faults=Faults(media=hangs_up)) as server:
        source = StreamSource(SourceUrl(server.url), clock)
        with running(source, ring, clock=clock) as (worker, _):
            until(lambda: lost() >= 5)
            files, bytes_, threads = open_files(), rss(), threading.active_count()
            done = 5
            while done < 5 + times:
                done += 5
                until(lambda done=done: lost() >= done)
            # One connection may be opening, or closing, at either moment.
            assert open_files() <= files + 3
            assert threading.active_count() <= threads + 3
            assert rss() - bytes_ < ROOM
            assert ring.stamps()[-1].epoch >= times


class PacedSource(FileSource):
    """A file whose pictures come at their pace by a clock that is not the real one."""

    def __init__(self, clip: Path, clock: FakeClock) -> None:
        super().__init__(SourceUrl(str(clip)), clock, realtime=False, loop=True)
        self.fake_clock = clock
        self.left = 0

    def read(self, sample_interval_s: float, stop: threading.Event) -> Picture | None:
        self.fake_clock.advance(1 / FPS)
        self.left -= 1
        if self.left < 0:
            stop.set()
        return super().read(sample_interval_s, stop)


@pytest.mark.parametrize("minutes", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_streaming_for_long_costs_no_more(clip: Path, minutes: int) -> None:
    clock = FakeClock()
    plan = WindowPlan()
    ring = FrameRing(plan.ring_capacity)
    windows = WindowScheduler({"door": (plan, ring)}, clock.monotonic_s())
    source = PacedSource(clip, clock)
    worker = worker_of(source, clock, ring)
    used: list[tuple[int, int]] = []
    for _ in range(minutes):
        source.left = 60 * FPS
        worker.run_once(threading.Event())
        while (window := windows.next_window(clock.monotonic_s())) is not None:
            windows.ran(window)
        used.append((rss(), open_files()))
    assert worker.health().frames_sampled >= 59 * minutes
    begun = len(used) // 4  # the first quarter fills caches
    assert used[-1][0] - used[begun][0] < ROOM
    assert used[-1][1] == used[begun][1]
