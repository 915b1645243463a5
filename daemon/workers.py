"""How does a worker's thread live and die?

Knows no worker's task. An exception that escapes one is logged here, once, with its traceback,
and ends the process: half a daemon is worse than a restarted one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog


class Workers:
    """The daemon's threads. `ended` is set when one of them fails, or by whoever wants an end."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.failed: str | None = None  # the first worker that an exception ended
        self._threads: dict[str, threading.Thread] = {}

    def start(
        self, name: str, run: Callable[[threading.Event], None], stop: threading.Event
    ) -> None:
        """Run `run(stop)` in a thread of its own.

        Daemon threads: a camera's read that hangs in a library must not keep the process alive.
        """
        thread = threading.Thread(target=self._run, args=(name, run, stop), name=name, daemon=True)
        self._threads[name] = thread
        thread.start()

    def join(self, timeout_s: float, *names: str) -> tuple[str, ...]:
        """Wait for these threads, `timeout_s` for all together; the names of those that live on."""
        until_s = time.monotonic() + timeout_s
        for name in names:
            self._threads[name].join(max(0.0, until_s - time.monotonic()))
        return tuple(name for name in names if self._threads[name].is_alive())

    def _run(
        self, name: str, run: Callable[[threading.Event], None], stop: threading.Event
    ) -> None:
        try:
            run(stop)
        except Exception:  # noqa: BLE001 - the one place that catches all, see above
            self.failed = self.failed or name
            structlog.get_logger(__name__).exception("worker.failed", worker=name)
            self.ended.set()
