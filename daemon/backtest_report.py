"""What is in the folder of a backtest's report?

Knows files; pages, plots and drafts are made elsewhere.
"""

from __future__ import annotations

from pathlib import Path

from daemon.backtest import BacktestError, Result
from daemon.backtest_page import page
from daemon.backtest_plot import plot
from daemon.truth import draft
from pipelines.errors import SmolwatchError


def write_report(result: Result, out: Path, *, by_day: bool) -> tuple[list[Path], str | None]:
    """Write it all; what was written, and why there are no plots where none could be made.

    `by_day`: times are of the day, not of recordings. Raises `SmolwatchError` where the folder
    cannot be written.
    """
    plots, lacking = _plots(result, by_day=by_day)
    found = {
        one.reel.name: [(i.evidence_s, i.until_s(one.reel.length_s)) for i in one.incidents]
        for one in result.tried
    }
    contents: dict[str, bytes] = {
        f"p_yes-{n}.png": png for n, png in enumerate(plots, start=1) if png is not None
    }
    contents["truth-draft.yaml"] = draft(found, result.subject.rule.name).encode()
    contents["report.html"] = page(result, plots, by_day=by_day).encode()
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (out / name).write_bytes(content)
    except OSError as error:
        raise SmolwatchError(f"{out}: the report cannot be written: {error.strerror}") from error
    return [out / name for name in contents], lacking


def _plots(result: Result, *, by_day: bool) -> tuple[list[bytes | None], str | None]:
    """A plot each, or none at all and why."""
    try:
        return [plot(one, result.subject.rule, by_day=by_day) for one in result.tried], None
    except BacktestError as error:
        return [None] * len(result.tried), str(error)
