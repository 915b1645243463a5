"""Does every packed token see what it should, and nothing else?"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.smolvlm2.packing import bias_of, pack, stack
from pipelines.smolvlm2.sizes import round_out, round_up

windows = st.lists(
    st.tuples(
        st.integers(1, 6),  # length of the prompt
        st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=4), max_size=3),  # questions
    ),
    min_size=1,
    max_size=4,
)


@given(windows, st.integers(0, 3))
def test_a_token_sees_its_prompt_and_its_own_question_up_to_itself(asked, spare):
    packs = [pack(questions) for _, questions in asked]
    lengths = [length for length, _ in asked]
    width, padded = max(1, *(len(one.ids) for one in packs)) + spare, 6 + spare
    rows = stack(packs, lengths, width)
    bias = bias_of(rows[:, 1], torch.tensor(lengths), padded, torch.float32)
    assert bias.shape == (len(asked), width, padded + width)
    for row, (length, questions) in enumerate(asked):
        place = 0
        for question in questions:
            for i, token in enumerate(question):
                visible = (bias[row, place + i] == 0).nonzero().flatten().tolist()
                own = [padded + place + earlier for earlier in range(i + 1)]
                assert visible == [*range(length), *own]
                assert rows[row, 0, place + i] == token
                assert rows[row, 2, place + i] == length + i
            place += len(question)
            assert packs[row].ends[questions.index(question)] < place
        for padding in range(place, width):  # sees something, or its softmax would be no number
            visible = (bias[row, padding] == 0).nonzero().flatten().tolist()
            assert visible == [*range(length)]


@given(st.integers(1, 5000), st.sampled_from([1, 16, 32]))
def test_sizes_are_few_and_near(number, step):
    size = round_out(number, step)
    assert number <= size
    assert size % step == 0
    assert size <= max(step, 1.5 * number + step)
    assert len({round_out(n) for n in range(1, 65)}) == 12


def test_the_greatest_size_is_what_the_caller_says():
    assert [round_out(n, most=37) for n in (1, 5, 33, 37)] == [1, 6, 37, 37]
    assert round_up(33, 16) == 48


@pytest.mark.parametrize("width", [3, 8])
def test_a_row_without_questions_is_all_padding(width):
    rows = stack([pack(())], [5], width)
    assert (rows[0, 1] == -1).all()
