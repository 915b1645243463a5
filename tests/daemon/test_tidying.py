"""Does garbage go, at a bearable price?"""

from __future__ import annotations

import ctypes
import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.tidying import EVERY_S, Tidying
from pipelines.freed import trim


class Cycle:
    """Goes only when the collector looks."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    gc.disable()  # by itself it may look at any moment
    yield
    gc.unfreeze()
    gc.enable()


def garbage() -> weakref.ref[Cycle]:
    return weakref.ref(Cycle())


def test_garbage_goes_once_a_minute_and_its_memory_with_it() -> None:
    given_back: list[int] = []
    tidying = Tidying(lambda: given_back.append(1))
    tidying.tidy(0.0, None)
    lost = garbage()
    tidying.tidy(EVERY_S - 1.0, None)
    assert lost() is not None
    assert len(given_back) == 1
    tidying.tidy(EVERY_S, None)
    assert lost() is None
    assert len(given_back) == 2


def test_what_a_loaded_model_is_made_of_is_not_looked_through_again() -> None:
    tidying = Tidying(lambda: None)
    tidying.tidy(0.0, None)
    assert gc.get_freeze_count() == 0
    tidying.tidy(1.0, "one")
    frozen = gc.get_freeze_count()
    assert frozen > 1000
    tidying.tidy(2.0, "one")
    assert gc.get_freeze_count() == frozen


def test_an_earlier_model_may_go() -> None:
    tidying = Tidying(lambda: None)
    model = Cycle()
    lost = weakref.ref(model)
    tidying.tidy(0.0, "one")
    del model
    tidying.tidy(EVERY_S, "one")
    assert lost() is not None, "it was frozen"
    tidying.tidy(EVERY_S + 1.0, "two")
    assert lost() is None


def resident() -> int:
    """Bytes of this process's own memory."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in status if line.startswith("RssAnon")).split()[1]) * 1024


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not glibc")
def test_free_memory_goes_back_to_the_system() -> None:
    blocks = [b"x" * 8192 for _ in range(10_000)]
    last = blocks.pop()  # keeps glibc from giving back by itself what lies before it
    blocks.clear()
    before = resident()
    trim()
    assert before - resident() > 40_000_000
    assert last
