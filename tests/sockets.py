"""Does a daemon listen already?"""

from __future__ import annotations

from pathlib import Path

from daemon.control import knock
from pipelines.errors import SmolwatchError


def listens(path: Path) -> bool:
    """Whether the control socket takes connections: its file is there a moment sooner."""
    try:
        knock(path)
    except SmolwatchError:
        return False
    return True
