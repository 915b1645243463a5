"""Is the prompt the one that SmolVLM2 was tuned on, character for character?"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.smolvlm2.prompt import CONTROL_TOKENS, question_suffix, video_prefix
from pipelines.smolvlm2.tokens import Tokens
from tests.pipelines.smolvlm2.reference import reference_ids, reference_prompt

CASES = [
    ([0.0], 0.0),
    ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 7.0),
    ([0.0, 0.25, 0.5, 0.75], 0.75),
    ([0.0, 59.999, 60.0, 61.5], 61.5),
    ([0.0, 3599.0, 3600.0, 7325.25], 7325.25),  # minutes go beyond 59, as the processor's do
    ([float(s) for s in range(21)], 20.9),  # "twenty-one"
]


@pytest.mark.parametrize(("times_s", "duration_s"), CASES)
def test_prompt_is_that_of_the_processor_and_its_template(times_s, duration_s):
    expected = reference_prompt(
        "Did a person leave?", times_s=times_s, duration_s=duration_s, tokens_per_frame=3
    )
    prefix = video_prefix(times_s, duration_s, tokens_per_frame=3)
    assert prefix + question_suffix("Did a person leave?") == expected


@pytest.mark.parametrize("says", [["closed"], ["the gate is closed", "7 cars", "¿abierto?"]])
def test_pictures_before_the_video_are_written_as_the_processor_writes_them(model_dir: Path, says):
    tokens = Tokens.from_file(model_dir / "tokenizer.json")
    expected = reference_prompt(
        "Is it open?", times_s=[0.0, 1.0], duration_s=1.0, tokens_per_frame=16, says=says
    )
    prefix = video_prefix([0.0, 1.0], 1.0, 16, says)
    assert prefix + question_suffix("Is it open?") == expected
    ids = tokens.encode(prefix) + tokens.encode(question_suffix("Is it open?"))
    assert ids == reference_ids(model_dir, expected)
    assert ids.count(tokens.image_id) == (len(says) + 2) * 16


@pytest.mark.parametrize("says", ["", "an <image>"])
def test_what_a_picture_must_not_say(says):
    with pytest.raises(ValueError, match=r"empty|control token"):
        video_prefix([0.0], 0.0, 4, [says])


@settings(max_examples=60, deadline=None)
@given(
    times_ms=st.lists(st.integers(0, 8_000_000), min_size=1, max_size=70).map(sorted),
    extra_s=st.floats(0, 100),
)
def test_prompt_is_that_of_the_processor_for_any_times(times_ms, extra_s):
    times_s = [ms / 1000 for ms in times_ms]
    expected = reference_prompt(
        "Is a car parked?",
        times_s=times_s,
        duration_s=times_s[-1] + extra_s,
        tokens_per_frame=2,
    )
    prefix = video_prefix(times_s, times_s[-1] + extra_s, tokens_per_frame=2)
    assert prefix + question_suffix("Is a car parked?") == expected


QUESTIONS = ["Did a person leave?", "7 cars?", "¿Hay un coche?", "- a list", "?", "a\n\nb"]


@pytest.mark.parametrize("question", QUESTIONS)
def test_ids_of_prefix_and_suffix_are_those_of_the_whole(model_dir: Path, question):
    tokens = Tokens.from_file(model_dir / "tokenizer.json")
    times_s = [0.0, 1.0, 61.0]
    expected = reference_prompt(question, times_s=times_s, duration_s=61.0, tokens_per_frame=16)
    prefix = tokens.encode(video_prefix(times_s, 61.0, 16))
    suffix = tokens.encode(question_suffix(question))
    assert prefix + suffix == reference_ids(model_dir, expected)
    assert prefix.count(tokens.image_id) == 3 * 16


def test_a_cut_behind_the_blank_line_would_give_other_ids(tiny_dir: Path):
    # Why the cut is where it is.
    tokens = Tokens.from_file(tiny_dir / "tokenizer.json")
    apart = tokens.encode("<fake_token_around_image>\n\n") + tokens.encode("Did it?")
    assert apart != tokens.encode("<fake_token_around_image>\n\nDid it?")


def test_blanks_around_a_question_are_dropped():
    assert question_suffix("  Is it?\n") == question_suffix("Is it?")


@pytest.mark.parametrize("question", ["", " \n", *(f"a {token} b" for token in CONTROL_TOKENS)])
def test_a_question_that_would_break_the_prompt_is_refused(question):
    with pytest.raises(ValueError, match=r"empty|control token"):
        question_suffix(question)


def test_no_frames_and_negative_times_are_refused():
    with pytest.raises(ValueError, match="at least one frame"):
        video_prefix([], 0.0, 4)
    with pytest.raises(ValueError, match="start at 0"):
        video_prefix([-0.5, 0.5], 0.5, 4)
