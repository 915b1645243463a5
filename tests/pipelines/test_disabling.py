"""Is a camera that is switched off left alone, and read again when it is switched on?"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np

from pipelines.capture import CaptureWorker
from pipelines.errors import Unreachable
from pipelines.ring import FrameRing
from pipelines.sources import Picture
from tests.cameras import worker_of
from tests.fakes import FakeClock, FakeSource
from tests.mosquitto import wait_until

STILL = Picture(np.zeros((12, 16, 3), np.uint8), None)


def test_no_picture_is_read_while_it_is_off() -> None:
    clock, ring, stop = FakeClock(), FrameRing(8), threading.Event()
    worker: CaptureWorker

    def script() -> Iterator[Picture]:
        yield STILL
        worker.enable(enabled=False)
        yield STILL  # on its way when it was switched off
        raise AssertionError("read although it is off")

    source = FakeSource(script(), clock)
    worker = worker_of(source, clock, ring)
    assert not worker.run_once(stop)
    assert len(ring.stamps()) == 1
    assert source.closed == 1

    looks: list[str] = []

    def wait(stop: threading.Event, timeout_s: float) -> bool:
        looks.append(worker.health().state)
        clock.advance(timeout_s)
        if len(looks) == 100:
            stop.set()
        return stop.is_set()

    clock.wait = wait  # type: ignore[method-assign]
    beat_s = worker.heartbeat_s
    worker.run(stop)
    assert set(looks) == {"disabled"}  # however long: it is no stall
    assert source.opened == 1
    assert worker.heartbeat_s > beat_s
    assert worker.health().message is None


def test_it_is_read_again_when_it_is_switched_on() -> None:
    ring, stop = FrameRing(8), threading.Event()

    def pictures() -> Iterator[Picture]:
        while True:
            stop.wait(0.005)
            yield STILL

    source = FakeSource(pictures())
    worker = worker_of(source, FakeClock(), ring)
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        wait_until(lambda: worker.health().state == "online", "pictures come")
        for round_number in (1, 2, 3):
            worker.enable(enabled=False)
            wait_until(lambda: worker.health().state == "disabled", "it is off")
            before = ring.stamps()[-1].seq
            worker.enable(enabled=True)
            wait_until(lambda seq=before: ring.stamps()[-1].seq > seq, "pictures come again")
            assert source.opened == 1 + round_number
    finally:
        stop.set()
        thread.join(15)
    assert not thread.is_alive()


def test_a_camera_that_is_away_is_off_at_once_and_its_problem_is_forgotten() -> None:
    clock, stop = FakeClock(), threading.Event()
    worker = worker_of(FakeSource([Unreachable("no way")], clock), clock, FrameRing(2))
    waits: list[str] = []

    def wait(stop: threading.Event, timeout_s: float) -> bool:
        waits.append(worker.health().state)
        worker.enable(enabled=False)
        if len(waits) == 3:
            stop.set()
        return stop.is_set()

    clock.wait = wait  # type: ignore[method-assign]
    worker.run(stop)
    assert waits == ["offline", "disabled", "disabled"]
    assert worker.health().message is None
