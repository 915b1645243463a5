"""Does a guess at a text change only the time that it takes?"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.smolvlm2.checkpoint import load_checkpoint
from pipelines.smolvlm2.cpu_engine import CpuEngine
from pipelines.smolvlm2.drafts import (
    FIRST_GUESS,
    LONGEST_GUESS,
    MISSES,
    TEXTS_KEPT,
    LastTexts,
    find_words,
)
from pipelines.smolvlm2.torch_engine import TorchEngine

END = 0
SUFFIX = [90, 91]


class Speaker:
    """Says a text whatever it is asked, token by token; counts its passes."""

    def __init__(self, text: Sequence[int]) -> None:
        self.text = [*text, END]
        self.heard: list[int] = []
        self.read_at_once: list[int] = []  # guessed tokens of each pass

    def read(self, ids: Sequence[int], rows: int) -> list[int]:
        self.read_at_once.append(rows - 1)
        self.heard += ids
        return [self._next(len(self.heard) - back) for back in range(rows - 1, -1, -1)]

    def _next(self, end: int) -> int:
        """What follows the first `end` ids: nothing of sense behind what it did not say."""
        said = self.heard[len(SUFFIX) : end]
        return self.text[len(said)] if said == self.text[: len(said)] else 77

    def drop(self, count: int) -> None:
        del self.heard[-count:]

    def say(self, draft: Sequence[int], most: int = 40) -> list[int]:
        return find_words(self.read, self.drop, SUFFIX, most, END, draft)


IDS = st.lists(st.integers(1, 6), max_size=24)


@given(text=IDS, draft=IDS, most=st.integers(1, 26))
def test_whatever_is_guessed_the_text_is_the_same(text: list[int], draft: list[int], most: int):
    speaker = Speaker(text)
    assert speaker.say(draft, most) == text[:most]
    assert speaker.heard[: len(SUFFIX)] == SUFFIX


@given(text=IDS, draft=IDS)
def test_no_guess_takes_more_passes_than_none(text: list[int], draft: list[int]):
    with_draft, without = Speaker(text), Speaker(text)
    with_draft.say(draft)
    without.say(())
    assert len(with_draft.read_at_once) <= len(without.read_at_once) == len(text) + 1


def test_a_right_guess_is_read_in_few_passes():
    text = list(range(1, 41))
    speaker = Speaker(text)
    assert speaker.say(text) == text
    assert speaker.read_at_once == [FIRST_GUESS, 8, LONGEST_GUESS, 8]  # and one more token each


def test_a_wrong_guess_is_soon_given_up():
    speaker = Speaker([8] * 20)
    assert speaker.say(range(10, 40)) == [8] * 20
    assert [count for count in speaker.read_at_once if count] == [FIRST_GUESS, 1]
    assert MISSES == 2


def test_behind_another_word_the_guess_goes_on():
    speaker = Speaker([1, 2, 3, 9, 4, 5, 6, 7])
    assert speaker.say([1, 2, 3, 4, 5, 6, 7]) == speaker.text[:-1]
    assert speaker.read_at_once == [4, 3, 0]  # 1 2 3, the other word, 4 5 6 and 7, the end


def test_behind_a_word_left_out_the_guess_goes_on():
    speaker = Speaker([1, 2, 4, 5, 6, 7])
    assert speaker.say([1, 2, 3, 4, 5, 6, 7]) == speaker.text[:-1]
    assert speaker.read_at_once == [4, 2, 0]


def test_texts_are_kept_by_who_said_them_and_not_for_ever():
    texts = LastTexts()
    texts.keep("porch", [1, 2])
    texts.keep("yard", [3])
    texts.keep("porch", [4])
    assert (texts.draft("porch"), texts.draft("yard"), texts.draft("street")) == ((4,), (3,), ())
    for number in range(TEXTS_KEPT - 1):
        texts.keep(number, [number])
    assert texts.draft("porch") == (4,)
    assert texts.draft("yard") == ()
    texts.clear()
    assert texts.draft("porch") == ()


@pytest.mark.parametrize("wrong_at", [None, 0, 3, 9])
def test_pytorch_on_a_cpu_says_the_references_words(tiny_dir, wrong_at: int | None):
    module, tokens = load_checkpoint(tiny_dir, torch.float32, torch.device("cpu"))
    ids = torch.randint(20, 300, (40,), generator=torch.Generator().manual_seed(4)).tolist()
    reference = TorchEngine(module, tokens.end_id)
    right = reference.decode(reference.prefill(ids, None, 60), [30, 31], 24)
    assert len(set(right)) > 3, "a text that repeats itself shows nothing"
    draft = list(right)
    if wrong_at is not None:
        draft[wrong_at] = 299
    engine = CpuEngine(module, tokens.end_id)
    prefix = engine.prefill(ids, None, 60)
    for guess in (draft, [], draft[wrong_at or 0 :]):
        assert engine.decode(prefix, [30, 31], 24, guess) == right
