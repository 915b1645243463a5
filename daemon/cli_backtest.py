"""How is a rule tried from the command line?

Knows arguments, exit codes and the terminal; `daemon.cli_backtest_runs` runs it.
"""

# ruff: noqa: PLC0415 - PyTorch takes seconds to load: only where it is needed

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from daemon.backtest_score import TOLERANCE_S
from daemon.cli_backtest_runs import Wanted, over_files, over_past, say
from daemon.cli_memory import told_errors
from daemon.config import load_config
from daemon.control import client_path
from daemon.moments import moment

if TYPE_CHECKING:
    from daemon.backtest import Result

EXIT_USAGE = 2


def backtest(
    rule: Annotated[str, typer.Argument(help="the rule's name")],
    videos: Annotated[list[Path] | None, typer.Argument(help="recordings, or folders")] = None,
    config: Annotated[Path, typer.Option("-c", "--config", help="the configuration file")] = Path(
        "smolwatch.yaml"
    ),
    truth: Annotated[
        Path | None, typer.Option(help="what really happened: YAML, JSON or CSV")
    ] = None,
    *,
    out: Annotated[
        Path | None, typer.Option(help="a folder for report.html, plots and a draft of --truth")
    ] = None,
    camera: Annotated[
        str | None, typer.Option(help="whose window, gate and mask, for a rule of several cameras")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="seconds by which --truth may be off")
    ] = TOLERANCE_S,
    begins: Annotated[
        str | None, typer.Option(help="when each recording began, for rules with active hours")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="7d, 24h or a time: over what the daemon has stored")
    ] = None,
    socket: Annotated[
        Path | None, typer.Option("--socket", help="the daemon's socket, if not the usual one")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Run a rule over recordings, as the daemon would, and say what it would have told.

    Exit code 1: a recording could not be tried; 2: wrong arguments; 78: wrong configuration.
    """
    from daemon import logs
    from daemon.backtest import subject_of
    from daemon.truth import read_truth

    logs.setup(level="error")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with told_errors():
        loaded = load_config(config, os.environ)
        wanted = Wanted(
            loaded,
            subject_of(loaded, rule, camera),
            read_truth(truth) if truth is not None else None,
            tolerance,
            moment(begins, time.time()) if begins is not None else None,
        )
        if bool(videos) == (since is not None):
            _fail("name recordings, or a folder of them; or --since for the past", EXIT_USAGE)
        if since is not None:
            path = client_path(socket or loaded.control.path, os.environ)
            if truth is not None:
                _fail("--truth is about recordings, not about --since", EXIT_USAGE)
            result, by_day = over_past(wanted, moment(since, time.time()), path)
        else:
            result, by_day = over_files(wanted, videos or []), False
        _show(result, out, as_json=as_json, by_day=by_day)


def _show(result: Result, out: Path | None, *, as_json: bool, by_day: bool) -> None:
    from daemon import backtest_text as text
    from daemon.backtest_report import write_report

    if as_json:
        typer.echo(json.dumps(text.as_json(result), ensure_ascii=False))
    else:
        for line in text.lines(result, by_day=by_day):
            typer.echo(line)
    if out is not None:
        written, lacking = write_report(result, out, by_day=by_day)
        if lacking is not None:
            say(f"{lacking}; the report is written without them")
        for path in written:
            say(f"wrote {path}")
    if result.failures or not result.tried:
        raise typer.Exit(1)


def _fail(message: str, code: int) -> NoReturn:
    say(message)
    raise typer.Exit(code)
