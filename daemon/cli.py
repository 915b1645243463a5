"""Which commands are there?

Knows arguments, exit codes and the terminal; the work is done elsewhere. Heavy imports (PyTorch
takes seconds) happen in the commands that need them.
"""

# ruff: noqa: PLC0415 - see above

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from daemon import __version__
from daemon.cli_ask import ask as ask_back
from daemon.cli_backtest import backtest
from daemon.cli_bench import bench_app
from daemon.cli_bench_compare import bench_compare
from daemon.cli_bench_mqtt import bench_mqtt
from daemon.cli_digest import digest
from daemon.cli_doctor import doctor
from daemon.cli_events import events
from daemon.cli_files import files
from daemon.cli_highlights import highlights
from daemon.cli_install import install_service, uninstall_service
from daemon.cli_log_level import log_level
from daemon.cli_memory import EXIT_CONFIG, why
from daemon.cli_model import model_app
from daemon.cli_mqtt import mqtt_app
from daemon.cli_reload import reload
from daemon.cli_scene import scene_record
from daemon.cli_selftest import selftest
from daemon.cli_top import top
from daemon.config import Config, ConfigError, load_config
from pipelines.errors import SmolwatchError
from pipelines.threads import spin_shortly

if TYPE_CHECKING:
    from pipelines.footage import Span

app = typer.Typer(
    name="smolwatch",
    help="Watches cameras with a small video-language model, on this machine, and tells MQTT.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
scene_app = typer.Typer(help="Procedural scenes: cameras that need no hardware.")
app.add_typer(scene_app, name="scene", no_args_is_help=True)
app.add_typer(mqtt_app, name="mqtt", no_args_is_help=True)
app.add_typer(model_app, name="model", no_args_is_help=True)
app.command()(why)
app.command()(events)
app.command()(top)
app.command()(digest)
app.command()(doctor)
app.command()(highlights)
app.command()(files)
app.command("install")(install_service)
app.command("uninstall")(uninstall_service)
app.command()(backtest)
app.command()(selftest)
scene_app.command("record")(scene_record)
app.command("ask")(ask_back)
app.command("log-level")(log_level)
app.command()(reload)

app.add_typer(bench_app, name="bench")
bench_app.command("mqtt")(bench_mqtt)
bench_app.command("compare")(bench_compare)

ConfigOption = Annotated[Path, typer.Option("-c", "--config", help="the configuration file")]


def main() -> None:
    """Entry point of the `smolwatch` command."""
    spin_shortly(os.environ)
    app()


def _fail(message: object, code: int) -> NoReturn:
    typer.echo(f"smolwatch: {message}", err=True)
    raise typer.Exit(code)


def _load(path: Path) -> Config:
    try:
        return load_config(path, os.environ)
    except ConfigError as error:
        _fail(error, EXIT_CONFIG)


@app.callback(invoke_without_command=True)
def _root(
    *,
    version: Annotated[bool, typer.Option("--version", help="print the version and exit")] = False,
) -> None:
    if version:
        typer.echo(f"smolwatch {__version__}")
        raise typer.Exit


@app.command("check-config")
def check_config(config: ConfigOption) -> None:
    """Check a configuration file; exit 78 if it is wrong."""
    loaded = _load(config)
    typer.echo(f"{config}: ok, {len(loaded.cameras)} cameras, {len(loaded.rules)} rules")


@app.command()
def run(config: ConfigOption) -> None:
    """Run the daemon until SIGTERM or SIGINT."""
    from daemon import logs
    from daemon.service import serve

    loaded = _load(config)
    logs.setup(
        level=loaded.log.level, levels=loaded.log.levels, secrets=loaded.secret_values,
        json_lines=loaded.log.json_lines,
    )  # fmt: skip
    try:
        code = serve(loaded, os.environ, socket.gethostname(), config)
    except SmolwatchError as error:
        _fail(error, 1)
    # A camera's stuck read may live on in its thread, and native threads with it: what had to be
    # told and closed is told and closed, so leave without waiting for them.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@app.command()
def demo(
    seconds: Annotated[int, typer.Option(help="how long the scenes are watched")] = 40,
    seed: Annotated[int | None, typer.Option(help="other scenes and events")] = None,
) -> None:
    """Watch two drawn cameras for a while and check every alert against the truth."""
    from daemon.demo import run_demo

    try:
        code = run_demo(seconds, seed)
    except SmolwatchError as error:
        _fail(error, 1)
    raise typer.Exit(code)


@app.command()
def describe(
    video: Annotated[
        str,
        typer.Argument(help="a video file or picture, a camera's address, or its name with -c"),
    ],
    model: Annotated[
        str | None, typer.Option(help="bundled, 256m, 500m, 2.2b, smolvlm-256m... or a directory")
    ] = None,
    ask: Annotated[
        list[str] | None,
        typer.Option(help="a yes/no question, or any about a picture; may be repeated"),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", help="take model, questions and cameras of it"),
    ] = None,
    *,
    summary: Annotated[
        bool, typer.Option("--summary", help="of the whole recording, with counts and a timeline")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one line of JSON")] = False,
) -> None:
    """Say what happens in a video, or is in a picture, and answer questions about it."""
    from daemon import describe as looking
    from daemon import logs
    from daemon.config_sections import ModelConfig
    from daemon.service import run_model
    from pipelines.clock import SystemClock
    from pipelines.footage import Manner
    from pipelines.picture_file import read_picture
    from pipelines.sources import SourceUrl
    from pipelines.zones import plain_question

    logs.setup(level="warning")
    loaded = _load(config) if config is not None else None
    url, manner, questions = SourceUrl(video), Manner(), list(ask or [])
    if loaded is not None:
        url, manner, rules = looking.as_camera(loaded, video)
        questions += [plain_question(asked) for rule in rules for asked in rule.questions]
    wanted = loaded.model if loaded is not None else ModelConfig()
    name = model or wanted.name
    wanted = wanted.model_copy(update={"name": name})
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        picture = read_picture(url)
        seeing = run_model(wanted)
        seeing.learn(loaded.examples if loaded else ())
        look = looking.describe_whole if summary else looking.describe
        told = (
            looking.describe_picture(seeing, picture, questions)
            if picture is not None
            else look(seeing, url, questions, SystemClock(), _progress_bar, manner)
        )
    except SmolwatchError as error:
        _fail(error, 1)
    if name == "bundled":
        typer.echo(
            "note: the bundled model knows only smolwatch's own drawn scenes; "
            "for real video use --model 256m, 500m or 2.2b",
            err=True,
        )
    if summary and not seeing.writes:
        typer.echo(
            f"note: {name} knows only the sentences of its training and writes no summaries: what "
            "it said of each stretch is listed instead",
            err=True,
        )
    typer.echo(json.dumps(told, ensure_ascii=False, indent=None if as_json else 2))


@app.command()
def probe(
    url: Annotated[str, typer.Argument(help="a camera's address")],
    name: Annotated[str, typer.Option(help="what to call it in the configuration")] = "camera",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="one line of JSON")] = False,
) -> None:
    """Say what a camera sends, and how to configure it.

    Exit code 77: login or permission refused; 66: wrong path; 69: not reachable or silent;
    65: no video.
    """
    from daemon import logs
    from daemon import probe as told
    from daemon.config_checks import camera_slug, slug
    from pipelines.clock import SystemClock
    from pipelines.errors import SourceError
    from pipelines.probe import probe as look
    from pipelines.sources import SourceUrl

    logs.setup(level="error")
    source = SourceUrl(url)
    try:
        camera_slug(slug(name))
        facts = look(source, SystemClock())
    except SourceError as error:
        if as_json:
            typer.echo(told.report_error(source, error))
        _fail(error, told.EXIT_CODES.get(type(error), 1))
    except ValueError as error:
        _fail(f"--name {name}: {error}", 2)
    say = told.report_json if as_json else told.report
    typer.echo(say(source, facts, name))


def _progress_bar(spans: Iterator[Span], total: int) -> Iterator[Span]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return iter(track(spans, "describing", total=total, console=console))


@scene_app.command("render")
def scene_render(
    event: Annotated[str, typer.Option(help="the event that the clip holds")],
    out: Annotated[Path, typer.Option(help="the MP4 file to write")],
    seed: Annotated[int, typer.Option(help="which of many ways it happens")] = 0,
    width: Annotated[int, typer.Option(min=160, max=3840, help="in pixels; 16:9")] = 640,
) -> None:
    """Write 8 s of H.264 that hold one whole event, and print what is true of it."""
    from pipelines.scenes.acts import EVENT_NAMES
    from pipelines.scenes.render import write_event

    name = next((e for e in EVENT_NAMES if e == event), None)
    if name is None:
        _fail(f"no event {event!r}; there are {', '.join(EVENT_NAMES)}", 2)
    try:
        clip = write_event(name, seed, out, width)
    except OSError as error:
        _fail(f"{out} cannot be written: {error.strerror}", 1)
    truth = clip.truth()
    told = {
        "event": name,
        "place": clip.act.stage.place,
        "night": clip.act.stage.night,
        "start_s": round(clip.lead_s, 2),
        "end_s": round(clip.lead_s + clip.act.duration_s, 2),
        "descriptions": truth.descriptions(),
    }
    typer.echo(json.dumps(told))


if __name__ == "__main__":
    main()
