"""What is an event called?

Knows no event. An id is made once, where the event is, and kept through every retry.
"""

from __future__ import annotations

from ulid import ULID


def new_ulid() -> str:
    """26 characters that sort by time (https://github.com/ulid/spec). Thread-safe."""
    return str(ULID())
