"""When does an incident open and close?

Knows no camera, model or clock: state and time come in, state and decision go out. The same
input gives the same output, so that a rule can be judged over recordings as it is live.

A rule at one camera is either closed or open. Each answer is a vote for changing that or not:

- closed: a vote is an answer of at least `open_above`; open: one of at most `close_below`.
- The state changes on an answer that is itself a vote, once `debounce.needed` of the last
  `debounce.of` answers since the last change were votes. Opening and closing are debounced alike.
- With `for_s` the rule first is true without an incident: from the first of the votes that made it
  so, until the incident opens or as many votes against it end it as would close one. It opens on
  an answer of at least `open_above`, once it has been true for so long.
- A rule does not open for `cooldown_s` after its last event, nor outside its hours or disarmed
  (`may_open`). Votes go on being counted, and the first vote afterwards opens if enough of its
  neighbours agree. What began and ended meanwhile leaves no incident at all. Closing is never
  held back.
- A window that says nothing of the rule's condition is as if it had not been.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pipelines.rules.conditions import Score
from pipelines.rules.rule import Rule

NewId = Callable[[], str]


@dataclass(frozen=True, slots=True)
class Incident:
    """A rule that is on."""

    incident_id: str
    since_s: float  # monotonic, of the answer that opened it
    has_words: bool = False  # only looked at where the rule says `describe`


@dataclass(frozen=True, slots=True)
class RuleState:
    """All that a rule remembers of one camera."""

    votes: tuple[bool, ...] = ()  # newest last, since the last change, at most `debounce.of`
    incident: Incident | None = None
    last_event_s: float | None = None  # monotonic, of the last match, update or clear
    voted_s: tuple[float, ...] = ()  # monotonic, the times of `votes`
    true_since_s: float | None = None  # monotonic; with `for_s`, while no incident is open
    steps: tuple[RuleState, ...] = ()  # of a sequence, see `pipelines.rules.sequence`
    reached_s: tuple[float | None, ...] = ()  # monotonic, when each step became true


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be told of an incident, and the answer that was the reason."""

    event_type: Literal["rule_match", "rule_update", "rule_clear"]
    incident: Incident
    score: float | None  # p_yes; None where there is no answer, see `settle`


def update(
    rule: Rule,
    state: RuleState,
    answer: Score | float | None,
    now_s: float,
    new_id: NewId,
    *,
    may_open: bool = True,
) -> tuple[RuleState, Decision | None]:
    """Judge one answer. `now_s` is the monotonic time of the newest frame it is about.

    `new_id` is called once for each incident that opens, and otherwise not.
    """
    if answer is None:
        return state, None
    score = answer if isinstance(answer, Score) else Score(answer, answer)
    is_open = state.incident is not None
    vote = _vote(rule, score, against=is_open or state.true_since_s is not None)
    if vote is None:
        return state, None
    debounce = rule.votes_needed
    votes = (*state.votes, vote)[-debounce.of :]
    times_s = (*state.voted_s, now_s)[-debounce.of :]
    state = dataclasses.replace(state, votes=votes, voted_s=times_s)
    changes = vote and sum(votes) >= debounce.needed
    if is_open:
        return _close(state, score.point, now_s) if changes else (state, None)
    state, ripe = _ripened(rule, state, score, now_s, changes=changes)
    cools = state.last_event_s is not None and now_s - state.last_event_s < rule.cooldown_s
    if not ripe or cools or not may_open:
        return state, None
    opened = Incident(incident_id=new_id(), since_s=now_s)
    state = dataclasses.replace(_cleared(state), incident=opened, last_event_s=now_s)
    return state, Decision("rule_match", opened, score.point)


def _ripened(
    rule: Rule, state: RuleState, score: Score, now_s: float, *, changes: bool
) -> tuple[RuleState, bool]:
    """Whether a rule without an incident has been true for long enough, and its state."""
    if state.true_since_s is not None:
        if changes:
            return _cleared(state), False
        long_enough = now_s - state.true_since_s >= rule.for_s
        return state, long_enough and score.low >= rule.open_above
    if not changes or rule.for_s == 0.0:
        return state, changes
    since_s = state.voted_s[state.votes.index(True)]
    state = dataclasses.replace(_cleared(state), true_since_s=since_s)
    return state, now_s - since_s >= rule.for_s


def _vote(rule: Rule, score: Score, *, against: bool) -> bool | None:
    """Whether the answer speaks for a change; None where it cannot be known."""
    if against:
        if score.high <= rule.close_below:
            return True
        return False if score.low > rule.close_below else None
    if score.low >= rule.open_above:
        return True
    return False if score.high < rule.open_above else None


def _cleared(state: RuleState) -> RuleState:
    """Without votes: they are counted from the last change."""
    return dataclasses.replace(state, votes=(), voted_s=(), true_since_s=None)


def forget_votes(state: RuleState) -> RuleState:
    """The rule's thresholds have moved: answers that were held against the old ones do not count.

    An open incident stays open, and the steps of a sequence keep what they have reached.
    """
    steps = tuple(_cleared(step) for step in state.steps)
    return dataclasses.replace(_cleared(state), steps=steps)


def settle(state: RuleState, now_s: float) -> tuple[RuleState, Decision | None]:
    """Close what is open because nothing can be seen any more; the score is then None.

    Votes are forgotten: what was seen before a gap says nothing of what is seen after it. What a
    sequence has reached is not: its `within_s` goes on.
    """
    steps = tuple(settle(step, now_s)[0] for step in state.steps)
    reached_s = (*state.reached_s[:-1], None) if state.reached_s else ()
    state = dataclasses.replace(_cleared(state), steps=steps, reached_s=reached_s)
    return (state, None) if state.incident is None else _close(state, None, now_s)


def add_words(state: RuleState, now_s: float) -> RuleState:
    """Note that an event of `now_s` gave the open incident its words. Raises `ValueError`."""
    if state.incident is None:
        raise ValueError("no incident is open that could be given words")
    told = dataclasses.replace(state.incident, has_words=True)
    return dataclasses.replace(state, incident=told, last_event_s=now_s)


def _close(
    state: RuleState, score: float | None, now_s: float
) -> tuple[RuleState, Decision | None]:
    assert state.incident is not None  # noqa: S101 - both callers have looked
    closed = dataclasses.replace(_cleared(state), incident=None, last_event_s=now_s)
    return closed, Decision("rule_clear", state.incident, score)
