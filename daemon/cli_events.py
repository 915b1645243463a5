"""Which command lists, searches, follows and exports what happened?

Knows arguments and the terminal; the running daemon answers over its socket.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from daemon.cli_memory import (
    CameraOption,
    ConfigOption,
    RuleOption,
    SocketOption,
    socket_path,
    told_errors,
)
from daemon.control import ControlError, NotRunning, ask
from daemon.moments import moment
from daemon.mqtt.payloads import iso_utc
from daemon.store_events import EVENTS_LIMIT
from daemon.telling import (
    EVENT_COLUMNS,
    INCIDENT_COLUMNS,
    csv_line,
    event_line,
    incident_line,
)

Json = dict[str, Any]

POLL_S = 1.0  # between looks for newer events, with --follow


def events(
    camera: CameraOption = None,
    rule: RuleOption = None,
    search: Annotated[str | None, typer.Option(help="words that the description holds")] = None,
    severity: Annotated[str | None, typer.Option(help="info, warning or alert, or worse")] = None,
    since: Annotated[str | None, typer.Option(help="7d, 24h or a time")] = None,
    until: Annotated[str | None, typer.Option(help="2h (ago) or a time")] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=EVENTS_LIMIT, help="the newest ones")] = 100,
    config: ConfigOption = None,
    socket: SocketOption = None,
    incidents: Annotated[
        bool, typer.Option("--incidents", help="what opened and closed, with how long it lasted")
    ] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on with new ones")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="comma-separated, with a header")] = False,
) -> None:
    """List events, oldest first; search them, follow them, or export them."""
    now = time.time()
    with told_errors():
        if as_json and as_csv:
            raise ControlError("--json and --csv are two ways of writing it: choose one")
        if follow and (incidents or until is not None):
            raise ControlError("--follow goes on with new events: leave --incidents, --until out")
        path = socket_path(config, socket)
        request: Json = {
            "op": "events", "camera": camera, "rule": rule, "search": search, "limit": limit,
            "severity": severity, "incidents": incidents,
            "since": None if since is None else moment(since, now),
            "until": None if until is None else moment(until, now),
        }  # fmt: skip
        columns = INCIDENT_COLUMNS if incidents else EVENT_COLUMNS
        person: Callable[[Json], str] = incident_line if incidents else event_line
        in_json = partial(json.dumps, ensure_ascii=False)
        show = in_json if as_json else partial(csv_line, columns) if as_csv else person
        if as_csv:
            typer.echo(csv_line(columns, None))
        count = 0
        for told in _followed(path, request) if follow else ask(path, request):
            count += 1
            typer.echo(show(_incident(told["incident"], show) if incidents else told["event"]))
        _remark(count, limit)


def _incident(incident: Json, show: object) -> Json:
    """With how long it lasted; times in words, but for a person's line, which are local."""
    closed, opened = incident["closed"], incident["opened"]
    lasted = None if closed is None else round(max(0.0, closed - opened), 1)
    if show is incident_line:
        return incident | {"duration_s": lasted}
    ended = None if closed is None else iso_utc(closed)
    return incident | {"opened": iso_utc(opened), "closed": ended, "duration_s": lasted}


def _remark(count: int, limit: int) -> None:
    if count == limit and limit < EVENTS_LIMIT:
        typer.echo(f"(the newest {limit}; more with --limit)", err=True)
    elif not count:
        typer.echo("(there are none)", err=True)


def _followed(path: Path, request: Json) -> Iterator[Json]:
    """What there is, then what comes, until the reader has had enough; over restarts, too."""
    is_known = False
    gone = False
    while True:
        try:
            for told in ask(path, request):
                request["after"] = told["number"]
                yield told
            is_known, gone = True, False
            request["limit"] = EVENTS_LIMIT
        except NotRunning as error:
            if not is_known:
                raise
            if not gone:
                typer.echo(f"smolwatch: {error}; waiting for it", err=True)
            gone = True
        time.sleep(POLL_S)
