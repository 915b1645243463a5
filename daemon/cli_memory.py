"""Which command asks the running daemon about a moment, and what do such commands share?

Knows arguments and the terminal. They never open the store: the daemon answers over its socket.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from daemon.config import ConfigError, load_config
from daemon.control import ask, client_path
from daemon.moments import moment
from daemon.telling import why_lines
from pipelines.errors import SmolwatchError

EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h: systemd does not restart on it

SocketOption = Annotated[
    Path | None, typer.Option("--socket", help="the daemon's socket, where it is not the usual one")
]
ConfigOption = Annotated[
    Path | None, typer.Option("-c", "--config", help="the daemon's configuration names its socket")
]
CameraOption = Annotated[str | None, typer.Option(help="only of this camera")]
RuleOption = Annotated[str | None, typer.Option(help="only of this rule")]


def why(
    camera: Annotated[str, typer.Argument(help="the camera's name")],
    at: Annotated[str, typer.Option(help="14:02, 2026-11-22 14:02:30, or 5m (ago)")],
    rule: RuleOption = None,
    config: ConfigOption = None,
    socket: SocketOption = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="as it is stored")] = False,
) -> None:
    """Say what was asked at a moment, what came out, and what held a rule back."""
    with told_errors():
        request = {"op": "why", "camera": camera, "rule": rule, "at": moment(at, time.time())}
        for told in ask(socket_path(config, socket), request):
            for line in [json.dumps(told)] if as_json else why_lines(told, rule):
                typer.echo(line)


@contextmanager
def told_errors() -> Iterator[None]:
    """Errors that are meant for people end the command, Ctrl+C ends it quietly.

    Exit code 78 for the configuration's errors, else 1.
    """
    try:
        yield
    except SmolwatchError as error:
        typer.echo(f"smolwatch: {error}", err=True)
        raise typer.Exit(EXIT_CONFIG if isinstance(error, ConfigError) else 1) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def socket_path(config: Path | None, socket: Path | None) -> Path:
    """The socket that is named, or that the configuration names, or the usual one."""
    if socket is None and config is not None:
        socket = load_config(config, os.environ).control.path
    return client_path(socket, os.environ)
