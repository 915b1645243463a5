"""What do a configuration's rules say of its drawn cameras, faster than real time?

Knows no rule and no verdict. The daemon's own parts in one thread: scene cameras, capture, rings,
scheduler, model, rules and store, on a clock that moves only when a camera waits for its next
picture.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType

from daemon.app import App, build_app
from daemon.config import Config
from daemon.store import Limits, Store
from daemon.store_events import EventFilter, events
from pipelines.scenes.script import Script
from pipelines.sources.scene import SceneSource
from pipelines.types import VideoModel
from tests.fakes import FakeClock


class ScenePlay:
    """A daemon that watches drawn cameras; what it remembers goes to the file `path`.

    A context: at its end the store is whole, and can be asked.
    """

    def __init__(
        self, config: Config, model: VideoModel, path: Path, clock: FakeClock | None = None
    ) -> None:
        self.path = path
        self._clock = clock or FakeClock()
        self._store = Store(path, Limits(), self._clock)
        self.app: App = build_app(config, model, None, self._clock, self._store)
        self.begun = self._clock.wall_time()  # Unix time of the scripts' second 0
        self._begun_s = self._looked_s = self._clock.monotonic_s()
        stop = threading.Event()
        self._pictures = [capture.steps(stop) for capture in self.app.captures.values()]

    def __enter__(self) -> ScenePlay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        assert self.app.lookout is not None
        self.app.lookout.end()
        self._store.close()

    @property
    def now_s(self) -> float:
        """Seconds of the scripts."""
        return self._clock.monotonic_s() - self._begun_s

    @property
    def scripts(self) -> dict[str, Script]:
        """Camera -> what really happens there."""
        sources = self.app.sources.items()
        return {name: source.script for name, source in sources if isinstance(source, SceneSource)}

    def watch(self, until_s: float, before: Callable[[], None] = lambda: None) -> None:
        """Play on to that second; `before` is called before each look, ten times a second."""
        while self.now_s < until_s:
            before()
            self._go_on()
            self.judge()

    def let_pass(self, seconds: float) -> None:
        """The cameras go on, and nobody looks: as while the model is busy with something."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self._go_on()
            self.note()

    def judge(self) -> None:
        """Run the windows that are due, as the inference thread does."""
        while self.app.inference.run_once():
            pass
        self.note()

    def note(self) -> None:
        """Once a second, note why nobody looked, as the main thread does."""
        assert self.app.lookout is not None
        if self._clock.monotonic_s() - self._looked_s >= 1.0:
            self._looked_s = self._clock.monotonic_s()
            self.app.lookout.look()

    def alerts_s(self, camera: str, rule: str) -> list[float]:
        """When the rule opened, in seconds of the script."""
        wanted = EventFilter(limit=100_000, camera=camera, rule=rule)
        told = [event for _, event in events(self.path, wanted)]
        return [
            datetime.fromisoformat(event["ts"]).timestamp() - self.begun
            for event in told
            if event["event_type"] == "rule_match"
        ]

    def _go_on(self) -> None:
        for camera in self._pictures:
            next(camera)
