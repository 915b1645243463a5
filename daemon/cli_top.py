"""Which command shows what the daemon does, while it does it?

Knows arguments and the terminal; the running daemon answers over its socket.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.live import Live

from daemon.cli_memory import ConfigOption, SocketOption, socket_path, told_errors
from daemon.control import ControlError, NotRunning, ask
from daemon.moments import seconds
from daemon.top_view import Screen, view, waiting_view

Json = dict[str, Any]

_SHORTEST_S = 0.2


def top(
    every: Annotated[str, typer.Option(help="how often it is read anew")] = "2s",
    *,
    once: Annotated[bool, typer.Option("--once", help="show it once and end")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="a line of JSON each time")] = False,
    config: ConfigOption = None,
    socket: SocketOption = None,
) -> None:
    """Show cameras, windows, latency, blind time, rules and outbox, live; Ctrl+C ends it."""
    with told_errors():
        every_s, path = seconds(every), socket_path(config, socket)
        if every_s < _SHORTEST_S:
            raise ControlError(f"--every is {every}; expected {_SHORTEST_S:g}s or more")
        console = Console()
        if once or not (as_json or console.is_terminal):
            told = _read(path)
            if as_json:
                typer.echo(json.dumps(told, ensure_ascii=False))
            else:
                console.print(view(told, None, Screen(console.width)))
        elif as_json:
            for answer in _answers(path, every_s):
                if isinstance(answer, NotRunning):
                    typer.echo(f"smolwatch: waiting: {answer}", err=True)
                else:
                    typer.echo(json.dumps(answer, ensure_ascii=False))
        else:
            _show(console, path, every_s)


def _show(console: Console, path: Path, every_s: float) -> None:
    """Live, until somebody has seen enough."""
    before: Json | None = None
    last: RenderableType | None = None
    with Live(console=console, screen=True, auto_refresh=False) as live:
        for answer in _answers(path, every_s):
            if isinstance(answer, NotRunning):
                before = None
                live.update(waiting_view(str(answer), last), refresh=True)
                continue
            last = view(answer, before, Screen(console.width, console.height))
            before = answer
            live.update(last, refresh=True)


def _answers(path: Path, every_s: float) -> Iterator[Json | NotRunning]:
    """One after the other, over restarts of the daemon: then, once, why there is none."""
    gone = False
    while True:
        try:
            yield _read(path)
            gone = False
        except NotRunning as error:
            if not gone:
                yield error
            gone = True
        time.sleep(every_s)


def _read(path: Path) -> Json:
    for told in ask(path, {"op": "top"}):
        return told
    raise ControlError("the daemon gave no answer; is it older than this command?")
