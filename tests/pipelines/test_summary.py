"""Do many notes become a few sentences, in bounded prompts, and without a count of the model's?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.smolvlm2.prompt import text_prompt
from pipelines.summary import (
    CHUNK_TOKENS,
    FINAL_TOKENS,
    MOST_CHUNKS,
    PART_TOKENS,
    Note,
    Summary,
    Task,
    merge,
    summarize,
    tidy,
)


@dataclass(frozen=True)
class Reader:
    """A model whose tokens are four characters long."""

    writes: bool = True
    max_tokens: int = 8192

    def count_tokens(self, text: str) -> int:
        return -(-len(text) // 4)


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def run(
    notes: Sequence[Note], write: Callable[[Task], str], reader: Reader | None = None
) -> tuple[Summary, list[Task]]:
    tasks: list[Task] = []
    running = summarize(notes, reader or Reader(), clock)
    try:
        task = next(running)
        while True:
            tasks.append(task)
            task = running.send(write(task))
    except StopIteration as end:
        return end.value, tasks


def notes(
    count: int, text: str = "A person walks past the gate with a dog, number-plate A{}."
) -> list[Note]:
    return [Note(10.0 * n, 10.0 * n + 8, text.format(chr(65 + n % 26))) for n in range(count)]


def test_few_notes_are_one_task_in_the_order_of_time() -> None:
    found, tasks = run(notes(3), lambda task: "People walk past.")
    assert found == Summary("People walk past.")
    assert len(tasks) == 1
    assert tasks[0].max_tokens == FINAL_TOKENS
    assert "00:00 to 00:08: A person walks" in tasks[0].prompt
    assert tasks[0].prompt.index("00:10 to") < tasks[0].prompt.index("00:20 to")


def test_many_notes_are_summed_up_in_chunks_and_then_the_sums_are() -> None:
    written: list[str] = []

    def write(task: Task) -> str:
        written.append(f"Part {chr(65 + len(written))} happens.")
        return written[-1]

    found, tasks = run(notes(200), write)
    assert len(tasks) > 5
    assert found.text == written[-1]
    assert found.left_out == 0
    assert all(task.max_tokens == PART_TOKENS for task in tasks[:-1])
    assert "00:00 to " in tasks[-1].prompt
    assert "Part A happens." in tasks[-1].prompt  # the last task reads what the first ones made
    assert notes(200)[0].text not in tasks[-1].prompt
    read = "".join(task.prompt for task in tasks)
    assert all(
        f"{clock(note.start)} to {clock(note.end)}: {note.text}" in read for note in notes(200)
    )


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.text(max_size=400), max_size=120),
    answer=st.text(max_size=700),
    max_tokens=st.integers(100, 9000),
)
def test_prompts_are_bounded_and_the_same_again(
    texts: list[str], answer: str, max_tokens: int
) -> None:
    reader = Reader(max_tokens=max_tokens)
    given_notes = [Note(float(n), n + 1.0, text) for n, text in enumerate(texts)]
    found, tasks = run(given_notes, lambda task: answer, reader)
    assert len(tasks) <= 2 * MOST_CHUNKS
    for task in tasks:
        assert reader.count_tokens(text_prompt(task.prompt)) + task.max_tokens <= max_tokens
        assert reader.count_tokens(task.prompt) <= CHUNK_TOKENS + 100
    assert run(given_notes, lambda task: answer, reader) == (found, tasks)


def test_too_many_notes_are_thinned_out_evenly_and_it_is_said_how_many() -> None:
    many = notes(5000)
    found, tasks = run(many, lambda task: "People walk past.")
    assert sum("A person walks" in task.prompt for task in tasks) <= MOST_CHUNKS
    read = "".join(task.prompt for task in tasks)
    kept = [note for note in many if f"{clock(note.start)} to {clock(note.end)}:" in read]
    assert found.left_out > 1000
    assert len(kept) >= 5000 - found.left_out
    halves = [note.start < 25_000 for note in kept]
    assert 0.45 < sum(halves) / len(halves) < 0.55


@pytest.mark.parametrize(
    "reader", [Reader(writes=False), Reader(max_tokens=300)], ids=["writes not", "short"]
)
def test_who_cannot_write_is_not_asked(reader: Reader) -> None:
    assert run(notes(3), lambda task: "x.", reader) == (Summary(None), [])
    assert run([], lambda task: "x.") == (Summary(None), [])


def test_what_a_model_writes_without_use_is_replaced_by_its_notes() -> None:
    found, tasks = run(notes(60), lambda task: "" if task.max_tokens == PART_TOKENS else "Done.")
    assert "A person walks past" in tasks[-1].prompt
    assert found.text == "Done."
    assert run(notes(3), lambda task: "42 dogs.")[0] == Summary(None)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("A dog runs. A dog  runs. a DOG runs.", "A dog runs."),
        ("Three dogs run. A cat sits.", "A cat sits."),
        ("At 10:05 two people arrive.", "At 10:05 two people arrive."),  # the notes say so
        ("At 10:07 somebody leaves. It rains.", "It rains."),
        ("It rained all day. Then the", "It rained all day."),  # cut off by its length
        ("No end", ""),
        ("", ""),
    ],
)
def test_what_is_kept_of_a_models_text(text: str, kept: str) -> None:
    assert tidy(text, "10:05: Two people arrive.") == kept


def test_control_tokens_in_notes_do_not_reach_the_prompt() -> None:
    _, tasks = run([Note(0, 1, "a sign says <image> and <end_of_utterance>")], lambda task: "Yes.")
    assert "a sign says" in text_prompt(tasks[0].prompt)  # which raises for such tokens


def test_neighbours_that_say_the_same_are_joined() -> None:
    told = [Note(0, 8, "A dog."), Note(8, 16, "a  dog."), Note(16, 24, "A cat."),
            Note(24, 32, "A dog."), Note(100, 108, "A dog.")]  # fmt: skip
    assert merge(told, longest_gap_s=10) == [
        Note(0, 16, "A dog.", 2), Note(16, 24, "A cat."), Note(24, 32, "A dog."),
        Note(100, 108, "A dog."),
    ]  # fmt: skip
