"""Who gets a digest, and when?

Knows the schedule, the store and who asks; how one is made is `daemon.digest`. Those on schedule
are told over MQTT and kept; one that was asked for is told to who asked.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection, Generator, Iterator
from typing import Any, Final

import structlog

from daemon.config_errors import did_you_mean
from daemon.control import Answer, ControlError
from daemon.digest_times import Schedule
from daemon.mqtt.payloads import Json, digest_content
from daemon.mqtt.records import Digest
from daemon.store import Store
from daemon.store_digest import newest_digest, told_key
from pipelines.clock import Clock
from pipelines.errors import RequestRefused

Making = Generator[int, None, Digest]
Make = Callable[[str, tuple[float, float]], Making]

POLL_S: Final = 5.0
AGAIN_S: Final = 60.0  # after one could not be made

log = structlog.get_logger(__name__)


def answers_of(desk: DigestDesk | None) -> dict[str, Answer]:
    """Operation -> what answers it; without a store it says how to have one."""

    def answer(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if desk is None:
            raise ControlError("nothing is remembered: name a file in store.path, and restart")
        return desk.answer(request)

    return {"digest": answer}


class DigestDesk:
    """`run` is the thread of the scheduled ones; `answer` serves the control socket."""

    def __init__(
        self,
        store: Store,
        make: Make,
        cameras: Collection[str],
        clock: Clock,
        *,
        schedule: Schedule | None,
        scheduled: Collection[str],
        tell: Callable[[str, tuple[float, float], Json], None],
    ) -> None:
        """`cameras`: all there are; `scheduled`: those whose digests `tell` keeps and publishes."""
        self._store = store
        self._make = make
        self._cameras = cameras
        self._clock = clock
        self._schedule = schedule
        self._scheduled = tuple(scheduled)
        self._tell = tell

    def run(self, stop: threading.Event) -> None:
        """Make what is due, one after the other, until `stop`."""
        while not stop.is_set():
            made = all(self.run_once(camera, stop) for camera in self._scheduled)
            self._clock.wait(stop, POLL_S if made else AGAIN_S)

    def run_once(self, camera: str, stop: threading.Event) -> bool:
        """Make one camera's digest, if one is due; False if it must be tried again."""
        stretch = self._due(camera)
        if stretch is None:
            return True
        try:
            digest = self._finished(self._make(camera, stretch), stop)
        except (RequestRefused, sqlite3.Error) as error:
            if not stop.is_set():
                log.warning("digest.failed", camera=camera, error=str(error))
            return False
        if digest is None:
            return False
        self._tell(camera, stretch, digest_content(digest))
        log.info("digest.told", camera=camera, by=digest.text_by, incidents=dict(digest.incidents))
        return True

    def answer(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """`since` None: the newest that was told on schedule. Says now and then how far it is."""
        camera = str(request["camera"])
        if camera not in self._cameras:
            guess = did_you_mean(camera, self._cameras)
            there = ", ".join(self._cameras)
            raise ControlError(f"there is no camera '{camera}'.{guess} There are: {there}")
        try:
            if request.get("since") is None:
                yield {"digest": self._newest(camera)}
                return
            now = self._clock.wall_time()
            stretch = (float(request["since"]), min(now, float(request.get("until") or now)))
            if stretch[0] >= stretch[1]:
                raise ControlError("the digest's time is over before it begins: see since, until")
            making = self._make(camera, stretch)
            while True:
                try:
                    yield {"written": next(making)}
                except StopIteration as end:
                    yield {"digest": digest_content(end.value)}
                    return
        except sqlite3.Error as error:
            raise ControlError(f"{self._store.path}: the store cannot be read ({error})") from error

    def _due(self, camera: str) -> tuple[float, float] | None:
        if self._schedule is None:
            return None
        now = self._clock.wall_time()
        told = self._store.recall(told_key(camera))
        if told is None or float(told[0]) > now:
            # The first start, or the clock was set back: what is over already was not ours.
            self._store.remember(told_key(camera), repr(self._schedule.newest(now)[1]))
            return None
        return self._schedule.due(now, float(told[0]))

    def _finished(self, making: Making, stop: threading.Event) -> Digest | None:
        try:
            while not stop.is_set():
                next(making)
        except StopIteration as end:
            digest: Digest = end.value
            return digest
        finally:
            making.close()
        return None

    def _newest(self, camera: str) -> dict[str, Any]:
        found = newest_digest(self._store.path, camera)
        if found is None:
            when = (
                "the next comes on schedule"
                if camera in self._scheduled
                else ("`digest` in the configuration makes them on schedule")
            )
            raise ControlError(
                f"no digest of {camera} was told yet: ask for one with --since 24h; {when}"
            )
        return found
