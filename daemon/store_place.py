"""Is the store's file still the one at its path, and which one is there instead?

Knows a path, file systems and inodes; no table. A disk that turned read-only is checked and mounted
anew: then the open file is that of the mount which is gone.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import structlog

from daemon.outbox_rows import rescue
from daemon.store_file import StoreError, open_writer

log = structlog.get_logger(__name__)


class Place:
    """Where the store's file was opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._device = _device(path)
        self._inode = _inode(path)
        self.problem: str | None = None  # why the file that is there now cannot be gone on with

    def opened_anew(self, here: sqlite3.Connection) -> sqlite3.Connection | None:
        """A connection to the file in the file system that is mounted there now; None: the same.

        The file that it was, or a new one where there is none: what waits in `here` for the broker
        is carried over. Another store is left alone: its messages have the same numbers as ours.
        """
        device = _device(self._path)
        if device in (None, self._device):
            self.problem = None
            return None
        if _inode(self._path) not in (None, self._inode):
            self.problem = f"another store is at {self._path} now: restart smolwatch to take it up"
            return None
        try:
            connection = open_writer(self._path)
        except StoreError as error:
            self.problem = str(error)
            return None
        carried = rescue(here, connection)
        log.warning("store.reopened", path=str(self._path), messages=carried)
        return connection


def _device(path: Path) -> int | None:
    """Of the folder; None while there is none."""
    try:
        return path.parent.stat().st_dev
    except OSError:
        return None


def _inode(path: Path) -> int | None:
    """Of the file; None while there is none."""
    try:
        return path.stat().st_ino
    except OSError:
        return None
