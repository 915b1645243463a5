"""How does a machine's rate grow with the number of cameras?

Knows rows; draws a PNG with matplotlib, which is optional (`smolwatch[report]`).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from daemon.bench_model import STRIDES_S, BenchError, Loaded
from daemon.bench_rows import MAIN, Measured

MISSING = "the chart needs matplotlib, which is not installed: pip install 'smolwatch[report]'"


def check(path: Path) -> None:
    """Raise `BenchError` for what would fail only after minutes of measuring."""
    if find_spec("matplotlib") is None:
        raise BenchError(MISSING)
    if not path.parent.is_dir():
        raise BenchError(f"{path} cannot be written: there is no folder {path.parent}")


def draw(loaded: Loaded, measured: Sequence[Measured], path: Path) -> None:
    """Write the chart. Raises `BenchError` where the file is unwritable."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - optional, and takes a second

    rows = sorted(
        (m for m in measured if m.scenario.questions == MAIN.questions
         and m.scenario.new_frames == 1),
        key=lambda m: m.scenario.cameras,
    )  # fmt: skip
    cameras = [m.scenario.cameras for m in rows]
    figure = Figure(figsize=(8.0, 4.5), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(cameras, [1e3 / m.window_ms for m in rows], "o-", color="#1b6e3c", label="smolwatch")
    if loaded.naive is not None:
        rate = 1e3 / loaded.naive.call_ms[1]
        axes.axhline(rate, color="#b3261e", ls="--", label="naive, one window after the other")
    for stride_s in STRIDES_S:
        axes.plot(cameras, [n / stride_s for n in cameras], color="#777777", lw=0.8, ls=":")
        axes.annotate(
            f"needed: stride {stride_s:g} s", (cameras[-1], cameras[-1] / stride_s),
            ha="right", va="bottom", fontsize=8, color="#555555",
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_xticks(cameras, [str(n) for n in cameras])
    axes.set_yscale("log")
    axes.set_xlabel("cameras whose windows are due together")
    axes.set_ylabel("windows a second")
    setting = loaded.setting
    axes.set_title(
        f"{setting.model}, {setting.engine} {setting.precision} on {setting.device}, "
        f"{setting.threads} threads: 4 questions, 1 new frame of 8",
        fontsize=10, loc="left",
    )  # fmt: skip
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(fontsize=8, frameon=False)
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise BenchError(f"{path} cannot be written: {error.strerror}") from error
