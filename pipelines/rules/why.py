"""What held a rule back?

Knows a rule and its state after a window; says it in the words of the configuration. The texts
hold no measured number: there are few different ones, and stores keep each once.
"""

from __future__ import annotations

from pipelines.rules.incident import RuleState
from pipelines.rules.rule import Rule


def verdict(rule: Rule, state: RuleState, p_yes: float | None, now_s: float) -> str:
    """Why the rule is on, or which condition it lacks; `state` is as of after the window."""
    if state.incident is not None:
        return "on"
    if p_yes is None:
        return "not judged: the window was not asked its question"
    if state.last_event_s == now_s:
        return f"closed: at most close_below: {rule.close_below:g}"
    if p_yes < rule.open_above:
        return f"below open_above: {rule.open_above:g}"
    if sum(state.votes) < rule.debounce.needed:
        wanted = f"{{needed: {rule.debounce.needed}, of: {rule.debounce.of}}}"
        return f"debounce: {wanted}: only {sum(state.votes)} so far"
    return f"cooldown_s: {rule.cooldown_s:g} since its last event"
