"""Which alerts should a scene camera have led to, and is this one true?

Knows the script and the windows' plan; no model and no rule state. It is how the demo and the
tests tell a true alert from a false one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pipelines.scenes.script import Script
from pipelines.scenes.truth import QUESTIONS, Answer, WindowTruth
from pipelines.window_plan import WindowPlan

_STEP_S: Final = 0.25  # between the windows at which the truth is looked up


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of window ends, in seconds of the script, for which the answer is yes.

    From `early_s` to `start_s`, and from `end_s` to `late_s`, the frames cannot tell: somebody is
    on the way in or out. An alert may come there, but need not.
    """

    start_s: float
    end_s: float
    early_s: float
    late_s: float


class Verdict:
    """The truth about one scene camera's windows."""

    def __init__(self, script: Script, plan: WindowPlan) -> None:
        self._script = script
        self._plan = plan
        self._answers: dict[float, Mapping[str, Answer]] = {}  # each question asks them again

    def window(self, end_s: float) -> WindowTruth:
        """The truth of the window whose last frame is at `end_s` of the script."""
        n, step = self._plan.num_frames, self._plan.interval_s
        states = [self._script.state_at(end_s - (n - 1 - i) * step) for i in range(n)]
        return WindowTruth.of(states, night=self._script.stage.night)

    def answer(self, question: str, end_s: float) -> Answer:
        """What is true of that window; None where its frames cannot tell. Raises `KeyError`."""
        if end_s not in self._answers:
            self._answers[end_s] = self.window(end_s).answers()
        return self._answers[end_s][question_kind(question)]

    def stretches(self, question: str, start_s: float, end_s: float) -> list[Stretch]:
        """Where the answer to `question` is yes, for window ends within the given seconds."""
        found: list[Stretch] = []
        begun: float | None = None
        t = start_s
        while t <= end_s + _STEP_S:
            true = t <= end_s and self.answer(question, t) is True
            if true and begun is None:
                begun = t
            if not true and begun is not None:
                early_s = self._edge(question, begun, -_STEP_S)
                found.append(Stretch(begun, t - _STEP_S, early_s, self._edge(question, t, _STEP_S)))
                begun = None
            t += _STEP_S
        return found

    def _edge(self, question: str, from_s: float, step_s: float) -> float:
        """Where, walking on from `from_s`, the answer becomes a plain no."""
        t = from_s
        while t > 0.0 and self.answer(question, t) is not False and abs(t - from_s) < 60.0:
            t += step_s
        return t

    def expected(self, question: str, needed: int, start_s: float, end_s: float) -> list[Stretch]:
        """The stretches that must lead to an incident.

        They hold `needed` windows wherever the windows' grid lies, with one stride to spare for a
        window that came late.
        """
        least_s = needed * self._plan.stride_s + 0.5
        found = self.stretches(question, start_s, end_s)
        return [s for s in found if s.end_s - s.start_s >= least_s]

    def is_false(self, question: str, end_s: float) -> bool:
        """Whether no window that ends about then has the answer yes or cannot be told."""
        return all(answer is False for answer in self._nearby(question, end_s))

    def _nearby(self, question: str, end_s: float) -> Iterator[Answer]:
        for shift in (-0.5, 0.0, 0.5):
            yield self.answer(question, end_s + shift * self._plan.interval_s)


def question_kind(question: str) -> str:
    """The kind of a question in one of its accepted wordings. Raises `KeyError`."""
    for kind, wordings in QUESTIONS.items():
        if question in wordings:
            return kind
    raise KeyError(f"the scenes know no truth for {question!r}")
