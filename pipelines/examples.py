"""Which pictures does a question show for comparison, and what is such a question called?

Knows pictures and names; no file, no prompt and no model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pipelines.types import Frame, Image

_MARK: Final = " [examples "
_IN_NAMES: Final = str.maketrans("[]", "()")  # brackets end the marks of questions


@dataclass(frozen=True, slots=True)
class Example:
    """One picture, uint8 RGB [H, W, 3], and what it says."""

    image: Image
    says: str


class Examples:
    """The reference pictures of a question, in the order in which the model sees them.

    Equal where pictures and words are, whichever rule they are of.
    """

    def __init__(self, pictures: Sequence[Example]) -> None:
        digest = hashlib.sha256()
        for one in pictures:
            digest.update(repr((one.image.shape, one.says)).encode())
            digest.update(one.image.tobytes())
        self.says = tuple(one.says for one in pictures)
        short = digest.hexdigest()[:8]
        self.name = f"{', '.join(self.says).translate(_IN_NAMES)}; {short}"
        # As frames, so that they are encoded and kept as frames are. No camera has an empty name.
        self.frames = tuple(
            Frame("", 0, number, 0.0, 0.0, one.image, 0.0, view=digest.hexdigest())
            for number, one in enumerate(pictures)
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Examples) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"Examples({self.name})"

    def question(self, text: str) -> str:
        """The name of a question with these pictures: not that of the same one without them.

        The model is asked by this name; a zone's name comes behind it (`Zone.question`).
        """
        return f"{text}{_MARK}{self.name}]"


def split_question(question: str) -> tuple[str, str | None]:
    """The question as the model reads it, and the name of its `Examples` if it has any."""
    text, mark, name = question.partition(_MARK)
    return text, name.removesuffix("]") if mark else None
