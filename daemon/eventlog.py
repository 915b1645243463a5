"""Where can events be read without a broker?

Knows no MQTT: objects in, one JSON line each, in a file that is rotated once and so stays bounded.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

DEFAULT_MAX_BYTES = 10_000_000  # of the file and of its predecessor each; about 20,000 events


class EventLog:
    """Appends JSON lines to `path`; the folder is made. Full files become `NAME.1`.

    A line is whole or absent: what a full disk cut short is taken back. An error is logged once,
    and so is its end; it never reaches the caller, for whom a lost line is no reason to stop.
    `lost` counts such lines. Any thread may append.
    """

    def __init__(self, path: Path, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self.lost = 0
        self._path = path
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._size = 0
        self._failing = False

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
        if self._size and self._size + len(line) > self._max_bytes:
            self._close()
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        fd = self._open() if self._fd is None else self._fd
        written = os.write(fd, line)
        if written < len(line):  # the disk became full within the line: no error, only a count
            written += os.write(fd, line[written:])
        self._size += written

    def _open(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o640)
        self._size = os.fstat(self._fd).st_size
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            self._size += os.write(self._fd, b"\n")  # the last run ended within a line
        return self._fd

    def _close(self) -> None:
        fd, self._fd, self._size = self._fd, None, 0
        if fd is not None:
            os.close(fd)

    def _failed(self, error: OSError) -> None:
        self.lost += 1
        if self._fd is not None:
            with contextlib.suppress(OSError):  # a device or a read-only disk cannot be cut
                os.ftruncate(self._fd, self._size)
        with contextlib.suppress(OSError):
            self._close()
        if not self._failing:
            self._failing = True
            log.error(
                "eventlog.failing",
                path=str(self._path),
                error=error.strerror or str(error),
                hint="events still go to MQTT; free disk space, or make log.events writable",
            )

    def _succeeded(self) -> None:
        if self._failing:
            self._failing = False
            log.warning("eventlog.recovered", path=str(self._path), lines_lost=self.lost)
