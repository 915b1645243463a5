"""How does a drawn camera become a recording to try rules on?

Knows arguments and the terminal; `pipelines.scenes.film` draws.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from daemon.config import Config, ConfigError, load_config
from daemon.truth import json_key
from pipelines.errors import SourceError
from pipelines.scenes.address import SceneAddress, parse_scene
from pipelines.scenes.film import film, shown


def scene_record(
    url: Annotated[str, typer.Argument(help="scene://porch?seed=7")],
    out: Annotated[Path, typer.Option(help="the MP4 file to write")],
    seconds: Annotated[int, typer.Option(min=8, max=86_400, help="how long")] = 120,
    truth: Annotated[
        Path | None, typer.Option(help="a file for what happens, for `backtest --truth`")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="whose rules' questions --truth is about")
    ] = None,
) -> None:
    """Record a drawn camera, and write down what happens in the recording."""
    if (truth is None) != (config is None):
        _fail("--truth is about a configuration's rules: give both --truth and -c", 2)
    try:
        scene = parse_scene(url)
        loaded = load_config(config, os.environ) if config is not None else None
    except SourceError as error:
        _fail(str(error), 2)
    except ConfigError as error:
        _fail(str(error), 78)
    total = round(seconds * scene.fps)
    steps = film(scene, seconds, out)
    try:
        for _ in track(steps, "drawing", total=total, console=Console(stderr=True), transient=True):
            pass
        if truth is not None and loaded is not None:
            truth.write_text(_truth(loaded, scene, seconds, out.name), encoding="utf-8")
    except OSError as error:
        _fail(f"{error.filename or out} cannot be written: {error.strerror}", 1)


def _truth(config: Config, scene: SceneAddress, seconds: float, name: str) -> str:
    """What happens that the rules of one question ask about."""
    rows = []
    for rule in config.rules:
        made = config.rules[rule].made(rule)
        camera = config.cameras[config.rules[rule].cameras[0]]
        try:
            spans = shown(scene, made.ask, camera.plan(), seconds, made.debounce.needed)
        except KeyError:
            continue  # a rule of several questions, or of one that the scenes know nothing of
        rows += [
            f"  - {{start_s: {span.start_s:g}, end_s: {span.end_s:g}, rule: {rule}"
            f"{', maybe: true' if span.maybe else ''}}}"
            for span in spans
        ]
    return "\n".join([f"{json_key(name)}:" + ("" if rows else " []"), *rows]) + "\n"


def _fail(message: str, code: int) -> None:
    typer.echo(f"smolwatch: {message}", err=True)
    raise typer.Exit(code)
