"""Why does a disk take nothing, and what helps?

Knows the operating system's errors and a folder; nothing of what was to be written there.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

BROKEN: Final = (
    "look for disk errors (dmesg), stop smolwatch, check the file system, mount it writable"
)
_WORDS: Final = {
    errno.EROFS: ("the file system is read-only", BROKEN),
    errno.EIO: ("the disk fails", BROKEN),
    errno.ENOSPC: ("the disk is full", "free disk space"),
    errno.EDQUOT: ("the disk quota is used up", "free disk space, or raise the quota"),
}
_PROBE_BYTES: Final = 4096  # one block: a full disk still makes empty files


def in_words(error: OSError, otherwise: str) -> str:
    """What keeps the disk from taking anything, and what to do; `otherwise`: of other errors."""
    said, fix = _WORDS.get(error.errno or 0, (error.strerror or str(error), otherwise))
    return f"{said}: {fix}"


def joined(troubles: Iterable[str]) -> list[str]:
    """`what: why` of several parts; those of one disk together, its remedy once."""
    whats: dict[str, list[str]] = {}
    for trouble in troubles:
        what, _, why = trouble.partition(": ")
        whats.setdefault(why, []).append(what)
    return [": ".join(filter(None, (", ".join(what), why))) for why, what in whats.items()]


def why_not(folder: Path) -> OSError | None:
    """Try to write a little there; what the operating system says to it, None if that works.

    SQLite calls a file system that turned read-only a "disk I/O error", and since Linux 6.15
    neither access(2) nor statvfs(3) tells of an ext4 that did (its `emergency_ro`).
    """
    probe = folder / f".smolwatch-{os.getpid()}"
    try:
        fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, bytes(_PROBE_BYTES))
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        return error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return None
