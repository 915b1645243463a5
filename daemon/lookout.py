"""When did nobody look at a camera, and why?

Knows the figures of capture and scheduler, and writes stretches of blind or quiet time to the
store. Called once a second by the main thread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from daemon.store import Store
from pipelines.capture import CaptureWorker
from pipelines.clock import Clock
from pipelines.model_slot import ModelSlot, ModelState
from pipelines.windows import WindowCounts, WindowScheduler

ALIVE: Final = "alive"  # remembered again and again; its time is when the daemon was last there
# Only when a window comes to an end, or the next one begins, is it known that others passed: the
# stretch began when the camera was last looked at.
_TOLD_LATE: Final = frozenset({"busy", "failed"})
_WRITE_EVERY_S: Final = 10.0  # while a stretch goes on; what a crash leaves out of its end


@dataclass(slots=True)
class _Stretch:
    """A stretch that goes on. `row`: its place in the store."""

    cause: str
    detail: str
    row: int | None
    windows: int
    written: float  # Unix seconds


class Lookout:
    """Writes why no window of a camera was run: see `cause_of`."""

    def __init__(
        self,
        store: Store,
        captures: Mapping[str, CaptureWorker],
        scheduler: WindowScheduler,
        clock: Clock,
        model: ModelSlot | None = None,
    ) -> None:
        """`model`: the one that looks; None for one that is always there."""
        self._store = store
        self._captures = captures
        self._scheduler = scheduler
        self._clock = clock
        self._model = model
        self._counts = {name: WindowCounts() for name in captures}
        self._stretches: dict[str, _Stretch] = {}
        self._known: dict[str, float] = {}  # Unix seconds: when a camera's time last had a cause
        self._alive_s = -math.inf

    def look(self) -> None:
        """Note what changed since the last look."""
        now_s, now = self._clock.monotonic_s(), self._clock.wall_time()
        if now_s - self._alive_s >= _WRITE_EVERY_S:
            self._alive_s = now_s
            self._store.remember(ALIVE, "", durable=False)
        for name, capture in self._captures.items():
            before, counts = self._counts[name], self._scheduler.counts(name, now_s)
            self._counts[name] = counts
            health = capture.health()
            away = None
            if health.state not in ("online", "disabled"):
                away = health.message or health.cause or health.state
            found = cause_of(before, counts, away, self._missing())
            passed = counts.skipped + counts.gated + counts.failed
            passed -= before.skipped + before.gated + before.failed
            self._note(name, found, passed, now)

    def end(self) -> None:
        """Write the ends of what still goes on; before the store is closed."""
        now = self._clock.wall_time()
        for stretch in self._stretches.values():
            if stretch.row is not None:
                self._store.lengthen(stretch.row, now, stretch.windows)
        self._stretches.clear()
        self._store.remember(ALIVE, "")

    def _missing(self) -> ModelState | None:
        """How the model is, where there is none that looks."""
        model = self._model
        return None if model is None or model.away is None else model.state

    def _note(self, camera: str, found: tuple[str, str], passed: int, now: float) -> None:
        cause, detail = found
        known = self._known.get(camera, now)
        if cause != "as before":
            self._known[camera] = now
        stretch = self._stretches.get(camera)
        if stretch is not None and cause in (stretch.cause, "as before"):
            stretch.windows += passed
            if stretch.row is not None and now - stretch.written >= _WRITE_EVERY_S:
                stretch.written = now
                self._store.lengthen(stretch.row, now, stretch.windows)
            return
        if stretch is not None:
            del self._stretches[camera]
            if stretch.row is not None:
                self._store.lengthen(stretch.row, now, stretch.windows)
        if cause not in ("looked", "as before"):
            started = known if cause in _TOLD_LATE else now
            row = self._store.span(camera, cause, detail, started, now)
            self._stretches[camera] = _Stretch(cause, detail, row, passed, now)


def cause_of(
    before: WindowCounts, counts: WindowCounts, away: str | None, missing: ModelState | None = None
) -> tuple[str, str]:
    """What the time between two looks was: a cause and its details. Pure.

    `missing`: how the model is, where there is none that looks. `away`, `disabled`, `no frames` and
    `filling` are blind, and so are `failed`, `model loading`, `model failed` and `busy`; `quiet` is
    not, the motion gate looked. `looked` ends a stretch, `as before` goes on with it.
    """
    skipped = counts.skipped > before.skipped
    no_model = skipped and missing is not None
    broken = missing is not None and missing.phase == "failed"
    reasons = (
        (away is not None, "away", away or ""),
        (counts.failed > before.failed, "failed", "the model could not run the window"),
        (no_model and broken, "model failed", missing.detail if missing else ""),
        (no_model, "model loading", "the model was not loaded yet"),
        (skipped, "busy", "the model was busy with other windows"),
        (counts.ran > before.ran, "looked", ""),
        (counts.waiting == "disabled", "disabled", "the camera is switched off"),
        (counts.waiting == "no_frames", "no frames", "no new frame came"),
        (counts.waiting == "filling", "filling", "there were not frames enough for a window yet"),
        (counts.gated > before.gated, "quiet", "nothing moved (gate: motion)"),
        (True, "as before", ""),
    )
    return next((cause, detail) for holds, cause, detail in reasons if holds)
