"""Do rules fit each other, and the cameras?

Knows all rules of a configuration; each by itself is right already.
"""

from __future__ import annotations

from collections.abc import Mapping

from daemon.config_errors import Problem, did_you_mean
from daemon.config_rules import RuleConfig
from pipelines.rules.conditions import needs_words
from pipelines.rules.order import circle


def judged_on(rules: Mapping[str, RuleConfig]) -> dict[str, tuple[str, ...]]:
    """Rule name -> the cameras on which it can be judged: its own that its references share."""
    made = {name: rule.made(name) for name, rule in rules.items()}

    def cameras(name: str, way: tuple[str, ...]) -> set[str]:
        found = set(rules[name].cameras)
        for other in made[name].references:
            if other in rules and other not in way:
                found &= cameras(other, (*way, other))
        return found

    reach = {name: cameras(name, (name,)) for name in rules}
    return {n: tuple(c for c in rule.cameras if c in reach[n]) for n, rule in rules.items()}


def problems_between(
    rules: Mapping[str, RuleConfig], described: Mapping[str, bool]
) -> list[Problem]:
    """What is wrong with what rules say of each other and of cameras.

    `described`: camera -> whether its windows are described.
    """
    problems: list[Problem] = []
    circles: set[frozenset[str]] = set()
    made = {name: rule.made(name) for name, rule in rules.items()}
    references = {name: rule.references for name, rule in made.items()}
    for name, rule in made.items():
        at = ("rules", name, next(k for k, v in rules[name].said().items() if v is not None))
        for other in dict.fromkeys(rule.references):
            if other not in rules:
                guess = did_you_mean(other, rules)
                known = ", ".join(known for known in rules if known != name)
                text = f"there is no rule '{other}'.{guess} There are: {known or 'no others'}"
                problems.append(Problem(at, text))
        if rules[name].zone is not None and not rule.questions:
            text = "there is no `ask` in this rule that could be about it: delete it"
            problems.append(Problem(("rules", name, "zone"), text))
        way = circle(name, references)
        if way is not None and frozenset(way) not in circles:
            circles.add(frozenset(way))
            problems.append(Problem(at, f"the rule refers to itself: {' -> '.join(way)}"))
        silent = [c for c in rules[name].cameras if not described.get(c, True)]
        if silent and needs_words(rule.condition):
            text = f"needs descriptions, and {silent[0]} has `describe: off`: turn them on there"
            problems.append(Problem(at, text))
    if not problems:
        problems += [
            Problem(("rules", name), "the rules that it refers to share no camera with it")
            for name, cameras in judged_on(rules).items()
            if not cameras
        ]
    return problems
