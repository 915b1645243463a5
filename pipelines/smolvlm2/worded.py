"""What is a look in ids?

Knows no engine and no features: which questions are asked of which frames, and the tokens of the
prompt that does so.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.examples import Examples, split_question
from pipelines.smolvlm2.preprocess import check_picture
from pipelines.smolvlm2.sizes import PROMPT_STEP, round_up
from pipelines.smolvlm2.wording import Grid, Wording
from pipelines.types import Frame, FrameKey, Look, Window

DESCRIBE_ROOM = 64  # tokens of a description's prompt for which a prefix keeps room
FRAME_WORDS = 20  # tokens of a frame's line in the prompt: 14 with SmolVLM2's vocabulary


@dataclass(frozen=True, slots=True)
class Worded:
    """A look as ids."""

    look: Look
    place: int  # among the looks that came together
    examples: Examples | None  # what all its questions show
    frames: tuple[Frame, ...]  # reference pictures, then the window's
    keys: tuple[FrameKey, ...]
    ids: tuple[int, ...]
    suffixes: tuple[tuple[int, ...], ...]
    describe: tuple[int, ...]  # empty: no words
    room: int
    prompt_sha256: str
    grows: int  # tokens by which its prompt may still grow, of an anchored window


class LookWording:
    """Puts looks into ids, with the reference pictures that were learnt."""

    def __init__(
        self, wording: Wording, tokens_per_frame: int, max_description_tokens: int
    ) -> None:
        """Take the prompt's words; prefixes keep room for a description of that length."""
        self._wording = wording
        self._tokens_per_frame = tokens_per_frame
        self._max_description_tokens = max_description_tokens
        self._examples: dict[str, Examples] = {}

    def learn(self, known: Examples) -> None:
        """Know the reference pictures that questions name."""
        self._examples[known.name] = known

    def word(self, place: int, look: Look, grid: Grid | None = None) -> Worded:
        """Put a look into ids. Raises `ValueError` for what cannot be asked or is no picture."""
        for frame in look.window.frames:
            check_picture(frame.image)
        asked = tuple(split_question(question)[0] for question in look.questions)
        name = split_question(look.questions[0])[1] if look.questions else None
        examples = self._known(name) if name is not None else None
        frames = (*(examples.frames if examples is not None else ()), *look.window.frames)
        wording, prompt = self._wording, look.prompt
        suffixes = tuple(wording.suffix_ids(question, grid) for question in asked)
        describe = wording.suffix_ids(prompt, grid) if prompt is not None else ()
        words = max(len(describe), DESCRIBE_ROOM) + self._max_description_tokens
        return Worded(
            look=look,
            place=place,
            examples=examples,
            frames=frames,
            keys=tuple(frame.key for frame in frames),
            ids=wording.picture_ids(grid) if grid else wording.prefix_ids(look.window, examples),
            suffixes=suffixes,
            describe=describe,
            room=max(sum(map(len, suffixes)), words),
            prompt_sha256=wording.sha256(asked, prompt, examples, grid),
            grows=self._grows(look.window),
        )

    def _grows(self, window: Window) -> int:
        if window.anchor is None:
            return 0
        frames = window.anchor.most - window.anchor.begun
        return frames * (self._tokens_per_frame + FRAME_WORDS)

    def _known(self, name: str) -> Examples:
        if name not in self._examples:
            raise ValueError(f"the reference pictures [{name}] were not loaded")
        return self._examples[name]


def groups_of(worded: Sequence[Worded], at_once: int) -> Iterator[list[Worded]]:
    """At most `at_once` together, of about the same length: padding is work, too.

    Those without reference pictures last: words are asked for next, and want them warm.
    """

    def kind(one: Worded) -> tuple[bool, int]:
        return one.examples is None, round_up(len(one.ids), PROMPT_STEP)

    for _, alike in itertools.groupby(sorted(worded, key=kind), key=kind):
        rest = list(alike)
        while rest:
            yield rest[:at_once]
            rest = rest[at_once:]
