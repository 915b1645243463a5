"""`smolwatch log-level`: which arguments has it?

Knows arguments and the terminal; the running daemon answers over its socket.
"""

from __future__ import annotations

from typing import Annotated

import typer

from daemon.cli_memory import ConfigOption, SocketOption, socket_path, told_errors
from daemon.control import ask
from daemon.log_levels import LEVELS, PARTS


def log_level(
    part: Annotated[str | None, typer.Argument(help=f"all, {', '.join(PARTS)}")] = None,
    level: Annotated[str | None, typer.Argument(help=", ".join(LEVELS))] = None,
    config: ConfigOption = None,
    socket: SocketOption = None,
) -> None:
    """Have the running daemon say more or less of a part, until it restarts or reloads.

    Without arguments: what each part says now.
    """
    if part is not None and level is None:
        raise typer.BadParameter(f"and which level? One of {', '.join(LEVELS)}")
    with told_errors():
        request = {"op": "log-level", "part": part, "level": level}
        for told in ask(socket_path(config, socket), request):
            for name, said in told["levels"].items():
                typer.echo(f"{name:<10} {said}")
