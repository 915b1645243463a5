"""How does memory that nobody needs go back to the system?

Knows Python's collector; no part of the daemon.

Cameras come and go in cycles of objects that hold buffers of FFmpeg's. What the libraries made at
their import is so much that Python, left to itself, looks for such cycles every few minutes at
best, and glibc keeps what each thread once used: with nine cameras, faults and a reload a minute
the daemon grew by 140 MB in a quarter of an hour (`make soak`). Measured: a look at everything
takes 230 to 350 ms, without what is frozen a few; giving back takes 6 to 19 ms and frees 25 MB.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Final

from pipelines.freed import trim

EVERY_S: Final = 60.0


class Tidying:
    """Looks for garbage once a minute. From one thread."""

    def __init__(self, give_back: Callable[[], None] = trim) -> None:
        self._give_back = give_back
        self._frozen_for: str | None = None
        self._tidied_s: float | None = None

    def tidy(self, now_s: float, model_id: str | None) -> None:
        """Tidy up if it is time. `model_id`: which model is loaded; None while none is.

        What is there when a model has been loaded stays, and is not looked through again.
        """
        if model_id is not None and model_id != self._frozen_for:
            gc.unfreeze()  # the earlier model may go
            gc.collect()
            gc.freeze()
            self._frozen_for, self._tidied_s = model_id, now_s
        elif self._tidied_s is None or now_s - self._tidied_s >= EVERY_S:
            self._tidied_s = now_s
            gc.collect()
            self._give_back()
