"""Does a question work on a camera's empty scene, where nothing it asks about is to be seen?

Knows rules, answers and bars; no camera, no store and no terminal. What counts as failed, and why:

- **yes-bias**: as many neighbouring windows as `debounce` wants are above `close_below`. An
  incident that the rule opens would then never close, and at `open_above` one opens by itself.
- **twin**: half or more is answered to the question and to its contrary as well. One of the two
  must be no: the model says yes whatever it sees. Only where the contrary can be put plainly:
  small models do not understand the roundabout one.
- **unstable**: from one window to the next, p_yes moves by as much as lies between `close_below`
  and `open_above`. What the picture does not change, noise alone then opens and closes.

A question that is no to its contrary as well does not fail: it raises no false alerts, but whether
it ever raises a true one is for `smolwatch backtest` to say.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

import cv2

from daemon.negation import is_plain, negated
from pipelines.examples import split_question
from pipelines.rules import Rule
from pipelines.types import Image
from pipelines.zones import plain_question

Light = Literal["day", "night"]
LIGHTS: Final[tuple[Light, ...]] = ("day", "night")
FEWEST: Final = 3  # windows; fewer have hardly a neighbour
_HALF: Final = 0.5
# Of 255. Infra-red pictures are grey: 60 drawn ones have a mean saturation of 0, by day 43 or more.
_GREY: Final = 12.0
_DARK: Final = 40.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one question of one rule in one light."""

    rule: str
    question: str  # with its zone, see `pipelines.zones`
    twin: str
    light: Light
    windows: int
    median: float  # p_yes
    highest: float
    twin_median: float
    swing: float  # the most that p_yes moved between neighbouring windows
    problems: tuple[str, ...]
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether no bar was missed."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """For programs, and for the daemon to keep."""
        return {
            "rule": self.rule,
            "question": self.question,
            "twin": self.twin,
            "light": self.light,
            "windows": self.windows,
            "median": round(self.median, 4),
            "highest": round(self.highest, 4),
            "twin_median": round(self.twin_median, 4),
            "swing": round(self.swing, 4),
            "passed": self.passed,
            "problems": list(self.problems),
        }


def words_of(question: str) -> str:
    """A question as the configuration has it: without its zone and reference pictures."""
    return split_question(plain_question(question))[0]


def twin_of(question: str) -> str:
    """The contrary of a question, about the same zone and with the same reference pictures."""
    words = words_of(question)
    return question.replace(words, negated(words), 1)


def examine(
    rule: Rule,
    question: str,
    light: Light,
    answers: Sequence[Mapping[str, float]],
    *,
    yes: bool = False,
) -> Finding:
    """Judge the answers of neighbouring windows, oldest first, at least one.

    `yes`: the right answer on this scene is yes.
    """
    own = [given[question] for given in answers]
    twins = [given[twin_of(question)] for given in answers]
    swing = max((abs(b - a) for a, b in pairwise(own)), default=0.0)
    median, twin_median = statistics.median(own), statistics.median(twins)
    problems = [*_bias(rule, own, yes=yes)]
    note = ""
    if min(median, twin_median) >= _HALF and not is_plain(words_of(question)):
        note = "yes to its contrary as well, which could not be put plainly, and does not count"
    elif min(median, twin_median) >= _HALF:
        problems.append(
            f"yes to the question (p_yes {median:.2f}) and to its contrary ({twin_median:.2f}): "
            "the model says yes whatever it sees"
        )
    elif max(median, twin_median) < _HALF:
        note = (
            "no to the question and to its contrary: it raises no false alert here, but try with "
            f"`smolwatch backtest {rule.name}` whether it raises a true one"
        )
    band = rule.open_above - rule.close_below
    if swing >= band:
        problems.append(
            f"p_yes moves by {swing:.2f} between neighbouring windows in which nothing changes, "
            f"as much as from close_below: {rule.close_below:g} to open_above: {rule.open_above:g}"
        )
    return Finding(
        rule.name, question, twin_of(question), light, len(own), median, max(own), twin_median,
        swing, tuple(problems), note,
    )  # fmt: skip


def _bias(rule: Rule, own: Sequence[float], *, yes: bool) -> list[str]:
    """What is wrong with the answers, where as many neighbours as `debounce` wants are wrong."""
    debounce = rule.debounce
    wrong = [p < rule.open_above if yes else p > rule.close_below for p in own]
    runs = (sum(wrong[n : n + debounce.of]) for n in range(len(wrong)))
    if max(runs, default=0) < min(debounce.needed, len(own)):
        return []
    bar = (
        f"below open_above: {rule.open_above:g}, though the right answer is yes"
        if yes
        else f"above close_below: {rule.close_below:g} on the empty scene, where the answer is no"
    )
    told = f"p_yes is {bar}, in {sum(wrong)} of {len(own)} windows"
    if not yes and max(own) >= rule.open_above:
        told += f"; up to {max(own):.2f}, which raises an alert (open_above: {rule.open_above:g})"
    return [told]


def light_of(image: Image) -> Light:
    """Whether a picture ([H, W, 3] uint8 RGB) is of the day, or infra-red or dark."""
    _, saturation, value = (channel.mean() for channel in cv2.split(_hsv(image)))
    return "night" if saturation < _GREY or value < _DARK else "day"


def _hsv(image: Image) -> Any:
    return cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
