"""Which measurements can be made on this machine?

Knows arguments and the terminal; `daemon.bench_model` and `daemon.bench_capture` measure.
"""

from __future__ import annotations

import contextlib
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from pipelines.errors import SmolwatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daemon.bench_model import Limits, Loaded, Told, Wanted
    from daemon.bench_rows import Measured, Setting

bench_app = typer.Typer(help="Measure the model on this machine, or (`capture`) the cameras' cost.")


@bench_app.callback(invoke_without_command=True)
def bench(  # noqa: PLR0917 - a command's options
    context: typer.Context,
    model: Annotated[
        str, typer.Option(help="bundled, 256m, 500m, 2.2b, smolvlm-256m... or a directory")
    ] = "bundled",
    engine: Annotated[
        Literal["auto", "torch", "openvino"], typer.Option(help="what runs it")
    ] = "auto",
    precision: Annotated[
        Literal["auto", "f32", "bf16", "int8"], typer.Option(help="of its numbers")
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or Intel's gpu or npu")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; left out: as the daemon takes")
    ] = None,
    cameras: Annotated[int, typer.Option(min=1, max=1024, help="up to so many at once")] = 1,
    runs: Annotated[int, typer.Option(min=1, max=1000, help="windows timed, a scenario")] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="most time for a scenario")] = 30.0,
    limit_s: Annotated[float, typer.Option(min=1.0, help="most time for a process")] = 900.0,
    chart: Annotated[Path | None, typer.Option(help="a PNG of windows/s over cameras")] = None,
    *,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="of the model's size, with no network")
    ] = False,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="run transformers' `generate` beside it")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
) -> None:
    """Time windows of eight frames: questions, words, cameras; against transformers alone."""
    if context.invoked_subcommand is not None:
        return
    from daemon import bench_model as bench  # noqa: PLC0415
    from pipelines.threads import default_threads  # noqa: PLC0415

    wanted = bench.Wanted(
        model=model, random_weights=random_weights, engine=engine, precision=precision,
        device=device, threads=threads or default_threads(), cameras=cameras, baseline=baseline,
        runs=runs, seconds=seconds, limit_s=limit_s,
    )  # fmt: skip
    # As Ctrl+C: what runs must end with this process, the scratch checkpoint with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if chart is not None:
            from daemon import bench_chart  # noqa: PLC0415

            bench_chart.check(chart)
        _run(wanted, chart, as_json=as_json)
    except SmolwatchError as error:
        _fail(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _fail(message: object) -> NoReturn:
    typer.echo(f"smolwatch: {message}", err=True)
    raise typer.Exit(1)


def _run(wanted: Wanted, chart: Path | None, *, as_json: bool) -> None:
    """Measure; tell every line as soon as it is known, or a table at the end."""
    from daemon import bench_chart, bench_model  # noqa: PLC0415
    from daemon.bench_rows import Measured  # noqa: PLC0415

    loaded: Loaded | None = None
    told: list[Told] = []
    waiting = Console(stderr=True).status("measuring; the large models take minutes")
    with waiting, contextlib.closing(bench_model.bench_model(wanted)) as run:
        for one in run:
            loaded = one if isinstance(one, bench_model.Loaded) else loaded
            assert loaded is not None  # noqa: S101 - it comes first
            told.append(one)
            if as_json:
                typer.echo(json.dumps(bench_model.as_line(one, loaded)))
    assert loaded is not None  # noqa: S101
    measured = [one for one in told if isinstance(one, Measured)]
    if chart is not None:
        bench_chart.draw(loaded, measured, chart)
    if not as_json:
        limits = next(one for one in told if isinstance(one, bench_model.Limits))
        _show(loaded, measured, limits)


def _show(loaded: Loaded, measured: Sequence[Measured], limits: Limits) -> None:
    """The figures for people."""
    from daemon.bench_rows import row  # noqa: PLC0415

    console = Console()
    setting = loaded.setting
    title = (
        f"{setting.model}, {setting.engine} {setting.precision} on {setting.device}, "
        f"{setting.threads} threads; milliseconds a window of 8 frames"
    )
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    compared = () if loaded.naive is None else ("naive", "ratio")
    for name in ("window", "encode", "prompt", "words", *compared):
        table.add_column(name, justify="right", no_wrap=True)
    rows = [row(setting, one, loaded.naive) for one in measured]
    for line in rows:
        times = [line[key] for key in ("window_ms", "encode_ms", "prefill_ms", "decode_ms")]
        naive = [] if loaded.naive is None else [f"{line['naive_ms']:.0f}", f"{line['ratio']:.1f}x"]
        table.add_row(line["scenario"], *map(_ms, times), *naive)
    console.print(table)
    rates = ", ".join(f"{k} {rate:.0f}" for k, rate in limits.roofline.product_gflops.items())
    console.print(
        f"matrix products: {rates or 'no'} GFLOP/s measured; achieved: frames "
        f"{_share(limits, setting, 'encode')}, prompt {_share(limits, setting, 'prefill')}"
    )
    console.print(
        f"memory: {rows[-1]['peak_rss_mb']} MB at most, {loaded.imports_mb} MB of them before the "
        f"model; loaded in {loaded.load_s:.1f} s"
    )
    for one in limits.capacities:
        console.print(
            f"cameras at stride {one.stride_s:g} s: {one.on_stride} on time, {one.blind_0} with 0% "
            f"blind time, {one.blind_5} with 5%"
        )


def _ms(spent: float) -> str:
    """No digits that mean nothing: the table fits 80 columns, the ratio's among them."""
    return f"{spent:.0f}" if spent >= 100 else f"{spent:.1f}"


def _share(limits: Limits, setting: Setting, stage: str) -> str:
    roofline = limits.roofline.line(setting.precision)["roofline"]
    rate, share = f"{roofline[f'{stage}_gflops']:.0f}", roofline[f"{stage}_share"]
    if share is not None:
        return f"{rate} ({share:.0%})"
    if setting.precision in roofline["product_gflops"]:
        return f"{rate} (more than the products, which other work held up)"
    return rate


@bench_app.command("capture")
def bench_capture(
    seconds: Annotated[int, typer.Option(min=4, max=600, help="length of the drawn video")] = 20,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="one line of JSON")] = False,
) -> None:
    """Measure what watching a camera costs, against reading every frame with OpenCV."""
    from daemon import bench_capture as bench  # noqa: PLC0415
    from daemon import logs  # noqa: PLC0415

    logs.setup(level="warning")
    costs = []
    if not as_json:
        typer.echo(f"{'camera':<9}{'reads':<11}{'CPU s per hour':>15}{'of OpenCV':>11}")
    for cost in bench.bench_capture(seconds):
        costs.append(cost)
        if not as_json:
            figures = f"{cost.cpu_s_per_hour:>15.0f}{cost.of_opencv:>11.2f}"
            typer.echo(f"{cost.camera:<9}{cost.reader:<11}{figures}")
    if as_json:
        typer.echo(json.dumps(bench.as_json(costs)))
