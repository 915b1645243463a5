"""Which commands are about the broker?

Knows arguments and the terminal; the running daemon answers over its socket.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from daemon.cli_memory import ConfigOption, SocketOption, socket_path, told_errors
from daemon.control import ask
from daemon.letters import letter_line

mqtt_app = typer.Typer(help="The broker, and what it does with our messages.")


@mqtt_app.callback()
def _group() -> None:
    """So that a single command keeps its name."""


@mqtt_app.command("dead-letters")
def dead_letters(
    *,
    retry: Annotated[bool, typer.Option("--retry", help="send all of them once more")] = False,
    drop: Annotated[bool, typer.Option("--drop", help="delete all of them")] = False,
    config: ConfigOption = None,
    socket: SocketOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
) -> None:
    """List the messages that the broker refused, and why; retry or drop them.

    Alerts are tried again by themselves, ever more slowly, where that may help.
    """
    if retry and drop:
        raise typer.BadParameter("--retry or --drop, not both")
    with told_errors():
        request = {"op": "dead-letters", "do": "retry" if retry else "drop" if drop else "list"}
        told = list(ask(socket_path(config, socket), request))
    for one in told:
        if as_json:
            typer.echo(json.dumps(one.get("letter", one), ensure_ascii=False))
        elif "letter" in one:
            typer.echo(letter_line(one["letter"]))
        else:
            typer.echo("".join(f"{count} {what}" for what, count in one.items()))
    if not told and not as_json:
        typer.echo("nothing was refused")
