"""What does a rule make of answers that were given before?

Knows observations in their order and no model: each threshold can be tried on the same answers.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipelines.rules.book import RuleBook
from pipelines.types import Event, Observation


@dataclass(frozen=True, slots=True)
class Break:
    """Nobody could see anything from then on: what is open is closed."""

    at_s: float  # by the same clock as the observations' `end_s`
    reason: str


@dataclass(frozen=True, slots=True)
class Judged:
    """What one look, or one break, came to for the rule in question."""

    seen: Observation | None  # None: a break
    score: float | None  # how true the rule's condition is; None where that is not known
    verdict: str  # in the words of the configuration, see `pipelines.rules.why`
    events: tuple[Event, ...]  # of this rule


@dataclass(frozen=True, slots=True)
class IncidentSpan:
    """One incident, in seconds of the observations' clock."""

    evidence_s: float  # the beginning of the window that opened it
    opened_s: float
    closed_s: float | None  # None: still open after the last look
    score: float | None  # with which it opened
    peak: float | None  # the highest score while it was open
    text: str | None  # words, for rules that want them
    closed_by: str | None = None  # the reason, where it was not the rule's own

    def until_s(self, end_s: float) -> float:
        """When it closed, or `end_s` if it did not."""
        return end_s if self.closed_s is None else self.closed_s


def replay(
    book: RuleBook, rule: str, looks: Iterable[Observation], breaks: Iterable[Break] = ()
) -> Iterator[Judged]:
    """Judge looks in their order, as the inference worker does.

    A look with a description and without answers is the words of the look before it. Raises
    `KeyError` if the book has no such rule.
    """
    due = deque(sorted(breaks, key=lambda found: found.at_s))
    last: Observation | None = None
    for look in looks:
        while due and due[0].at_s < look.end_s:
            yield _settled(book, rule, due.popleft(), last)
        seen = look
        if seen.description is None:
            last = seen
            events = book.judge(seen)
        else:
            if last is not None and last.end_s == seen.end_s and not seen.answers:
                seen = dataclasses.replace(seen, answers=last.answers)
            events = book.judge_words(seen)
        own = tuple(event for event in events if event.rule == rule)
        yield Judged(look, book.score_of(rule, seen), book.verdicts.get(rule, ""), own)


def incident_spans(judged: Iterable[Judged]) -> tuple[IncidentSpan, ...]:
    """The incidents of a replay, oldest first."""
    spans: list[IncidentSpan] = []
    for step in judged:
        for event in step.events:
            if event.event_type == "rule_match":
                start_s = step.seen.start_s if step.seen is not None else event.captured_s
                at_s = event.captured_s
                spans.append(
                    IncidentSpan(start_s, at_s, None, event.score, event.score, event.text)
                )
            elif event.event_type == "rule_update" and spans[-1].text is None:
                spans[-1] = dataclasses.replace(spans[-1], text=event.text)
            elif event.event_type == "rule_clear":
                reason = event.text if step.seen is None else None
                closed = dataclasses.replace(spans[-1], closed_s=event.captured_s, closed_by=reason)
                spans[-1] = closed
        if spans and spans[-1].closed_s is None and step.score is not None:
            peak = max(spans[-1].peak or 0.0, step.score)
            spans[-1] = dataclasses.replace(spans[-1], peak=peak)
    return tuple(spans)


def _settled(book: RuleBook, rule: str, found: Break, last: Observation | None) -> Judged:
    wall_time = found.at_s if last is None else last.wall_time + found.at_s - last.end_s
    events = book.settle(found.reason, found.at_s, wall_time)
    return Judged(None, None, found.reason, tuple(e for e in events if e.rule == rule))
