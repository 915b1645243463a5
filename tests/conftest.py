"""What do all tests rely on?"""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

# A busy machine is no failure.
settings.register_profile("smolwatch", deadline=None)
settings.load_profile("smolwatch")


def pytest_configure(config: pytest.Config) -> None:
    """Converted models: not in the user's cache, and not made anew by each run."""
    assert config.cache is not None
    os.environ["XDG_CACHE_HOME"] = str(config.cache.mkdir("xdg"))
    os.environ.pop("CACHE_DIRECTORY", None)
    # A shell that starts tests in the background has Ctrl+C ignored, and all children inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
