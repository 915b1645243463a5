"""How does a person ask the running daemon about what a camera saw just now?

Knows arguments and the terminal; the daemon answers over its socket.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from daemon.cli_memory import ConfigOption, SocketOption, socket_path, told_errors
from daemon.control import ControlError
from daemon.control import ask as ask_daemon
from daemon.moments import seconds


def ask(
    camera: Annotated[str, typer.Argument(help="the camera's name")],
    question: Annotated[
        str | None, typer.Argument(help="left out: what happens in its newest window")
    ] = None,
    *,
    last: Annotated[
        str | None, typer.Option(help="how far back: 20s, 1m; left out: as a window")
    ] = None,
    wait: Annotated[str, typer.Option(help="the longest time for an answer")] = "60s",
    snapshot: Annotated[
        Path | None, typer.Option(help="write the newest frame of those, as JPEG")
    ] = None,
    config: ConfigOption = None,
    socket: SocketOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="one line of JSON")] = False,
) -> None:
    """Ask the running daemon a question about a camera's last seconds.

    With a question that yes or no answers, p_yes is told too.
    """
    with told_errors():
        last_s = None if last is None else seconds(last)
        request = {
            "op": "ask", "camera": camera, "question": question,
            "last": last_s, "patience": seconds(wait),
            "snapshot": snapshot is not None,
        }  # fmt: skip
        answer = _answer(socket_path(config, socket), request)
        jpeg = answer.pop("snapshot", None)
        typer.echo(json.dumps(answer, ensure_ascii=False) if as_json else _line(answer))
        if last_s is not None and answer["seconds"] < 0.8 * last_s:
            typer.echo(f"(no more than {answer['seconds']:g} s are kept)", err=True)
        if snapshot is not None and jpeg is not None:
            _write(snapshot, base64.b64decode(jpeg))


def _answer(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    """The answer; what it waits for is shown meanwhile, where somebody looks."""
    with Console(stderr=True).status("asking ...") as status:
        for told in ask_daemon(path, request):
            if "answer" in told:
                found: dict[str, Any] = told["answer"]
                return found
            status.update(f"{request['camera']}: {told['waiting']} ...")
    raise ControlError("the daemon gave no answer; is it older than this command?")


def _line(answer: Mapping[str, Any]) -> str:
    newest = datetime.fromisoformat(answer["ts"]).astimezone()
    p_yes = "" if answer["p_yes"] is None else f"  (p_yes {answer['p_yes']:.2f})"
    return (
        f"{answer['text']}{p_yes}\n{answer['camera']}, {answer['seconds']:g} s to "
        f"{newest:%H:%M:%S}, {answer['frames']} frames; {answer['latency_ms']['total']} ms"
    )


def _write(path: Path, jpeg: bytes) -> None:
    try:
        path.write_bytes(jpeg)
    except OSError as error:
        raise ControlError(f"{path} cannot be written: {error.strerror or error}") from error
