"""Where are compiled kernels and converted models kept over restarts?

Knows nothing of what is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def cache_dir(environ: Mapping[str, str]) -> Path:
    """Systemd's `CacheDirectory=` for a service, else `smolwatch` in the user's cache folder.

    The XDG Base Directory Specification says where that is. The folder may not exist yet.
    """
    if service := environ.get("CACHE_DIRECTORY", "").partition(":")[0]:
        return Path(service)
    xdg = environ.get("XDG_CACHE_HOME", "")
    home = Path(environ.get("HOME", "/tmp"))  # noqa: S108 - a user without a home still has a cache
    return (Path(xdg) if xdg else home / ".cache") / "smolwatch"
