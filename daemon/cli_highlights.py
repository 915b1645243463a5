"""Which command makes a film of a camera's alerts?

Knows arguments and the terminal. The running daemon says which clips there are; the film is made
here, of the files themselves.
"""

# ruff: noqa: PLC0415 - PyAV and OpenCV are imported where they are needed: they take their time

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli_memory import ConfigOption, SocketOption, socket_path, told_errors
from daemon.control import ControlError, ask
from daemon.moments import moment, seconds
from daemon.telling import long

if TYPE_CHECKING:
    from pipelines.film import Clip
    from pipelines.highlights import Moment


def highlights(
    camera: Annotated[str, typer.Argument(help="the camera's name")],
    out: Annotated[Path, typer.Option(help="the MP4 file to write")],
    since: Annotated[str, typer.Option(help="7d, 24h or a time")] = "24h",
    until: Annotated[str | None, typer.Option(help="2h (ago) or a time; left out: now")] = None,
    *,
    most: Annotated[str, typer.Option("--max", help="how long it may be: 90s, 5m")] = "5m",
    config: ConfigOption = None,
    socket: SocketOption = None,
) -> None:
    """Join the clips of a camera's alerts to one film, with captions and chapters."""
    from pipelines.film import GAP_S, Scene, write_film
    from pipelines.highlights import chosen

    now = time.time()
    with told_errors():
        if out.suffix.lower() != ".mp4":
            raise ControlError(f"{out}: a film is an MP4; call it {out.with_suffix('.mp4').name}")
        most_s = seconds(most)
        request = {
            "op": "highlights",
            "camera": camera,
            "since": moment(since, now),
            "until": None if until is None else moment(until, now),
        }
        told = list(ask(socket_path(config, socket), request))
        missing = [line for one in told for line in one.get("missing", ())]
        clips: dict[str, Clip] = {}
        moments = _moments([one["clip"] for one in told if "clip" in one], clips)
        kept = chosen(moments, most_s, GAP_S)
        for line in missing:
            typer.echo(f"note: {line}", err=True)
        if not kept:
            raise ControlError("there are no clips to make a film of")
        scenes = [Scene(clips[one.clip], *_words(one)) for one in kept]
        try:
            as_is = write_film(scenes, out)
        except OSError as error:
            raise ControlError(f"{out} cannot be written: {error.strerror}") from error
        total_s = sum(one.duration_s for one in kept) + GAP_S * (len(kept) - 1)
        how = "as they are" if as_is else "encoded anew, since they differ or are not H.264"
        typer.echo(f"{out}: {len(kept)} of {len(moments)} moments, {long(total_s)}; clips {how}")


def _moments(told: list[dict[str, Any]], clips: dict[str, Clip]) -> list[Moment]:
    """Those whose files can be read; `clips` gets them."""
    from pipelines.film import FilmError, read_clip
    from pipelines.highlights import Moment, joined

    moments = []
    for one in told:
        path = str(one["path"])
        try:
            clips[path] = read_clip(Path(path))
        except FilmError as error:
            typer.echo(f"note: {error}", err=True)
            continue
        except PermissionError:
            raise ControlError(
                f"{path} cannot be read by this user: run the command as the user that smolwatch "
                "runs as (sudo -u smolwatch), or let your group read media.dir"
            ) from None
        except OSError as error:
            typer.echo(f"note: {path}: {error.strerror}", err=True)
            continue
        at = datetime.fromisoformat(one["ts"]).timestamp()
        moments.append(
            Moment(
                path, at, (one["rule"],), one["severity"], one["score"], one["words"],
                clips[path].duration_s,
            )
        )  # fmt: skip
    return joined(moments)


def _words(one: Moment) -> tuple[str, str]:
    """The chapter's title and the caption: when, which rules, and what the model said."""
    local = datetime.fromtimestamp(one.at).astimezone()
    rules = ", ".join(one.rules)
    caption = f"{local:%Y-%m-%d %H:%M:%S}  {one.severity}: {rules}"
    return f"{local:%H:%M} {rules}", caption if one.words is None else f"{caption}\n{one.words}"
