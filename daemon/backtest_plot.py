"""What does p_yes over time look like, beside the thresholds and the incidents?

Knows one reel's judgement; needs matplotlib, which is an optional part (`smolwatch[report]`). It
draws into memory by itself ("Agg"), so that no display is needed.
"""

from __future__ import annotations

import io
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from daemon.backtest import BacktestError, Tried
from daemon.backtest_text import clock
from pipelines.rules import Rule

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MISSING: Final = (
    "the plots of p_yes need matplotlib, which is not installed: pip install 'smolwatch[report]'"
)
_WIDTH_IN, _HEIGHT_IN, _DPI = 10.0, 3.4, 110
_MOST_QUESTIONS: Final = 6
_SPARSE: Final = 120  # looks up to which each one gets a dot


def plot(one: Tried, rule: Rule, *, by_day: bool = False) -> bytes:
    """A PNG. Raises `BacktestError` where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - optional, and takes a second
    except ImportError as error:
        raise BacktestError(MISSING) from error
    figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    _draw_spans(axes, one)
    _draw_answers(axes, one, rule)
    axes.axhline(rule.open_above, color="#b3261e", lw=1, ls="--")
    axes.axhline(rule.close_below, color="#1b6e3c", lw=1, ls="--")
    for level, name in ((rule.open_above, "open_above"), (rule.close_below, "close_below")):
        axes.annotate(
            f"{name}: {level:g}", (1.0, level), xycoords=("axes fraction", "data"),
            xytext=(4, 0), textcoords="offset points", va="center", fontsize=8,
        )  # fmt: skip
    axes.set_ylim(-0.08, 1.05)
    axes.set_xlim(0.0, max(one.reel.length_s, 1.0))
    axes.set_ylabel("p_yes")
    axes.set_title(_plain(one.reel.name), fontsize=10, loc="left")
    axes.xaxis.set_major_formatter(lambda at_s, _: _label(one, at_s, by_day=by_day))
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.12), ncols=3, fontsize=8, frameon=False)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def _draw_spans(axes: Axes, one: Tried) -> None:
    end_s = one.reel.length_s
    for n, span in enumerate(one.incidents):
        label: dict[str, Any] = {"label": "incident"} if n == 0 else {}
        axes.axvspan(span.opened_s, span.until_s(end_s), color="#f2b8b5", alpha=0.55, lw=0, **label)
    labelled: set[str] = set()
    for truth in one.truth or ():
        name = "may happen (maybe)" if truth.maybe else "truly happens"
        colour = "#c9c9c9" if truth.maybe else "#1b6e3c"
        width_s = max(truth.end_s - truth.start_s, end_s / 500)
        label = {} if name in labelled else {"label": name}
        labelled.add(name)
        axes.broken_barh([(truth.start_s, width_s)], (-0.07, 0.045), color=colour, **label)


def _draw_answers(axes: Axes, one: Tried, rule: Rule) -> None:
    """The score as one line, and the questions beside it where there are several."""
    single = len(one.answers) == 1 and bool(rule.ask)
    if not single:
        for question, values in list(one.answers.items())[:_MOST_QUESTIONS]:
            axes.plot(*_columns(values), lw=0.9, alpha=0.8, label=_plain(question))
    label = _plain(rule.ask) if single else f"rule {rule.name}"
    style = "o-" if len(one.scores) <= _SPARSE else "-"
    axes.plot(*_columns(one.scores), style, color="#1f3a5f", lw=1.5, ms=3, label=label)


def _columns(values: tuple[tuple[float, float], ...]) -> tuple[list[float], list[float]]:
    return [at_s for at_s, _ in values], [value for _, value in values]


def _label(one: Tried, at_s: float, *, by_day: bool) -> str:
    if not by_day:
        return clock(at_s).removesuffix(".0")
    return f"{datetime.fromtimestamp(one.reel.begun + at_s).astimezone():%a %H:%M}"


def _plain(text: str) -> str:
    """Text that matplotlib takes as it is: between two dollar signs it would read a formula."""
    shown = text if len(text) <= 70 else f"{text[:69]}…"
    return shown.replace("$", r"\$")
