"""What becomes of a log line that comes again and again?

Knows records and times; not where they go. The first few are shown as they come, what follows is
counted and told as one line an interval, with `repeated=37`: a camera that comes and goes all day
must not fill the disk, nor hide what else is said.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

SHOWN: Final = 3
EVERY_S: Final = 600.0
_MOST_KINDS: Final = 500
# What tells two lines of one event apart; all else, times and figures, may differ.
_TELLING: Final = ("event", "camera", "state", "cause", "topic", "rule", "worker", "what", "path")


@dataclass
class _Kind:
    shown: int = 0
    held: int = 0
    newest: logging.LogRecord | None = None
    told_s: float = 0.0  # when one of them was shown last
    seen_s: float = 0.0


class Repeats(logging.Filter):
    """Holds repeats back. `now_s` is monotonic. Any thread may log.

    Exceptions and what is worse than an error are never held back.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        super().__init__()
        self._now_s = now_s
        self._lock = threading.Lock()
        self._kinds: dict[Hashable, _Kind] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is shown now."""
        if record.levelno > logging.ERROR or _is_exception(record):
            return True
        key, now_s = _key(record), self._now_s()
        with self._lock:
            kind = self._kinds.pop(key, None)
            if kind is None or (now_s - kind.seen_s >= EVERY_S and not kind.held):
                kind = _Kind()
            self._kinds[key] = kind  # the newest at the end
            if len(self._kinds) > _MOST_KINDS:
                self._kinds.pop(next(iter(self._kinds)))
            kind.seen_s = now_s
            if kind.shown < SHOWN:
                kind.shown += 1
                kind.told_s = now_s
                return True
            kind.held += 1
            kind.newest = record
            return False

    def due(self, *, ending: bool = False) -> list[logging.LogRecord]:
        """What was held back for long enough, one record of each kind."""
        now_s = self._now_s()
        told = []
        with self._lock:
            for kind in self._kinds.values():
                if kind.newest is not None and (ending or now_s - kind.told_s >= EVERY_S):
                    told.append(_counted(kind.newest, kind.held))
                    kind.newest, kind.held, kind.told_s = None, 0, now_s
        return told


def _key(record: logging.LogRecord) -> Hashable:
    if isinstance(record.msg, dict):
        return (record.name, record.levelno, *(str(record.msg.get(key)) for key in _TELLING))
    return record.name, record.levelno, str(record.msg)


def _is_exception(record: logging.LogRecord) -> bool:
    told = record.msg if isinstance(record.msg, dict) else {}
    return bool(record.exc_info or "exception" in told or "exc_info" in told)


def _counted(record: logging.LogRecord, times: int) -> logging.LogRecord:
    told = copy.copy(record)
    if isinstance(record.msg, dict):
        told.msg = {**record.msg, "repeated": times}
    else:
        told.msg, told.args = f"{record.getMessage()} (repeated {times} times)", ()
    return told
