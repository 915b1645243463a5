"""When does an incident open and close?

Knows no camera, model or clock: state and time come in, state and decision go out. The same
input gives the same output, so that a rule can be judged over recordings as it is live.

A rule at one camera is either closed or open. Each answer is a vote for changing that or not:

- closed: a vote is an answer of at least `open_above`; open: one of at most `close_below`.
- The state changes on an answer that is itself a vote, once `debounce.needed` of the last
  `debounce.of` answers since the last change were votes. Opening and closing are debounced alike.
- For `cooldown_s` after its last event a rule does not open. Votes go on being counted, and the
  first vote after the cooldown opens if enough of its neighbours agree. What began and ended
  within the cooldown leaves no incident at all. Closing is never held back.
- A window without an answer to the rule's question is as if it had not been.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

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


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be told of an incident, and the answer that was the reason."""

    event_type: Literal["rule_match", "rule_update", "rule_clear"]
    incident: Incident
    score: float | None  # p_yes; None where there is no answer, see `settle`


def update(
    rule: Rule, state: RuleState, p_yes: float | None, now_s: float, new_id: NewId
) -> tuple[RuleState, Decision | None]:
    """Judge one answer. `now_s` is the monotonic time of the newest frame it is about.

    `new_id` is called once for each incident that opens, and otherwise not.
    """
    if p_yes is None:
        return state, None
    is_open = state.incident is not None
    vote = p_yes <= rule.close_below if is_open else p_yes >= rule.open_above
    votes = (*state.votes, vote)[-rule.debounce.of :]
    state = dataclasses.replace(state, votes=votes)
    if not vote or sum(votes) < rule.debounce.needed:
        return state, None
    if is_open:
        return _close(state, p_yes, now_s)
    if state.last_event_s is not None and now_s - state.last_event_s < rule.cooldown_s:
        return state, None
    opened = Incident(incident_id=new_id(), since_s=now_s)
    return RuleState((), opened, now_s), Decision("rule_match", opened, p_yes)


def settle(state: RuleState, now_s: float) -> tuple[RuleState, Decision | None]:
    """Close what is open because nothing can be seen any more; the score is then None.

    Votes are forgotten: what was seen before a gap says nothing of what is seen after it.
    """
    if state.incident is None:
        return dataclasses.replace(state, votes=()), None
    return _close(state, None, now_s)


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
    return RuleState((), None, now_s), Decision("rule_clear", state.incident, score)
