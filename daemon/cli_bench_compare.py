"""How are models set side by side from the command line?

Knows arguments and the terminal; `daemon.bench_compare` measures.
"""

# ruff: noqa: PLC0415 - the measuring parts are only loaded when there is something to measure

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from daemon.cli_memory import told_errors

if TYPE_CHECKING:
    from daemon.bench_compare import Compared
    from daemon.bench_model import Wanted

DEFAULT_MODELS = ("256m", "smolvlm-256m")


def bench_compare(  # noqa: PLR0917 - a command's options
    models: Annotated[
        list[str] | None, typer.Argument(help="names or directories; left out: 256m smolvlm-256m")
    ] = None,
    engine: Annotated[
        Literal["auto", "torch", "openvino"], typer.Option(help="what runs them")
    ] = "auto",
    precision: Annotated[
        Literal["auto", "f32", "bf16", "int8"], typer.Option(help="of their numbers")
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or Intel's gpu or npu")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; left out: as the daemon takes")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, max=1000, help="looks timed, a kind")] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="most time for a kind")] = 30.0,
    limit_s: Annotated[float, typer.Option(min=1.0, help="most time for a model")] = 900.0,
    *,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="of the models' sizes, with no network")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a model")] = False,
) -> None:
    """Set models side by side: prompt, tokens and time for the same eight frames, and a picture.

    SmolVLM2 reads frames as a video with times; SmolVLM as pictures in a row, not cut into tiles,
    of which eight frames would fill its context.
    """
    from daemon import bench_compare as bench
    from daemon.bench_model import Wanted
    from pipelines.threads import default_threads

    wanted = Wanted(
        random_weights=random_weights, engine=engine, precision=precision, device=device,
        threads=threads or default_threads(), runs=runs, seconds=seconds, limit_s=limit_s,
    )  # fmt: skip
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as `smolwatch bench`
    names = list(dict.fromkeys(models or DEFAULT_MODELS))
    found: dict[str, bench.Compared] = {}
    waiting = Console(stderr=True).status("measuring; the large models take minutes")
    with told_errors(), waiting, contextlib.closing(bench.bench_compare(names, wanted)) as run:
        for name, one in run:
            found[name] = one
            if as_json:
                typer.echo(json.dumps(bench.as_line(name, wanted, one)))
    if not as_json:
        _show(found, wanted)


def _show(found: Mapping[str, Compared], wanted: Wanted) -> None:
    """A column a model."""
    from daemon.bench_compare import rows

    one = next(iter(found.values()))
    weights = ", random weights" if wanted.random_weights else ""
    table = Table(
        title=f"{one.engine} {one.precision} on {one.device}, {one.threads} threads{weights}",
        title_justify="left",
    )
    table.add_column("")
    for name in found:
        table.add_column(name, overflow="fold")
    for what, figures in rows(found.values()):
        table.add_row(what, *figures)
    Console().print(table)
