"""When is it an alert? Pure functions and state machines."""

from pipelines.rules.book import RuleBook
from pipelines.rules.rule import Debounce, Rule

__all__ = ["Debounce", "Rule", "RuleBook"]
