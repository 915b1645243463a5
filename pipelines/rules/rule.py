"""What can an alert rule say?

Knows no YAML and no state: `daemon.config` reads rules, `pipelines.rules.incident` judges them.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """One question, and when its answer is worth an alert.

    `close_below` < `open_above`: between the two lies the hysteresis band, in which no answer
    changes anything. Raises `ValueError` where the numbers contradict each other.
    """

    name: str  # slug
    ask: str  # the question, word for word as the model gets it
    open_above: float = 0.7  # p_yes, 0..1; reaching it counts
    close_below: float = 0.4  # p_yes, 0..1; reaching it counts
    debounce: Debounce = Debounce()
    cooldown_s: float = 60.0  # from the rule's last event to its next opening, per camera
    severity: Severity = "alert"
    describe: bool = False  # the incident gets words, in the alert or in a `rule_update`

    def __post_init__(self) -> None:
        if not 0.0 <= self.close_below < self.open_above <= 1.0:
            message = (
                f"rule {self.name}: thresholds need 0 <= close_below < open_above <= 1, "
                f"not {self.close_below:g} and {self.open_above:g}"
            )
            raise ValueError(message)
        if self.cooldown_s < 0.0:
            message = f"rule {self.name}: cooldown_s must not be negative ({self.cooldown_s:g})"
            raise ValueError(message)
