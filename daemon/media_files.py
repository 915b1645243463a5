"""Where are snapshots and clips kept, and for how long?

Knows a folder and its own files in it; nothing of what they show.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from daemon.disk_reserve import RESERVE_BYTES
from daemon.disk_trouble import why_not
from pipelines.clock import Clock
from pipelines.types import Event

LEAVE_BYTES: Final = 4 * RESERVE_BYTES  # for descriptions, and then for alerts

# CAMERA-ULID.jpg of an alert, CAMERA-ULID.info.jpg of what is less: nothing else in the folder is
# ever touched.
_OURS = re.compile(r"[a-z0-9_]+-[0-9A-Z]{26}(\.info|\.warning)?\.(jpg|mp4)(\.part)?")
_LAST_TO_GO: Final = (".info", ".warning", None)


def name_of(event: Event, suffix: str) -> str:
    """Of an event's file: what it is worth stands in it, so that nobody need be asked later."""
    worth = "" if event.severity == "alert" else f".{event.severity}"
    return f"{event.camera}-{event.event_id}{worth}.{suffix}"


def is_ours(name: str) -> bool:
    """Whether it is the name of a snapshot or clip that is whole."""
    return _OURS.fullmatch(name) is not None and not name.endswith(".part")


class MediaFiles:
    """A folder of at most `max_bytes`, in which nothing grows older than `max_age_s`.

    What is too much goes by severity, files of alerts last, and among one severity the oldest
    first. Counted in `deleted`. For one thread.
    """

    def __init__(self, folder: Path, max_bytes: int, max_age_s: float, clock: Clock) -> None:
        self.folder = folder
        self.deleted = 0
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._clock = clock

    def write(self, name: str, make: Callable[[Path], None]) -> bool:
        """Have `make` write the file: it is there whole, or not at all. Raises what `make` does.

        False where there is no room beside files that are worth more.

        `OSError` where it would leave the disk too little room: pictures are the first to stop.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"{name}.part"
        try:
            make(part)
            self._keep_room()
            part.replace(self.folder / name)
        finally:
            part.unlink(missing_ok=True)
        self.prune()
        return (self.folder / name).exists()

    def refusal(self) -> OSError | None:
        """Why no file can be written now; None if one can."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._keep_room()
        except OSError as error:
            return error
        return why_not(self.folder)

    def _keep_room(self) -> None:
        if shutil.disk_usage(self.folder).free < LEAVE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def prune(self) -> None:
        """Delete what is too old, and what is worth least while there is too much."""
        files = []
        for path in self.folder.iterdir():
            if found := _OURS.fullmatch(path.name):
                with contextlib.suppress(FileNotFoundError):  # somebody else tidies up, too
                    status, worth = path.stat(), _LAST_TO_GO.index(found[1])
                    files.append((worth, status.st_mtime, status.st_size, path))
        total = sum(size for _, _, size, _ in files)
        oldest = self._clock.wall_time() - self._max_age_s
        for _, changed, size, path in sorted(files):
            if changed >= oldest and total <= self._max_bytes:
                continue
            path.unlink(missing_ok=True)
            total -= size
            self.deleted += 1
