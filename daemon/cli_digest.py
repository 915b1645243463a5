"""Which command tells what happened in an hour or a day?

Knows arguments and the terminal; the running daemon makes the digest (`daemon.digest_desk`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any

import typer

from daemon.cli_memory import ConfigOption, SocketOption, socket_path, told_errors
from daemon.control import ask
from daemon.moments import moment
from daemon.mqtt.payloads import counts_in_words
from daemon.telling import long


def digest(
    camera: Annotated[str, typer.Argument(help="the camera's name")],
    since: Annotated[
        str | None,
        typer.Option(help="24h, or a time; left out: the newest that was made on schedule"),
    ] = None,
    until: Annotated[str | None, typer.Option(help="2h (ago) or a time; left out: now")] = None,
    config: ConfigOption = None,
    socket: SocketOption = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="as it is published")] = False,
) -> None:
    """Tell what happened at a camera: the model's words, and counts of what is stored."""
    now = time.time()
    with told_errors():
        request = {
            "op": "digest",
            "camera": camera,
            "since": None if since is None else moment(since, now),
            "until": None if until is None else moment(until, now),
        }
        for told in ask(socket_path(config, socket), request):
            if "digest" in told:
                found = told["digest"]
                for line in [json.dumps(found, ensure_ascii=False)] if as_json else lines(found):
                    typer.echo(line)


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """A digest as a person reads it."""
    since, until = (_local(found[key]) for key in ("since", "until"))
    yield f"{found['camera']}, {since} to {until}"
    blind = f"; nobody looked for {long(found['blind_s'])}" if found["blind_s"] >= 1 else ""
    described = f"{found['descriptions']} description{'' if found['descriptions'] == 1 else 's'}"
    yield f"{counts_in_words(found['incidents'])}; {described}{blind}"
    if found["text_by"] == "listing" and found["descriptions"]:
        yield "What was described (this model writes no summaries, or wrote none of use):"
    yield str(found["text"])


def _local(iso: str) -> str:
    return f"{datetime.fromisoformat(iso).astimezone():%Y-%m-%d %H:%M}"
