"""What held a rule back?

Knows a rule and its state after a window; says it in the words of the configuration. The texts
hold no measured number: there are few different ones, and stores keep each once.
"""

from __future__ import annotations

from pipelines.rules.conditions import Score, Sequence, leaves, needs_words
from pipelines.rules.incident import RuleState
from pipelines.rules.rule import Rule
from pipelines.rules.sequence import waiting_for

NOT_ASKED = "not judged: this window was not asked what it needs to know"
NOT_DESCRIBED = "not judged: this window was not described"


def verdict(
    rule: Rule, state: RuleState, score: Score, now_s: float, *, armed: bool, in_hours: bool
) -> str:
    """Why the rule is on, or which condition it lacks; `state` is as of after the window."""
    if state.incident is not None:
        return "on"
    if state.last_event_s == now_s:
        return f"closed: not above close_below: {rule.close_below:g}"
    lacks = _lacks(rule, state, score, now_s)
    if lacks is not None:
        return lacks
    if not armed:
        return "true, but the rule is disarmed"
    if not in_hours:
        return f"true, but outside {rule.active}"
    return f"true, but within cooldown_s: {rule.cooldown_s:g} of its last event"


def _lacks(rule: Rule, state: RuleState, score: Score, now_s: float) -> str | None:
    """What its condition lacks; None if it is true."""
    if isinstance(rule.condition, Sequence):
        if score.low < 1.0:
            return _lacks_step(rule, state, now_s)
    elif score.low < rule.open_above:
        if score.high >= rule.open_above:
            return NOT_DESCRIBED if needs_words(rule.condition) else NOT_ASKED
        return f"below open_above: {rule.open_above:g}"
    if state.true_since_s is not None and now_s - state.true_since_s < rule.for_s:
        return f"true, but not yet for_s: {rule.for_s:g}"
    needed, of = rule.votes_needed.needed, rule.votes_needed.of
    if state.true_since_s is None and sum(state.votes) < needed:
        return (
            f"true, but only {sum(state.votes)} so far of debounce: {{needed: {needed}, of: {of}}}"
        )
    return None


def _lacks_step(rule: Rule, state: RuleState, now_s: float) -> str:
    assert isinstance(rule.condition, Sequence)  # noqa: S101 - the caller has looked
    n = waiting_for(rule, state, now_s)
    step = rule.condition.steps[n]
    what = ", ".join(repr(getattr(leaf, leaf.__slots__[0])) for leaf in leaves(step.condition))
    within = f" within_s: {step.within_s:g}" if step.within_s is not None else ""
    return f"sequence: waiting for step {n + 1}: {what}{within}"
