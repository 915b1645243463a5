"""What is the contrary of a yes/no question?

Knows English as rules ask it, and no model. Where a question's grammar gives no plain contrary, it
is asked about as a whole, so that there always is one.
"""

from __future__ import annotations

import re
from typing import Final

_VERB: Final = (
    r"(?:is|are|was|were|did|does|do|has|have|had|can|could|will|would)(?:\s+there)?"  # begins it
)
_ONE: Final = re.compile(rf"({_VERB})\s+(?:an?|any|some)\s+(.+)", re.IGNORECASE | re.DOTALL)
_PRONOUN: Final = re.compile(
    rf"({_VERB})\s+(?:some|any)(one|body|thing)\b(.*)", re.IGNORECASE | re.DOTALL
)
_THERE: Final = re.compile(r"((?:is|are|was|were)\s+there)\s+(.+)", re.IGNORECASE | re.DOTALL)
_IT: Final = re.compile(rf"({_VERB}\s+(?:it|he|she|they))\s+(.+)", re.IGNORECASE | re.DOTALL)
_WHOLE: Final = 'Is "no" the right answer to: '
_NOBODY: Final = {"one": "no one", "body": "nobody", "thing": "nothing"}


def negated(question: str) -> str:
    """A question that is rightly answered with yes where `question` is with no, and back."""
    text = question.strip()
    if found := _PRONOUN.fullmatch(text):
        return f"{found[1]} {_NOBODY[found[2].lower()]}{found[3]}"
    if found := _ONE.fullmatch(text):
        return f"{found[1]} no {found[2]}"
    if (found := _THERE.fullmatch(text)) and not re.match(r"(?:no|the|this|that)\b", found[2]):
        return f"{found[1]} no {found[2]}"
    if found := _IT.fullmatch(text):
        return f"{found[1]} not {found[2]}"
    return f"{_WHOLE}{text}"


def is_plain(question: str) -> bool:
    """Whether its contrary is one that people would ask, too; small models miss the other kind."""
    return not negated(question).startswith(_WHOLE)
