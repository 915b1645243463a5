"""How does the model come into its place, and what if it does not?

Knows states, waits and attempts; what loading is, comes in as a function. A thread of its own, so
that capture, status and MQTT run meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from pipelines.clock import Clock
from pipelines.errors import ModelError, ModelUnavailable
from pipelines.model_slot import ModelSlot, ModelState
from pipelines.threads import yield_to_capture
from pipelines.types import VideoModel

Progress = Callable[[float], None]  # given the share of the download that is there, 0..1

FIRST_WAIT_S: Final = 10.0
LONGEST_WAIT_S: Final = 600.0
_POLL_S: Final = 0.5  # the longest that a stop or another wish goes unnoticed

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Wish:
    """A model that is wanted. `load` raises `ModelError`; it tells how far its download is.

    `model_id`, `frame_edge_px`: as far as they are known before it is there.
    """

    name: str
    model_id: str
    frame_edge_px: int
    load: Callable[[Progress], VideoModel]


class _Superseded(Exception):
    """Another model is wanted, or none any more."""


class ModelLoader:
    """Loads what is wished for into `slot`. What may come by itself is tried again, for ever.

    The waits double from `FIRST_WAIT_S` to `LONGEST_WAIT_S`. What only people can mend (a damaged
    file, another kind of model) waits for the next `want`.
    """

    def __init__(self, wish: Wish, clock: Clock) -> None:
        self.slot = ModelSlot(wish.model_id, wish.frame_edge_px)
        self._wish: Wish = wish
        self._clock = clock
        self._open = True  # whether the wish still waits for an attempt
        self._lock = threading.Lock()  # no model is put into its place for an earlier wish

    def want(self, wish: Wish) -> None:
        """Load another one, or the same once more. From any thread.

        A download that is under way for an earlier wish is given up.
        """
        with self._lock:
            self._wish, self._open = wish, True

    def change(self, wish: Wish) -> None:
        """Let go of the model that is there, and load another. While nobody looks.

        Not beside it: two models are more than a small machine's memory holds, and what the
        earlier one has not learned, it cannot be asked.
        """
        self.want(wish)
        self.slot.state = ModelState("loading")
        self.slot.empty(wish.model_id, wish.frame_edge_px)

    def run(self, stop: threading.Event) -> None:
        """Load whatever is wished for, until `stop`."""
        yield_to_capture()
        while not stop.is_set():
            if self._open:
                self._open = False
                self._fulfil(self._wish, stop)
            else:
                self._clock.wait(stop, _POLL_S)

    def _fulfil(self, wish: Wish, stop: threading.Event) -> None:
        """Try until it is there, or no attempt is of use, or another one is wanted."""
        wait_s, told = FIRST_WAIT_S, ""
        while self._is_wanted(wish, stop):
            self.slot.state = ModelState("loading")
            try:
                model = wish.load(lambda share: self._downloaded(wish, share, stop))
            except _Superseded:
                return
            except ModelError as error:
                again = isinstance(error, ModelUnavailable)
                self._failed(wish, error, wait_s if again else None, is_news=str(error) != told)
                told = str(error)
                if not again:
                    return
                self._pause(wish, wait_s, stop)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
                continue
            with self._lock:
                if self._is_wanted(wish, stop):
                    self.slot.put(model)
                    log.info("model.ready", model=model.model_id)
            return

    def _is_wanted(self, wish: Wish, stop: threading.Event) -> bool:
        return wish is self._wish and not stop.is_set()

    def _downloaded(self, wish: Wish, share: float, stop: threading.Event) -> None:
        if not self._is_wanted(wish, stop):
            raise _Superseded
        before = self.slot.state
        self.slot.state = ModelState("downloading", f"{share:.0%}")
        if before.phase != "downloading":
            log.info("model.downloading", model=wish.name)
        if share >= 1.0:
            self.slot.state = ModelState("loading")

    def _failed(
        self, wish: Wish, error: ModelError, wait_s: float | None, *, is_news: bool
    ) -> None:
        self.slot.state = ModelState("failed", str(error))
        if is_news:
            hint = "then reload or restart smolwatch" if wait_s is None else "it is tried again"
            log.error(
                "model.failed", model=wish.name, error=str(error), retry_s=wait_s, hint=hint
            )  # fmt: skip

    def _pause(self, wish: Wish, wait_s: float, stop: threading.Event) -> None:
        until_s = self._clock.monotonic_s() + wait_s
        while self._is_wanted(wish, stop):
            left_s = until_s - self._clock.monotonic_s()
            if left_s <= 0 or self._clock.wait(stop, min(left_s, _POLL_S)):
                return
