"""What do the documents show: which configurations, which commands?

Knows Markdown and how a command line is written in it; runs nothing.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_FENCE: Final = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_INLINE: Final = re.compile(r"`((?:sudo )?(?:/[\w./]+/)?smolwatch [^`]+)`")
_SHELL: Final = ("", "sh", "bash", "console")


@dataclass(frozen=True, slots=True)
class Block:
    """What stands between two fences."""

    page: Path
    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """A `smolwatch` command line, by its words behind the program's name.

    `whole`: it stands by itself and must be complete; within a sentence, words may be left out.
    """

    page: Path
    words: tuple[str, ...]
    whole: bool

    def __str__(self) -> str:
        return f"{self.page.name}: smolwatch {shlex.join(self.words)}"


def blocks(*languages: str) -> list[Block]:
    """The fenced blocks of all pages in one of these languages."""
    found = []
    for page in PAGES:
        for indent, language, text in _FENCE.findall(page.read_text(encoding="utf-8")):
            if language in languages:
                lines = (line.removeprefix(indent) for line in text.splitlines(keepends=True))
                found.append(Block(page, language, "".join(lines)))
    return found


def commands() -> list[Command]:
    """All of them, in blocks and in sentences."""
    found = [
        Command(block.page, words, whole=True)
        for block in blocks(*_SHELL)
        for words in commands_of(block.text)
    ]
    for page in PAGES:
        prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
        for text in _INLINE.findall(prose):
            found += [Command(page, words, whole=False) for words in commands_of(_joined(text))]
    return found


def commands_of(text: str) -> Iterator[tuple[str, ...]]:
    """The `smolwatch` lines of a shell block, without what is before the program's name.

    Not what smolwatch prints, which begins as errors do: `smolwatch demo: ...`.
    """
    for line in text.replace("\\\n", " ").splitlines():
        if not re.match(
            r"(?:\$ )?(?:sudo )?(?:[\w./~-]*/)?smolwatch(?: (?![\w-]+:)|$)", line.strip()
        ):
            continue
        words = shlex.split(line.split("|")[0], comments=True)
        start = next(n for n, word in enumerate(words) if word.endswith("smolwatch"))
        yield tuple(word for word in words[start + 1 :] if word not in ("...", "&"))


def _joined(text: str) -> str:
    return " ".join(text.split())
