"""Which command has the running daemon take up its changed configuration?

Knows arguments and the terminal; the daemon reads its own file (`daemon.reloading`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from daemon.cli_memory import ConfigOption, SocketOption, socket_path, told_errors
from daemon.control import ask


def reload(
    config: ConfigOption = None,
    socket: SocketOption = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="one line of JSON")] = False,
) -> None:
    """Have the daemon read its configuration again; cameras that did not change run on.

    Where something is wrong with it, the daemon goes on as before, and this tells why.
    """
    with told_errors():
        for told in ask(socket_path(config, socket), {"op": "reload"}):
            found = told["reload"]
            for line in [json.dumps(found)] if as_json else lines(found):
                typer.echo(line)


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """What is done, as a person reads it."""
    cameras = found["cameras"]
    changes = [
        *(f"camera {name}: {what}" for what, names in cameras.items() for name in names),
        *(
            f"{camera}: rules changed: {', '.join(rules)}"
            for camera, rules in found["rules"].items()
        ),
    ]
    if found["model"]:
        changes.append("the model is loaded anew")
    if found["link"]:
        changes.append("the broker is connected to anew")
    if not (changes or found["needs_restart"]):
        changes.append("done" if found["changed"] else "nothing has changed")
    yield from changes
    for key in found["needs_restart"]:
        yield f"{key}: holds from the next start on: systemctl restart smolwatch"
