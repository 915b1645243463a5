"""Which commands are about the broker?

Knows arguments and the terminal; the running daemon answers over its socket.
"""

from __future__ import annotations

# ruff: noqa: PLC0415 - paho and what belongs to it only where a broker is asked
import json
import os
import socket
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli_memory import ConfigOption, SocketOption, socket_path, told_errors
from daemon.config import ConfigError, load_config
from daemon.control import ask
from daemon.findings import finding_json, finding_line
from daemon.letters import letter_line

mqtt_app = typer.Typer(help="The broker, and what it does with our messages.")


@mqtt_app.command("check")
def check(
    config: Annotated[Path, typer.Option("-c", "--config", help="the configuration file")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
) -> None:
    """Connect as the daemon would; say what works, what does not, and what to do about it.

    Exit code 1 if something does not work, 78 if the configuration is wrong.
    """
    from daemon.mqtt.check import Wanted, check_broker
    from pipelines.clock import SystemClock

    try:
        mqtt = load_config(config, os.environ).mqtt
    except ConfigError as error:
        typer.echo(f"smolwatch: {error}", err=True)
        raise typer.Exit(78) from error
    if mqtt is None or mqtt.embedded:
        typer.echo("smolwatch: the configuration names no broker to check", err=True)
        raise typer.Exit(78)
    wanted = Wanted(mqtt.commands, mqtt.discovery_prefix if mqtt.discovery else None)
    failed = False
    for found in check_broker(mqtt.options(socket.gethostname()), wanted, SystemClock()):
        typer.echo(finding_json(found) if as_json else finding_line(found))
        failed = failed or found.level == "fail"
    raise typer.Exit(1 if failed else 0)


@mqtt_app.command("dead-letters")
def dead_letters(
    *,
    retry: Annotated[bool, typer.Option("--retry", help="send all of them once more")] = False,
    drop: Annotated[bool, typer.Option("--drop", help="delete all of them")] = False,
    config: ConfigOption = None,
    socket_: SocketOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
) -> None:
    """List the messages that the broker refused, and why; retry or drop them.

    Alerts are tried again by themselves, ever more slowly, where that may help.
    """
    if retry and drop:
        raise typer.BadParameter("--retry or --drop, not both")
    with told_errors():
        request = {"op": "dead-letters", "do": "retry" if retry else "drop" if drop else "list"}
        told = list(ask(socket_path(config, socket_), request))
    for one in told:
        if as_json:
            typer.echo(json.dumps(one.get("letter", one), ensure_ascii=False))
        elif "letter" in one:
            typer.echo(letter_line(one["letter"]))
        else:
            typer.echo("".join(f"{count} {what}" for what, count in one.items()))
    if not told and not as_json:
        typer.echo("nothing was refused")
