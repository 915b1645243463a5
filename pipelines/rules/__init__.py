"""When is it an alert? Pure functions and state machines."""

from pipelines.rules.book import RuleBook
from pipelines.rules.conditions import AllOf, AnyOf, Ask, Match, Not, RuleOn, Sequence, Step
from pipelines.rules.hours import Hours
from pipelines.rules.rule import Debounce, Rule

__all__ = [
    "AllOf",
    "AnyOf",
    "Ask",
    "Debounce",
    "Hours",
    "Match",
    "Not",
    "Rule",
    "RuleBook",
    "RuleOn",
    "Sequence",
    "Step",
]
