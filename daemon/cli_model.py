"""Which commands fetch models, list them, check them and delete them?

Knows arguments and the terminal; files and checksums are `pipelines.smolvlm2.hub`'s.
"""

from __future__ import annotations

import json
import time
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from daemon.cli_memory import told_errors
from pipelines.errors import ModelError
from pipelines.smolvlm2.hub import is_here, pull, remove, size_of, verify
from pipelines.smolvlm2.presets import PRESETS, Preset

model_app = typer.Typer(help="Models: fetch, list, check, delete.")

NAMES_HELP = f"one or more of {', '.join(PRESETS)}"
NamesArgument = Annotated[list[str], typer.Argument(help=NAMES_HELP)]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON, an object a line")]
_TELL_EVERY_S = 1.0


@model_app.command("pull")
def model_pull(names: NamesArgument, *, as_json: JsonOption = False) -> None:
    """Fetch models, so that smolwatch runs them without a network.

    Goes on where an earlier pull ended; checks what is there, and fetches only what is not right.
    """
    with told_errors():
        for name in names:
            preset = _preset(name)
            if as_json:
                _pull_told(name, preset)
            else:
                _pull_shown(name, preset)


@model_app.command("list")
def model_list(*, as_json: JsonOption = False) -> None:
    """List the models that there are, and which of them are here."""
    for name, preset in PRESETS.items():
        place, size = preset.place, size_of(preset.place)
        here = is_here(place)
        told = {
            "model": name,
            "hub_id": preset.hub_id,
            "revision": preset.revision,
            "state": "here" if here else "incomplete" if size else "not here",
            "bytes": size,
            "checksums": place.record.is_file(),
            "directory": str(place.snapshot) if here else None,
        }
        if as_json:
            typer.echo(json.dumps(told))
            continue
        checked = "checksums recorded" if told["checksums"] else ""
        known = f"{name:<13} {preset.revision[:7]}  {told['state']:<10}"
        typer.echo(f"{known} {size / 1e6:>7.0f} MB  {checked}".rstrip())
        if here:
            typer.echo(f"{'':<13} {place.snapshot}")


@model_app.command("verify")
def model_verify(names: NamesArgument, *, as_json: JsonOption = False) -> None:
    """Hold every byte against the checksums of the first pull; exit 1 if one is another."""
    failed = False
    with told_errors():
        for name in names:
            wrong = verify(_preset(name).place)
            failed = failed or bool(wrong)
            if as_json:
                typer.echo(json.dumps({"model": name, "ok": not wrong, "wrong": wrong}))
                continue
            for file, what in wrong.items():
                typer.echo(f"{name}: {file} {what}: smolwatch model pull {name}", err=True)
            if not wrong:
                typer.echo(f"{name}: ok")
    if failed:
        raise typer.Exit(1)


@model_app.command("rm")
def model_rm(names: NamesArgument, *, as_json: JsonOption = False) -> None:
    """Delete models from this machine."""
    with told_errors():
        for name in names:
            place = _preset(name).place
            if not place.repository.is_dir():
                _refuse(f"{name} is not here")
            freed = remove(place)
            if as_json:
                typer.echo(json.dumps({"model": name, "freed_bytes": freed}))
            else:
                typer.echo(f"{name}: {freed / 1e6:.0f} MB are free again")


def _pull_told(name: str, preset: Preset) -> None:
    """A line of JSON a second."""
    told_s = float("-inf")

    def tell(share: float) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= _TELL_EVERY_S:
            told_s = time.monotonic()
            typer.echo(json.dumps({"model": name, "share": round(share, 4)}))

    directory = pull(preset.place, tell)
    typer.echo(json.dumps({"model": name, "share": 1.0, "directory": str(directory)}))


def _pull_shown(name: str, preset: Preset) -> None:
    """A bar on a terminal, nothing of the kind elsewhere."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task(f"{name} ({preset.hub_id})", total=1.0)
        directory = pull(preset.place, lambda share: bars.update(bar, completed=share))
    typer.echo(f"{name}: {size_of(preset.place) / 1e6:.0f} MB in {directory}, checksums right")


def _preset(name: str) -> Preset:
    if name == "bundled":
        _refuse("the bundled model comes with smolwatch: there is nothing to fetch or delete")
    if name not in PRESETS:
        _refuse(f"no model is named {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]


def _refuse(message: str) -> NoReturn:
    raise ModelError(message)
