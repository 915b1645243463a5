"""Which commands ask the running daemon what it remembers?

Knows arguments and the terminal. They never open the store: the daemon answers over its socket.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from daemon.config import load_config
from daemon.control import ask, client_path
from daemon.moments import moment
from daemon.store_queries import EVENTS_LIMIT
from daemon.telling import csv_line, event_line, why_lines
from pipelines.errors import SmolwatchError

POLL_S = 1.0  # between looks for newer events, with --follow

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


def events(
    camera: CameraOption = None,
    rule: RuleOption = None,
    search: Annotated[str | None, typer.Option(help="words that the description holds")] = None,
    since: Annotated[str | None, typer.Option(help="7d, 24h or a time")] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=EVENTS_LIMIT, help="the newest ones")] = 100,
    config: ConfigOption = None,
    socket: SocketOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on with new ones")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="comma-separated, with a header")] = False,
) -> None:
    """List events, oldest first; search them, follow them, or export them."""
    with told_errors():
        path = socket_path(config, socket)
        request: dict[str, Any] = {
            "op": "events", "camera": camera, "rule": rule, "search": search, "limit": limit,
            "since": None if since is None else moment(since, time.time()),
        }  # fmt: skip
        show: Callable[[Any], str] = json.dumps if as_json else csv_line if as_csv else event_line
        if as_csv:
            typer.echo(csv_line(None))
        for told in _followed(path, request) if follow else ask(path, request):
            typer.echo(show(told["event"]))


def _followed(path: Path, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What there is, then what comes, until the reader has had enough."""
    while True:
        for told in ask(path, request):
            request["after"] = told["number"]
            yield told
        request["limit"] = EVENTS_LIMIT
        time.sleep(POLL_S)


@contextmanager
def told_errors() -> Iterator[None]:
    """Errors that are meant for people end the command with code 1, Ctrl+C ends it quietly."""
    try:
        yield
    except SmolwatchError as error:
        typer.echo(f"smolwatch: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def socket_path(config: Path | None, socket: Path | None) -> Path:
    """The socket that is named, or that the configuration names, or the usual one."""
    if socket is None and config is not None:
        socket = load_config(config, os.environ).control.path
    return client_path(socket, os.environ)
