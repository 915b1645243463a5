"""How is a camera run in a test, and how is something waited for?

Knows the capture thread as the daemon starts it; no test.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipelines.capture import CaptureWorker
from pipelines.clock import Clock, SystemClock
from pipelines.ring import FrameRing
from pipelines.sources import FrameSource, SourceUrl, open_source

PATIENCE_S = 30.0  # far longer than anything takes on an idle machine


def worker_of(
    source: FrameSource, clock: Clock, ring: FrameRing | None = None, interval_s: float = 1.0
) -> CaptureWorker:
    return CaptureWorker(
        "door",
        source,
        ring or FrameRing(64),
        clock,
        sample_interval_s=interval_s,
        frame_edge_px=64,
        seed=7,
    )


@contextmanager
def running(
    source: str | FrameSource, ring: FrameRing, interval_s: float = 0.2, clock: Clock | None = None
) -> Iterator[tuple[CaptureWorker, threading.Event]]:
    """A worker on a real source, in a thread as the daemon starts it."""
    clock = clock or SystemClock()
    if isinstance(source, str):
        source = open_source(SourceUrl(source), clock)
    worker = worker_of(source, clock, ring, interval_s)
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield worker, stop
    finally:
        stop.set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def until(condition: Callable[[], bool]) -> None:
    """Wait for `condition`, and fail if it never comes."""
    end_s = time.monotonic() + PATIENCE_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end_s, "it never came"
        pause.wait(0.02)


def in_state(worker: CaptureWorker, state: str) -> Callable[[], bool]:
    return lambda: worker.health().state == state
