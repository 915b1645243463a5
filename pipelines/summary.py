"""How do many notes become a few sentences?

Knows no model, no camera and no clock: it says what is to be written (`Task`), is told what was
written, and reads on. Notes that do not fit one prompt are summed up in chunks, and then the sums
are, a bounded number of times. What a small model must not be trusted with is kept from it: it is
given no counts, and what it says with a number that its notes do not have is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from pipelines.smolvlm2.prompt import without_control_tokens

CHUNK_TOKENS: Final = 512  # of notes in one prompt: about a second's reading at the 256M size
PART_TOKENS: Final = 64  # that a chunk may become
FINAL_TOKENS: Final = 128  # that the whole may become
MOST_CHUNKS: Final = 32  # more notes than fit are thinned out evenly
LINES_A_CHUNK: Final = 4  # at least; so the chunks become fewer by that factor with each round

_ASKED: Final = (
    "These are notes of what a camera saw, oldest first.\n\n{notes}\n\n"
    "Summarize what happened in {length}, in the order of time. "
    "Say only what the notes say. Do not count anything."
)
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+")
_NUMBER: Final = re.compile(
    r"\b(?:\d+(?:[:.,]\d+)*|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|"
    r"dozens?|hundreds?|thousands?|twice|several|multiple|many)\b",
    re.IGNORECASE,
)


class Reader(Protocol):
    """What is to be known of the model (`SmolVLM2`)."""

    @property
    def writes(self) -> bool:
        """Whether it knows language at large."""
        ...

    @property
    def max_tokens(self) -> int:
        """Of a prompt and what is written behind it."""
        ...

    def count_tokens(self, text: str) -> int:
        """How long a text is for the model."""
        ...


@dataclass(frozen=True, slots=True)
class Note:
    """What was seen from then to then, in seconds of one clock."""

    start: float
    end: float
    text: str
    looks: int = 1  # that said so


@dataclass(frozen=True, slots=True)
class Task:
    """Something to be written, of at most so many tokens."""

    prompt: str
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The model's sentences; None if it cannot write, or wrote nothing that can be kept."""

    text: str | None
    left_out: int = 0  # notes that did not fit


@dataclass(frozen=True, slots=True)
class _Line:
    since: str
    until: str
    text: str

    def __str__(self) -> str:
        when = self.since if self.since == self.until else f"{self.since} to {self.until}"
        return f"{when}: {self.text}"


def merge(notes: Sequence[Note], longest_gap_s: float) -> list[Note]:
    """Join neighbours that say the same, with at most such a gap between them. Oldest first."""
    merged: list[Note] = []
    for note in notes:
        last = merged[-1] if merged else None
        if (
            last is None
            or _words(last.text) != _words(note.text)
            or (note.start - last.end > longest_gap_s)
        ):
            merged.append(note)
        else:
            merged[-1] = Note(
                last.start, max(last.end, note.end), last.text, last.looks + note.looks
            )
    return merged


def summarize(
    notes: Sequence[Note], reader: Reader, show: Callable[[float], str]
) -> Generator[Task, str, Summary]:
    """Ask for what is to be written, take it by `send`, and return the whole.

    `show`: a note's second as a person reads it. The same notes and answers give the same tasks.
    """
    lines = [_Line(show(note.start), show(note.end), _plain(note.text)) for note in notes]
    if not lines or not reader.writes:
        return Summary(None)
    overhead = reader.count_tokens(_ASKED.format(notes="", length="at most four sentences"))
    room = min(CHUNK_TOKENS, reader.max_tokens - overhead - FINAL_TOKENS - 16)  # 16: the template
    if room < LINES_A_CHUNK * PART_TOKENS:
        return Summary(None)
    lines = [_shortened(line, room // LINES_A_CHUNK, reader) for line in lines]
    chunks, left_out = _bounded(lines, room, reader)
    while len(chunks) > 1:
        parts = []
        for chunk in chunks:
            text = yield _task(chunk, "one or two sentences", PART_TOKENS)
            kept = tidy(text, "\n".join(map(str, chunk))) or _listed(chunk)
            part = _Line(chunk[0].since, chunk[-1].until, kept)
            parts.append(_shortened(part, room // LINES_A_CHUNK, reader))
        chunks = _packed(parts, room, reader)
    text = yield _task(chunks[0], "at most four sentences", FINAL_TOKENS)
    return Summary(tidy(text, "\n".join(map(str, chunks[0]))) or None, left_out)


def tidy(text: str, notes: str) -> str:
    """What can be kept of a model's text: whole sentences, each once, with no number of its own.

    A number that stands in `notes`, such as a time, may stay.
    """
    known = {found.group().lower() for found in _NUMBER.finditer(notes)}
    kept: dict[str, str] = {}
    for sentence in _SENTENCE.split(" ".join(text.split())):
        numbers = {found.group().lower() for found in _NUMBER.finditer(sentence)}
        if sentence.endswith((".", "!", "?")) and numbers <= known:
            kept.setdefault(_words(sentence), sentence)
    return " ".join(kept.values())


def _task(chunk: Sequence[_Line], length: str, max_tokens: int) -> Task:
    notes = "\n".join(map(str, chunk))
    return Task(_ASKED.format(notes=notes, length=length), max_tokens)


def _bounded(lines: list[_Line], room: int, reader: Reader) -> tuple[list[list[_Line]], int]:
    """Chunks of all lines, or of as many, evenly spread, as `MOST_CHUNKS` hold; how many not."""
    chunks, keep = _packed(lines, room, reader), len(lines)
    while len(chunks) > MOST_CHUNKS:
        keep = min(keep - 1, keep * MOST_CHUNKS // len(chunks))
        chosen = [lines[i * len(lines) // keep] for i in range(keep)]
        chunks = _packed(chosen, room, reader)
    return chunks, len(lines) - keep


def _packed(lines: Sequence[_Line], room: int, reader: Reader) -> list[list[_Line]]:
    chunks: list[list[_Line]] = [[]]
    used = 0
    for line in lines:
        length = reader.count_tokens(f"{line}\n")
        if chunks[-1] and used + length > room:
            chunks.append([])
            used = 0
        chunks[-1].append(line)
        used += length
    return chunks


def _shortened(line: _Line, most: int, reader: Reader) -> _Line:
    """Cut, behind a word where there is one, so that a chunk holds at least `LINES_A_CHUNK`."""
    text = line.text
    while len(text) > 1 and reader.count_tokens(f"{line}\n") > most:
        cut = text[: len(text) * 3 // 4]
        text = cut.rpartition(" ")[0] or cut
        line = _Line(line.since, line.until, f"{text} …")
    return line


def _listed(chunk: Sequence[_Line]) -> str:
    """Where the model wrote nothing of use: its notes themselves, each once."""
    return " ".join(dict.fromkeys(line.text for line in chunk))


def _plain(text: str) -> str:
    return " ".join(without_control_tokens(text).split())


def _words(text: str) -> str:
    return " ".join(text.lower().split())
