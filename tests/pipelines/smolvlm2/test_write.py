"""Does the model write without frames as transformers would have it write?"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from pipelines.errors import InferenceError
from pipelines.smolvlm2 import model as module
from pipelines.smolvlm2.loading import from_name
from pipelines.smolvlm2.model import SmolVLM2
from pipelines.smolvlm2.prompt import CONTROL_TOKENS, text_prompt, without_control_tokens
from pipelines.smolvlm2.tokens import Tokens
from tests.pipelines.smolvlm2.conftest import make_frames, make_window
from tests.pipelines.smolvlm2.reference import Reference, reference_ids, reference_text_prompt

TASKS = [
    "What is two plus two?",
    "10:00 A dog runs past.\n10:05 A person arrives.\n\nSummarize this.",
    "¿Qué pasó?",
    "- a\n- b",
]


def load(directory: Path) -> SmolVLM2:
    return from_name(directory, precision="f32", device="cpu")


@pytest.mark.parametrize("task", TASKS)
def test_the_prompt_is_that_of_the_chat_template_token_for_token(model_dir: Path, task):
    assert text_prompt(task) == reference_text_prompt(task)
    tokens = Tokens.from_file(model_dir / "tokenizer.json")
    ids = reference_ids(model_dir, reference_text_prompt(task))
    assert tokens.encode(text_prompt(task)) == ids


@pytest.mark.parametrize("task", TASKS)
def test_what_is_written_is_what_generate_writes(model_dir: Path, task):
    model, reference = load(model_dir), Reference(model_dir)
    *_, written = model.write(task, 40)
    tokens = Tokens.from_file(model_dir / "tokenizer.json")
    expected = reference.generate(text_prompt(task), None, 40, tokens.end_id)
    assert written == tokens.decode(expected)


def test_a_text_grows_in_small_steps_and_windows_may_come_between(tiny_dir: Path):
    model = load(tiny_dir)
    *_, undisturbed = model.write(TASKS[1], 40)
    steps = []
    for step, so_far in enumerate(model.write(TASKS[1], 40)):
        steps.append(so_far)
        window = make_window(make_frames(3, 64, 64, seed=step), step)
        model.observe(window, ["Is there a package?"], "Describe what happens in this video.")
    assert steps[0] == ""  # the prompt was read
    assert len(steps) == 1 + -(-40 // module.WRITE_TOKENS)
    assert steps[-1] == undisturbed
    assert all(b.startswith(a) for a, b in pairwise(steps))


@pytest.mark.parametrize(
    ("task", "limit", "said"),
    [("a <image> b", 8, "control token"), (" ", 8, "empty"), ("a " * 9000, 8, "more than the")],
)
def test_what_cannot_be_run_is_said(tiny_dir: Path, task, limit, said):
    with pytest.raises(InferenceError, match=said):
        list(load(tiny_dir).write(task, limit))


def test_no_control_token_is_left():
    text = "".join(f"a{token}b" for token in CONTROL_TOKENS)
    text_prompt(without_control_tokens(text))
    nested = "<im<image>age>"
    assert not any(token in without_control_tokens(nested) for token in CONTROL_TOKENS)


def test_a_model_of_few_words_is_known_as_one(model_dir: Path):
    # Asked to sum up, the bundled model tells of dogs that nobody saw.
    assert not load(model_dir).writes


def test_a_model_of_many_words_writes(tiny_dir: Path, monkeypatch: pytest.MonkeyPatch):
    model = load(tiny_dir)
    monkeypatch.setattr(Tokens, "vocab_size", 49280)  # full-size ones are slow to make
    assert model.writes
