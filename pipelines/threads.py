"""How many threads may the model have, and how do they leave room for the cameras?

Knows no model and no PyTorch: what it sets must be set before PyTorch is imported.
"""

from __future__ import annotations

import os
import threading
from collections.abc import MutableMapping
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of the container or systemd slice (cgroup v2)
SPIN_COUNT = "2000"  # of libgomp's loop, with a pause instruction each: some 50 us
NICENESS = 5  # of the model's threads: capture's, at 0, get three times their share of a busy core


def default_threads() -> int:
    """One for each core that this process may use, its cgroup's quota included."""
    cores = len(os.sched_getaffinity(0))
    return quota_cores(_QUOTA, cores)


def quota_cores(path: Path, cores: int) -> int:
    """How many whole cores a `cpu.max` file leaves of `cores`; all where there is no such file."""
    try:
        quota, period = path.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def spin_shortly(environ: MutableMapping[str, str]) -> None:
    """Have OpenMP's threads soon sleep while they wait for each other.

    By default they spin for milliseconds, on the very core that the awaited one needs: on two busy
    cores that took three to four times as long. Not spinning at all costs half a decoding step on
    idle ones (tests/bench/LOG.md). Call it before anything imports PyTorch, whose OpenMP reads
    this once; what the user has set stays.
    """
    if "OMP_WAIT_POLICY" not in environ:
        environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)


def yield_to_capture() -> None:
    """Lower the calling thread's priority, and that of the OpenMP threads which it will start."""
    thread = threading.get_native_id()  # Linux counts niceness by thread, and new ones inherit it
    os.setpriority(os.PRIO_PROCESS, thread, max(NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))
