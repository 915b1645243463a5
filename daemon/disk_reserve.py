"""What is left for alerts when the disk is full?

Knows a file that holds nothing but room; no table. While it is given away, descriptions and what
else can be done without are not written, so that alerts have all of it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger(__name__)

RESERVE_BYTES: Final = 16 * 1024 * 1024  # about 8,000 alerts


class DiskReserve:
    """A file of `num_bytes` that is given up for alerts, and taken again when there is room.

    `released` tells whether there is none at the moment. The caller sees to it that one thread at
    a time calls. Nothing here raises.
    """

    def __init__(self, path: Path, num_bytes: int = RESERVE_BYTES) -> None:
        self.released = False
        self._path = path
        self._num_bytes = num_bytes
        self._take()

    def release(self) -> bool:
        """Make room; False if that was done before."""
        if self.released:
            return False
        self.released = True
        try:
            self._path.unlink()
        except OSError:
            return False
        log.error(
            "store.reserve_released",
            num_bytes=self._num_bytes,
            hint=f"the disk of {self._path.parent} is full: only alerts are stored now, and not "
            "many of them; free disk space, or lower store.max_bytes and media.max_bytes",
        )
        return True

    def restore(self) -> None:
        """Take the room again once there is twice as much."""
        if not self.released:
            return
        try:
            free = shutil.disk_usage(self._path.parent).free
        except OSError:
            return
        if free >= 2 * self._num_bytes:
            self.released = False
            self._take()
            if not self.released:
                log.warning("store.reserve_restored", num_bytes=self._num_bytes)

    def _take(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError:
            self.released = True
            return
        try:
            os.posix_fallocate(fd, 0, self._num_bytes)  # blocks, not a hole
        except OSError as error:
            self.released = True
            self._path.unlink(missing_ok=True)
            log.warning(
                "store.no_reserve",
                error=error.strerror,
                hint=f"{self._path.parent} has no {self._num_bytes >> 20} MiB to spare: free "
                "disk space; only alerts are stored now",
            )
        finally:
            os.close(fd)
