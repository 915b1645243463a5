"""How does a procedural scene become a live camera?

Knows the clock and the frame rate; what is drawn is `pipelines.scenes`' affair.
"""

from __future__ import annotations

import threading

from pipelines.clock import Clock
from pipelines.errors import SourceError
from pipelines.scenes.address import parse_scene
from pipelines.scenes.draw import Painter
from pipelines.scenes.script import Script
from pipelines.sources.base import Picture, SampleGrid
from pipelines.sources.url import SourceUrl


class SceneSource:
    """A camera that needs no hardware, with exact truth of what it showed. See `FrameSource`.

    The script's time is the clock's since the first `open`: like a street, it goes on while
    nobody looks.
    """

    def __init__(self, url: SourceUrl, clock: Clock) -> None:
        self._url = url
        self._address = parse_scene(url.secret)
        self._clock = clock
        self._painter: Painter | None = None
        self._grid = SampleGrid()
        self._tick = 0
        self.started_s: float | None = None  # monotonic time of the script's second 0

    @property
    def url(self) -> SourceUrl:
        """See `FrameSource.url`."""
        return self._url

    @property
    def script(self) -> Script:
        """What happens, and when."""
        return self._address.script

    def open(self) -> None:
        """See `FrameSource.open`."""
        self._grid = SampleGrid()
        address = self._address
        self._painter = Painter(address.stage, address.width_px, address.height_px)
        if self.started_s is None:
            self.started_s = self._clock.monotonic_s()
        self._tick = int((self._clock.monotonic_s() - self.started_s) * address.fps)

    def read(self, sample_interval_s: float, stop: threading.Event) -> Picture | None:
        """See `FrameSource.read`. Pictures that are not due are not drawn."""
        if self._painter is None or self.started_s is None:
            raise SourceError(f"{self._url}: read before it was opened.")
        fps = self._address.fps
        due_s = self.started_s + (self._tick + 1) / fps
        wait_s = due_s - self._clock.monotonic_s()
        if wait_s > 0 and self._clock.wait(stop, wait_s):
            return None
        # Like a camera, it never falls behind: pictures that nobody fetched in time are gone.
        self._tick = max(self._tick + 1, int((self._clock.monotonic_s() - self.started_s) * fps))
        t = self._tick / fps
        if not self._grid.due(t, sample_interval_s):
            return Picture(None, t)
        return Picture(self._painter.paint(self._address.script.state_at(t), t), t)

    def close(self) -> None:
        """See `FrameSource.close`."""
        self._painter = None
