"""What can be true of a window?

Knows answers, words and which rules are on; no time and no thresholds. A condition gives a score:
an answer is its p_yes, `all` the least of its parts, `any` the greatest, `not` what is left to 1; a
`match` and another rule are 0 or 1. What is not known lies somewhere between 0 and 1, and stays in
the score as a range: one part that is surely false makes `all` false, whatever the others are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import regex

TEXT_LIMIT: Final = 2000  # characters of a description that a pattern sees; models write 300
_MATCH_S: Final = 0.05  # a sound pattern needs microseconds
_PATTERN_LIMIT: Final = 300


@dataclass(frozen=True, slots=True)
class Ask:
    """A question that the model answers with yes or no."""

    question: str


@dataclass(frozen=True, slots=True)
class Match:
    """A regular expression that is looked for in the window's description, in any case."""

    pattern: str


@dataclass(frozen=True, slots=True)
class RuleOn:
    """Another rule of the same camera has an open incident."""

    rule: str


@dataclass(frozen=True, slots=True)
class AllOf:
    """All of the parts."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of the parts."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary."""

    part: Condition


Condition = Ask | Match | RuleOn | AllOf | AnyOf | Not


@dataclass(frozen=True, slots=True)
class Step:
    """One part of a sequence; `within_s` is counted from the step before it."""

    condition: Condition
    within_s: float | None = None  # None for the first one


@dataclass(frozen=True, slots=True)
class Sequence:
    """One thing, then another: each step must become true after the one before it."""

    steps: tuple[Step, ...]


When = Condition | Sequence


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one window."""

    answers: Mapping[str, float]  # question -> p_yes
    description: str | None
    on: Collection[str]  # rules with an open incident, this window's changes included


@dataclass(frozen=True, slots=True)
class Score:
    """How true a condition is: somewhere from `low` to `high`, 0..1."""

    low: float
    high: float

    @property
    def point(self) -> float | None:
        """The number where there is one."""
        return self.low if self.low == self.high else None


UNKNOWN: Final = Score(0.0, 1.0)


def score(condition: Condition, facts: Facts) -> Score:
    """How true `condition` is of a window."""
    match condition:
        case Ask(question):
            p_yes = facts.answers.get(question)
            return UNKNOWN if p_yes is None else Score(p_yes, p_yes)
        case Match(pattern):
            return UNKNOWN if facts.description is None else _certain(found(pattern, facts))
        case RuleOn(rule):
            return _certain(rule in facts.on)
        case Not(part):
            inner = score(part, facts)
            return Score(1.0 - inner.high, 1.0 - inner.low)
        case AllOf(parts) | AnyOf(parts):
            scores = [score(part, facts) for part in parts]
            choose = min if isinstance(condition, AllOf) else max
            return Score(choose(s.low for s in scores), choose(s.high for s in scores))


def leaves(when: When) -> Iterator[Ask | Match | RuleOn]:
    """The questions, patterns and rules in it, in the order of the configuration."""
    match when:
        case Ask() | Match() | RuleOn():
            yield when
        case Not(part):
            yield from leaves(part)
        case AllOf(parts) | AnyOf(parts):
            for part in parts:
                yield from leaves(part)
        case Sequence(steps):
            for step in steps:
                yield from leaves(step.condition)


def needs_words(condition: When) -> bool:
    """Whether it can only be judged of a window that was described."""
    return any(isinstance(leaf, Match) for leaf in leaves(condition))


def found(pattern: str, facts: Facts) -> bool:
    """Whether the pattern is in the description; a search that takes too long finds nothing."""
    text = (facts.description or "")[:TEXT_LIMIT]
    try:
        return regex.search(pattern, text, regex.IGNORECASE, timeout=_MATCH_S) is not None
    except TimeoutError:
        return False


def pattern_problem(pattern: str) -> str | None:
    """What is wrong with a pattern, or None.

    A pattern that takes for ever on some text is found by trying it on texts of its own letters:
    not every one is found, and so `found` has a time limit as well.
    """
    if len(pattern) > _PATTERN_LIMIT:
        return f"is longer than {_PATTERN_LIMIT} characters"
    try:
        compiled = regex.compile(pattern, regex.IGNORECASE)
    except regex.error as error:
        return f"is no regular expression: {error}"
    if compiled.search("") is not None:
        return "matches every text, an empty one too"
    letters = dict.fromkeys(c for c in pattern if c.isalnum() or c.isspace())
    probes = [*(letter * TEXT_LIMIT for letter in [*letters, "a"]), "".join(letters) * 100]
    try:
        for probe in probes[:40]:
            compiled.search(probe[:TEXT_LIMIT] + "\x00", timeout=_MATCH_S)
    except TimeoutError:
        return "takes too long on some texts: avoid repeats within repeats such as (a+)+"
    return None


def _certain(true: bool) -> Score:  # noqa: FBT001 - the one argument is the whole question
    return Score(1.0, 1.0) if true else Score(0.0, 0.0)
