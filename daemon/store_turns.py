"""Whose turn is it to use the one connection that writes?

Knows no database. A lock whose holder can see that somebody waits, and so can be brief.
"""

from __future__ import annotations

import threading
from types import TracebackType


class Turns:
    """Use as a context manager, as any lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._wanting = 0

    def __enter__(self) -> None:
        if self._lock.acquire(blocking=False):
            return
        with self._counting:
            self._wanting += 1
        try:
            self._lock.acquire()
        finally:
            with self._counting:
                self._wanting -= 1

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._lock.release()

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for the holder."""
        return self._wanting > 0
