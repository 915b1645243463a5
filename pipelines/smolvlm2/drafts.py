"""How are words found several at a time, where an earlier text foretells them?

Knows no engine and no strings: ids. A camera says nearly the same again and again. What it said
last is a guess at what it says now: as many guessed tokens as one wants are read in one pass, and
those are kept that are the likeliest anyway. So a guess changes the time a text takes, not the
text (but for rounding, where two tokens are as likely as each other to the last digit).

The way is known as speculative decoding (Leviathan et al., 2023, arXiv:2211.17192), here without a
second model, as in prompt lookup.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Final

# A pass of 1, 2, 5, 9 and 17 tokens: 9.5, 11, 14, 21 and 29 ms (tests/bench/LOG.md).
FIRST_GUESS, LONGEST_GUESS = 4, 16
MISSES: Final = 2  # in a row, at the first guessed token: then the draft is of no use
TEXTS_KEPT: Final = 256  # of cameras and prompts


class Draft:
    """A text that may come again: how far it has come, and how far it is trusted."""

    def __init__(self, ids: Sequence[int] = ()) -> None:
        self._ids = tuple(ids)
        self._at = 0
        self._width = FIRST_GUESS
        self._misses = 0

    def ahead(self, most: int) -> list[int]:
        """What it would say next: `most` tokens at the most, more of them the better it does."""
        count = min(self._width, most) if self._misses < MISSES else 0
        return list(self._ids[self._at : self._at + max(0, count)])

    def follow(self, token: int) -> None:
        """Go on behind what was said: further on in the text if need be, else not at all."""
        try:
            self._at = self._ids.index(token, self._at) + 1
        except ValueError:
            return  # an own word; what comes behind it may be the draft's again

    def judge(self, guessed: int, right: int) -> None:
        """Of `guessed` tokens the first `right` ones were what was said."""
        if right == guessed:
            self._width = min(2 * self._width, LONGEST_GUESS)
        else:
            self._width = max(1, right)
        self._misses = 0 if right else self._misses + 1


class LastTexts:
    """What was said last, by whom and on what request. Bounded."""

    def __init__(self) -> None:
        self._texts: OrderedDict[Hashable, tuple[int, ...]] = OrderedDict()

    def draft(self, key: Hashable) -> Sequence[int]:
        """Ids of the last text; none if there was none."""
        return self._texts.get(key, ())

    def keep(self, key: Hashable, ids: Sequence[int]) -> None:
        """Remember it in the place of the one before."""
        self._texts[key] = tuple(ids)
        self._texts.move_to_end(key)
        while len(self._texts) > TEXTS_KEPT:
            self._texts.popitem(last=False)

    def clear(self) -> None:
        """Forget all: the next texts are found token by token."""
        self._texts.clear()


def find_words(
    read: Callable[[Sequence[int], int], Iterable[int]],
    drop: Callable[[int], None],
    suffix: Sequence[int],
    max_tokens: int,
    end_id: int,
    draft: Sequence[int],
) -> list[int]:
    """The likeliest tokens behind a suffix, until `end_id` (left out) or `max_tokens`.

    `read(ids, rows)` reads on, and names the likeliest token behind each of the last `rows` ids;
    not all need be asked for. `drop(count)` takes back the last ids that were read.
    """
    said: list[int] = []
    foretold, ids = Draft(draft), list(suffix)
    while True:
        guess = foretold.ahead(max_tokens - len(said) - 1)
        right = 0
        for token in read([*ids, *guess], 1 + len(guess)):
            if token == end_id:
                return said
            said.append(token)
            if len(said) >= max_tokens:
                return said
            foretold.follow(token)
            if right == len(guess) or guess[right] != token:
                break
            right += 1
        if guess:
            foretold.judge(len(guess), right)
        if right < len(guess):
            drop(len(guess) - right)
        ids = [said[-1]]
