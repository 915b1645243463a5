"""What can an alert rule say?

Knows no YAML and no state: `daemon.config` reads rules, `pipelines.rules.incident` judges them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipelines.rules.conditions import Ask, RuleOn, Sequence, When, leaves
from pipelines.rules.hours import Hours
from pipelines.types import Severity


@dataclass(frozen=True, slots=True)
class Debounce:
    """Of the last `of` answers, `needed` must agree before an incident opens or closes."""

    needed: int = 2
    of: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.needed <= self.of:
            message = f"debounce needs 1 <= needed <= of, not {self.needed} of {self.of}"
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition, and when it is worth an alert.

    `ask` is for a rule of one question, `when` for any other. `close_below` < `open_above`: between
    the two lies the hysteresis band, in which no answer changes anything. Raises `ValueError` where
    the numbers contradict each other.
    """

    name: str  # slug
    ask: str = ""  # the question, word for word as the model gets it; or `when`
    open_above: float = 0.7  # p_yes, 0..1; reaching it counts
    close_below: float = 0.4  # p_yes, 0..1; reaching it counts
    debounce: Debounce = Debounce()
    cooldown_s: float = 60.0  # from the rule's last event to its next opening, per camera
    severity: Severity = "alert"
    describe: bool = False  # the incident gets words, in the alert or in a `rule_update`
    when: When | None = None  # a condition of more than one question
    for_s: float = 0.0  # how long it must be true before an incident opens
    active: Hours | None = None  # None: always

    def __post_init__(self) -> None:
        if not 0.0 <= self.close_below < self.open_above <= 1.0:
            message = (
                f"rule {self.name}: thresholds need 0 <= close_below < open_above <= 1, "
                f"not {self.close_below:g} and {self.open_above:g}"
            )
            raise ValueError(message)
        if bool(self.ask) == (self.when is not None):
            raise ValueError(f"rule {self.name}: needs either `ask` or `when`")
        if self.cooldown_s < 0.0:
            message = f"rule {self.name}: cooldown_s must not be negative ({self.cooldown_s:g})"
            raise ValueError(message)

    def opening_at(self, open_above: float) -> Rule:
        """The same rule with another threshold, and `close_below` moved with it.

        Raised, the band between them keeps its width; lowered, its share, so that a rule can still
        close: p_yes comes near 0 and never reaches it. Raises `ValueError`, at 0 too.
        """
        if open_above == self.open_above:
            return self
        if open_above > self.open_above:
            close_below = open_above - (self.open_above - self.close_below)
        else:
            close_below = open_above * self.close_below / self.open_above
        return replace(self, open_above=open_above, close_below=close_below)

    @property
    def condition(self) -> When:
        """What it is about."""
        return self.when if self.when is not None else Ask(self.ask)

    @property
    def questions(self) -> tuple[str, ...]:
        """What must be asked for it, each text once."""
        asks = (leaf.question for leaf in leaves(self.condition) if isinstance(leaf, Ask))
        return tuple(dict.fromkeys(asks))

    @property
    def references(self) -> tuple[str, ...]:
        """The rules that it refers to."""
        return tuple(leaf.rule for leaf in leaves(self.condition) if isinstance(leaf, RuleOn))

    @property
    def votes_needed(self) -> Debounce:
        """Its own debounce; the steps of a sequence are debounced each, and it is not again."""
        return Debounce(1, 1) if isinstance(self.condition, Sequence) else self.debounce
