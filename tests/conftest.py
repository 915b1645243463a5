"""Where do tests keep what takes long to make?"""

from __future__ import annotations

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Converted models: not in the user's cache, and not made anew by each run."""
    assert config.cache is not None
    os.environ["XDG_CACHE_HOME"] = str(config.cache.mkdir("xdg"))
    os.environ.pop("CACHE_DIRECTORY", None)
