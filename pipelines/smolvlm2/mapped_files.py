"""How does a process let go of files that it has mapped and read?

Knows no model. Linux counts the pages of a mapped file as the process's own until something else
wants the memory. A weights file that was read once, to be packed, would be counted twice for ever.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_MADV_DONTNEED = 4


def let_go(folder: Path) -> None:
    """Unload all pages of files in `folder`; whoever reads one again gets it from the disk.

    For mappings that nobody writes to. Does nothing where there is no /proc.
    """
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    within = f"{folder.resolve()}{os.sep}"
    for line in maps.splitlines():
        span, rights, *_, path = line.split(maxsplit=5)
        if not path.startswith(within) or "w" in rights:
            continue
        start, end = (int(edge, 16) for edge in span.split("-"))
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)
