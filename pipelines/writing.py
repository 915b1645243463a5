"""What does the model write beside its looking, and when?

Knows no camera and no purpose: tasks come from any thread, and the inference thread writes them
one after the other, in the short steps that the model takes (`VideoModel.write`). A text has time:
it is written while no window is due; on a machine that is always busy it gets a tenth of the time.
So a window waits for at most one step, and no text for ever.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from pipelines.clock import Clock
from pipelines.errors import InferenceError, RequestRefused
from pipelines.summary import Task
from pipelines.types import VideoModel

MOST_WAITING: Final = 4
BUSY_SHARE: Final = 0.1  # of the model's time, where windows are always due


@dataclass(slots=True, eq=False)
class _Piece:
    task: Task
    future: Future[str] = field(default_factory=Future)
    steps: Iterator[str] | None = None
    so_far: str = ""


class Writings:
    """The texts that wait. Thread-safe; `step` is the inference thread's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._pieces: deque[_Piece] = deque()
        self._closed: str | None = None
        self._busy_until_s = 0.0

    def put(self, task: Task) -> Future[str]:
        """Have a text written. The future's errors are `InferenceError` and `RequestRefused`.

        Raises `RequestRefused` where too many wait already, or nothing is written any more.
        """
        piece = _Piece(task)
        with self._lock:
            if self._closed is not None:
                raise RequestRefused(self._closed)
            if len(self._pieces) >= MOST_WAITING:
                raise RequestRefused(
                    f"{MOST_WAITING} texts wait for the model already: ask again later"
                )
            self._pieces.append(piece)
        return piece.future

    def step(self, model: VideoModel, *, idle: bool) -> bool:
        """Write on, a little; `idle`: no window was due. Whether anything was done."""
        began_s = self._clock.monotonic_s()
        if not idle and began_s < self._busy_until_s:
            return False
        with self._lock:
            while self._pieces and self._pieces[0].future.cancelled():
                self._pieces.popleft()  # whoever wanted it has gone
            piece = self._pieces[0] if self._pieces else None
        if piece is None:
            return False
        if piece.steps is None:
            piece.steps = model.write(piece.task.prompt, piece.task.max_tokens)
        try:
            piece.so_far = next(piece.steps)
        except StopIteration:
            self._end(piece)
        except InferenceError as error:
            self._end(piece, error)
        now_s = self._clock.monotonic_s()
        self._busy_until_s = now_s + (now_s - began_s) * (1 - BUSY_SHARE) / BUSY_SHARE
        return True

    def close(self, reason: str) -> None:
        """End all that wait, and refuse what comes. From any thread, as often as wanted."""
        with self._lock:
            self._closed = reason
            left = tuple(self._pieces)
        for piece in left:
            self._end(piece, RequestRefused(reason))

    def _end(self, piece: _Piece, error: Exception | None = None) -> None:
        with self._lock:
            if piece not in self._pieces:
                return
            self._pieces.remove(piece)
        if not piece.future.set_running_or_notify_cancel():
            return
        if error is None:
            piece.future.set_result(piece.so_far)
        else:
            piece.future.set_exception(error)
