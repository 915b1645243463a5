"""How does a test wedge threads of a real process, from outside?

As a debugger does (ptrace(2)): each is stopped where it is, and the others go on. Linux, root.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17


@contextlib.contextmanager
def all_but_main_stopped(pid: int) -> Iterator[int]:
    """Stop all threads of `pid` but its main one; how many were stopped."""
    libc = ctypes.CDLL(None, use_errno=True)
    stopped = []

    def ptrace(request: int, thread: int) -> None:
        if libc.ptrace(request, thread, None, None):
            raise OSError(ctypes.get_errno(), f"ptrace({request:#x}, {thread})")

    for task in Path(f"/proc/{pid}/task").iterdir():
        thread = int(task.name)
        if thread != pid:
            ptrace(_SEIZE, thread)
            ptrace(_INTERRUPT, thread)
            stopped.append(thread)
    yield len(stopped)
    for thread in stopped:  # a process that was killed lets go of us when it is waited for
        with contextlib.suppress(ChildProcessError):
            os.waitpid(thread, os.WNOHANG | 0x40000000)  # __WALL
        with contextlib.suppress(OSError):
            ptrace(_DETACH, thread)
