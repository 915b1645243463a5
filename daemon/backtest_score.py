"""How good is a rule, where it is known what happened?

Knows incidents and true events, in seconds of their recordings; no model and no file. An incident
is right if the time from the beginning of the window that opened it to its close touches a true
event, give or take the tolerance. Each event is matched by at most one incident: a second one is
a duplicate, and as wrong as a false one.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from daemon.truth import TrueSpan
from pipelines.rules import Rule
from pipelines.rules.replay import IncidentSpan

TOLERANCE_S: Final = 2.0
FEW: Final = 10  # true events; with 10 of 10 found, the true recall may still be 0.72
_Z: Final = 1.96  # 95%
_GRID: Final = tuple(round(n / 20, 2) for n in range(1, 20))
_SURE: Final = 0.1  # how far from the plateau's edges thresholds should lie

Found = Sequence[tuple[Sequence[IncidentSpan], Sequence[TrueSpan]]]  # of each recording


@dataclass(slots=True)
class Score:
    """Counts over all recordings whose truth is known."""

    expected: int = 0
    found: int = 0
    false: int = 0
    duplicates: int = 0
    ignored: int = 0  # incidents at a `maybe`
    late_s: list[float] = field(default_factory=list)  # opened after the event began

    @property
    def precision(self) -> float | None:
        """Share of alerts that were right; None without any."""
        alerts = self.found + self.false + self.duplicates
        return self.found / alerts if alerts else None

    @property
    def recall(self) -> float | None:
        """Share of events that led to an alert; None without any."""
        return self.found / self.expected if self.expected else None

    @property
    def f1(self) -> float:
        """Harmonic mean of both."""
        wrong = self.false + self.duplicates + self.expected - self.found
        return 2 * self.found / (2 * self.found + wrong) if self.found or wrong else 1.0

    @property
    def median_late_s(self) -> float | None:
        """How long after an event's beginning its alert came."""
        return statistics.median(self.late_s) if self.late_s else None


@dataclass(frozen=True, slots=True)
class Trial:
    """The rule with other thresholds."""

    open_above: float
    close_below: float
    score: Score


@dataclass(frozen=True, slots=True)
class Proposal:
    """Thresholds that did best, and why."""

    open_above: float
    close_below: float
    reason: str


def score(recordings: Found, tolerance_s: float) -> Score:
    """Match incidents and events of every recording."""
    total = Score()
    for incidents, truths in recordings:
        _match(incidents, truths, tolerance_s, total)
    return total


def _match(
    incidents: Sequence[IncidentSpan],
    truths: Sequence[TrueSpan],
    tolerance_s: float,
    total: Score,
) -> None:
    certain = [truth for truth in truths if not truth.maybe]
    open_ones = list(certain)
    total.expected += len(certain)
    for incident in sorted(incidents, key=lambda found: found.opened_s):
        fitting = [truth for truth in open_ones if _touches(incident, truth, tolerance_s)]
        if fitting:
            # The one that ends first leaves the others to later incidents.
            truth = min(fitting, key=lambda truth: truth.end_s)
            open_ones.remove(truth)
            total.found += 1
            total.late_s.append(incident.opened_s - truth.start_s)
        elif any(t.maybe and _touches(incident, t, tolerance_s) for t in truths):
            total.ignored += 1
        elif any(_touches(incident, truth, tolerance_s) for truth in certain):
            total.duplicates += 1
        else:
            total.false += 1


def _touches(incident: IncidentSpan, truth: TrueSpan, tolerance_s: float) -> bool:
    begins = incident.evidence_s <= truth.end_s + tolerance_s
    return begins and incident.until_s(math.inf) >= truth.start_s - tolerance_s


def sweep(rule: Rule, tried: Callable[[float, float], Score]) -> tuple[Trial, ...]:
    """`tried(open_above, close_below)` for a grid of `open_above` and the rule's own.

    `close_below` is the rule's own; below its own `open_above`, at most 0.6 of what is tried.
    """
    trials = []
    for opens in sorted({*_GRID, rule.open_above}):
        closes = rule.close_below
        if opens < rule.open_above:
            closes = min(closes, round(opens * 0.6, 3))
        trials.append(Trial(opens, closes, tried(opens, closes)))
    return tuple(trials)


def propose(
    rule: Rule, trials: Sequence[Trial], tried: Callable[[float, float], Score]
) -> Proposal:
    """The middle of the widest stretch of thresholds that do best: farthest from doing worse."""
    on_grid = [trial for trial in trials if trial.open_above in _GRID]
    first, last, opens = _plateau([(trial.open_above, trial.score.f1) for trial in on_grid])
    best = next(trial.score for trial in on_grid if trial.open_above == opens)
    lower = [close for close in (0.0, *_GRID) if close < opens]
    closings = [(close, tried(opens, close).f1) for close in lower]
    low, high, closes = _plateau(closings)
    reason = (
        f"{_figures(best)} are the best of all that were tried, and hold for every open_above "
        f"from {first:g} to {last:g}: {opens:g} is the middle, farthest from doing worse. "
        f"With it, close_below does best from {low:g} to {high:g}"
    )
    if first + _SURE <= rule.open_above <= last - _SURE and low <= rule.close_below <= high:
        reason += f". Yours ({rule.open_above:g} and {rule.close_below:g}) do as well"
    return Proposal(opens, closes, reason)


def _plateau(values: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """First, last and middle threshold of the longest run with the highest value."""
    best = max(value for _, value in values)
    runs: list[list[float]] = [[]]
    for threshold, value in values:
        if value < best:
            runs.append([])
        else:
            runs[-1].append(threshold)
    run = max(runs, key=len)
    return run[0], run[-1], run[len(run) // 2]


def _figures(found: Score) -> str:
    def told(value: float | None) -> str:
        return "unknown" if value is None else f"{value:.2f}"

    return f"Precision {told(found.precision)} and recall {told(found.recall)}"


def at_least(found: int, of: int) -> float:
    """What a share may truly be as low as, with 95% confidence.

    The lower end of Wilson's interval (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927).
    """
    if not of:
        return 0.0
    share = found / of
    spread = _Z * math.sqrt(share * (1 - share) / of + _Z**2 / (4 * of**2))
    return max(0.0, (share + _Z**2 / (2 * of) - spread) / (1 + _Z**2 / of))


def warnings(found: Score, judged_s: float, true_s: float) -> list[str]:
    """What the figures cannot be trusted for; the seconds are of all recordings with truth."""
    said = []
    if not found.expected:
        said.append("no true event: recall is unknown, and no threshold can be proposed")
    elif found.expected < FEW:
        least = at_least(found.found, found.expected)
        events = "1 true event" if found.expected == 1 else f"{found.expected} true events"
        said.append(
            f"too little: with {events}, a recall of "
            f"{found.found / found.expected:.2f} may truly be {least:.2f} (95% confidence); "
            f"have at least {FEW}, better 30"
        )
    quiet_s = judged_s - true_s
    if quiet_s < 600:
        said.append(
            f"too little: {quiet_s / 60:.1f} minutes in which nothing was to be found say nothing "
            "of how many false alerts a day brings; add an hour of an ordinary day, and a night"
        )
    return said
