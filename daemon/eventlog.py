"""Where can events be read without a broker?

Knows no MQTT: objects in, one JSON line each, in a file that is rotated and so stays bounded. The
store is what survives a power cut; here the disk is waited for only when a file is full or closed.
"""

from __future__ import annotations

import contextlib
import glob
import json
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from daemon.disk_trouble import in_words

log = structlog.get_logger(__name__)

DEFAULT_MAX_BYTES = 10_000_000  # of each file; about 20,000 events
DEFAULT_KEEP = 4


class EventLog:
    """Appends JSON lines to `path`; the folder is made. Full files become `NAME.1`, `NAME.2`...

    `keep` of those stay, none of them longer than `max_age_s` after its last line. A file that
    somebody else has moved away (logrotate) or deleted is begun anew with the next line.
    A line is whole or absent: what a full disk cut short is taken back. An error is logged once,
    and so is its end; it never reaches the caller, for whom a lost line is no reason to stop.
    `lost` counts such lines. Any thread may append.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int = DEFAULT_MAX_BYTES,
        keep: int = DEFAULT_KEEP,
        max_age_s: float = math.inf,
        wall_time: Callable[[], float] = time.time,
    ) -> None:
        self.lost = 0
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._max_age_s = max_age_s
        self._wall_time = wall_time
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._size = 0
        self.trouble: str | None = None  # what keeps lines out, in words

    def append(self, content: Mapping[str, object]) -> None:
        """Write one object as one line and hand it to the operating system."""
        line = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            try:
                self._write(line)
            except OSError as error:
                self._failed(error)
            else:
                self._succeeded()

    def close(self) -> None:
        """Close the file; a later append opens it again."""
        with self._lock:
            self._close()

    def _write(self, line: bytes) -> None:
        if self._fd is not None and self._is_gone(self._fd):
            self._close()
        if self._fd is None:
            self._open()
        if self._size and self._size + len(line) > self._max_bytes:
            self._rotate()
        fd = self._open() if self._fd is None else self._fd
        written = os.write(fd, line)
        if written < len(line):  # the disk became full within the line: no error, only a count
            written += os.write(fd, line[written:])
        self._size += written

    def _is_gone(self, fd: int) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return True
        ours = os.fstat(fd)
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)

    def _rotate(self) -> None:
        self._close()
        for number in range(self._keep, 0, -1):
            older = self._path if number == 1 else self._numbered(number - 1)
            with contextlib.suppress(FileNotFoundError):
                older.replace(self._numbered(number))
        if self._keep == 0:
            self._path.unlink(missing_ok=True)
        self._delete_old()

    def _delete_old(self) -> None:
        """What is too old, and what an earlier configuration kept more of."""
        oldest = self._wall_time() - self._max_age_s
        for path in self._path.parent.glob(f"{glob.escape(self._path.name)}.*"):
            number = path.name.removeprefix(f"{self._path.name}.")
            if not number.isdecimal():
                continue  # somebody else's
            with contextlib.suppress(FileNotFoundError):
                if int(number) > self._keep or path.stat().st_mtime < oldest:
                    path.unlink()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _open(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._delete_old()
        self._fd = os.open(self._path, flags, 0o640)
        self._size = os.fstat(self._fd).st_size
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            self._size += os.write(self._fd, b"\n")  # the last run ended within a line
        return self._fd

    def _close(self) -> None:
        fd, self._fd, self._size = self._fd, None, 0
        if fd is not None:
            with contextlib.suppress(OSError):  # a full disk was told when the line was written
                os.fsync(fd)
            os.close(fd)

    def _failed(self, error: OSError) -> None:
        self.lost += 1
        if self._fd is not None:
            with contextlib.suppress(OSError):  # a device or a read-only disk cannot be cut
                os.ftruncate(self._fd, self._size)
        with contextlib.suppress(OSError):
            self._close()
        failing, self.trouble = self.trouble, f"the event log is not written: {_why(error)}"
        if failing is None:
            log.error(
                "eventlog.failing",
                path=str(self._path),
                error=error.strerror or str(error),
                hint=f"events still go to MQTT; {_why(error)}",
            )

    def _succeeded(self) -> None:
        if self.trouble is not None:
            self.trouble = None
            log.warning("eventlog.recovered", path=str(self._path), lines_lost=self.lost)


def _why(error: OSError) -> str:
    return in_words(error, "make log.events writable")
