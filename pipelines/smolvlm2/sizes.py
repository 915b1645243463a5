"""To which sizes are batches rounded up?

Knows numbers only. Few sizes, so that shapes repeat; near enough to each other that at most a third
is computed for nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

PROMPT_STEP = 32  # tokens: prompts of one plan differ by none
READ_STEP = 16  # tokens that are read behind a prompt
SLOT_STEP = 128


def round_up(number: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-number // step) * step


def round_out(number: int, step: int = 1, most: int | None = None) -> int:
    """The next of 1, 2, 3, 4, 6, 8, 12, 16, 24 ... times `step`, or `most` where that is less."""
    size = next(factor for factor in _factors() if factor * step >= number) * step
    return size if most is None else min(size, most)


def _factors() -> Iterator[int]:
    yield 1
    for power in count(1):
        yield 2**power
        yield 2**power + 2 ** (power - 1)
