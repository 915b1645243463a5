"""How far is a sequence?

Knows a sequence's steps and the facts of one window; no incident. Each step is true or not by the
rule's own thresholds and debounce, as if it were a rule. A step is reached when it *becomes* true,
in a later window than the step before it and within its `within_s`. The newest try counts. The
sequence is true from its last step's being reached until that step is no longer true, and then
begins anew: a second ending needs a second beginning.
"""

from __future__ import annotations

import dataclasses
import math

from pipelines.rules import incident as incidents
from pipelines.rules.conditions import Facts, RuleOn, Score, Sequence, Step, needs_words, score
from pipelines.rules.incident import RuleState
from pipelines.rules.rule import Debounce, Rule


def advance(
    rule: Rule, state: RuleState, facts: Facts, now_s: float, *, only_words: bool
) -> tuple[RuleState, float]:
    """Judge every step of one window: the state, and 1.0 if the sequence is true, else 0.0.

    `only_words`: the steps that need no words were judged already, of the same window.
    """
    sequence = rule.condition
    assert isinstance(sequence, Sequence)  # noqa: S101 - the caller has looked
    steps = list(state.steps or [RuleState()] * len(sequence.steps))
    reached_s = list(state.reached_s or [None] * len(sequence.steps))
    before_s = tuple(reached_s)
    last = len(steps) - 1
    for n, step in enumerate(sequence.steps):
        if needs_words(step.condition):
            if facts.description is None:
                continue
        elif only_words:
            continue
        told = score(step.condition, facts)
        steps[n], decision = incidents.update(_as_rule(rule, step), steps[n], told, now_s, str)
        if decision is None:
            continue
        if decision.event_type == "rule_match" and _in_time(step, n, before_s, now_s):
            reached_s[n] = now_s
        elif decision.event_type == "rule_clear" and n == last:
            reached_s[n] = None
    if reached_s[last] == now_s:
        reached_s[:last] = [None] * last
    state = dataclasses.replace(state, steps=tuple(steps), reached_s=tuple(reached_s))
    return state, 1.0 if reached_s[last] is not None else 0.0


def waiting_for(rule: Rule, state: RuleState, now_s: float) -> int:
    """The number (from 0) of the step that is the next to be reached."""
    sequence = rule.condition
    assert isinstance(sequence, Sequence)  # noqa: S101 - the caller has looked
    for n in range(len(sequence.steps) - 1, 0, -1):
        before_s = state.reached_s[n - 1] if state.reached_s else None
        if before_s is not None and now_s - before_s <= (sequence.steps[n].within_s or math.inf):
            return n
    return 0


def last_score(rule: Rule, facts: Facts) -> Score:
    """How true the last step is: the score that is told of the sequence."""
    sequence = rule.condition
    assert isinstance(sequence, Sequence)  # noqa: S101 - the caller has looked
    return score(sequence.steps[-1].condition, facts)


def _in_time(step: Step, n: int, reached_s: tuple[float | None, ...], now_s: float) -> bool:
    """Whether the step before was reached, in an earlier window and not too long ago."""
    before_s = reached_s[n - 1] if n > 0 else None
    if n == 0 or before_s is None:
        return n == 0
    return before_s < now_s and now_s - before_s <= (step.within_s or math.inf)


def _as_rule(rule: Rule, step: Step) -> Rule:
    # A rule that is on was debounced already.
    once = isinstance(step.condition, RuleOn)
    return dataclasses.replace(
        rule,
        ask="",
        when=step.condition,
        debounce=Debounce(1, 1) if once else rule.debounce,
        cooldown_s=0.0,
        for_s=0.0,
    )
