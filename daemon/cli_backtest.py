"""How is a rule tried from the command line?

Knows arguments, exit codes and the terminal; `daemon.backtest` does the work.
"""

# ruff: noqa: PLC0415 - PyTorch takes seconds to load: only where it is needed

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from daemon.backtest_score import TOLERANCE_S
from daemon.config import Config, ConfigError, load_config
from daemon.control import client_path
from daemon.moments import moment
from pipelines.errors import SmolwatchError, SourceError

if TYPE_CHECKING:
    from rich.progress import Progress

    from daemon.backtest import Reel, Result, Subject
    from daemon.backtest_files import Recording
    from daemon.truth import Truth
    from pipelines.types import VideoModel

EXIT_CONFIG = 78
EXIT_USAGE = 2


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What was asked for."""

    config: Config
    subject: Subject
    truth: Truth | None
    tolerance_s: float
    begins: float | None


def backtest(
    rule: Annotated[str, typer.Argument(help="the rule's name")],
    videos: Annotated[list[Path] | None, typer.Argument(help="recordings, or folders")] = None,
    config: Annotated[Path, typer.Option("-c", "--config", help="the configuration file")] = Path(
        "smolwatch.yaml"
    ),
    truth: Annotated[
        Path | None, typer.Option(help="what really happened: YAML, JSON or CSV")
    ] = None,
    *,
    out: Annotated[
        Path | None, typer.Option(help="a folder for report.html, plots and a draft of --truth")
    ] = None,
    camera: Annotated[
        str | None, typer.Option(help="whose window, gate and mask, for a rule of several cameras")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="seconds by which --truth may be off")
    ] = TOLERANCE_S,
    begins: Annotated[
        str | None, typer.Option(help="when each recording began, for rules with active hours")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="7d, 24h or a time: over what the daemon has stored")
    ] = None,
    socket: Annotated[
        Path | None, typer.Option("--socket", help="the daemon's socket, if not the usual one")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Run a rule over recordings, as the daemon would, and say what it would have told.

    Exit code 1: a recording could not be tried; 2: wrong arguments; 78: wrong configuration.
    """
    from daemon import logs
    from daemon.backtest import subject_of
    from daemon.truth import read_truth

    logs.setup(level="error")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with told_errors():
        loaded = load_config(config, os.environ)
        wanted = _Wanted(
            loaded,
            subject_of(loaded, rule, camera),
            read_truth(truth) if truth is not None else None,
            tolerance,
            moment(begins, time.time()) if begins is not None else None,
        )
        if bool(videos) == (since is not None):
            _fail("name recordings, or a folder of them; or --since for the past", EXIT_USAGE)
        if since is not None:
            path = client_path(socket or loaded.control.path, os.environ)
            if truth is not None:
                _fail("--truth is about recordings, not about --since", EXIT_USAGE)
            result, by_day = _over_past(wanted, moment(since, time.time()), path)
        else:
            result, by_day = _over_files(wanted, videos or []), False
        _show(result, out, as_json=as_json, by_day=by_day)


def _over_files(wanted: _Wanted, videos: list[Path]) -> Result:
    from daemon.backtest import conclude, try_rule
    from daemon.backtest_files import find_recordings, names_of, open_recording
    from daemon.service import load_model
    from pipelines.clock import SystemClock

    names = names_of(find_recordings(videos))
    if wanted.truth is not None:
        wanted.truth.check(names)
    failures: dict[str, str] = {}
    recordings: list[Recording] = []
    for path, name in names.items():
        try:
            recordings.append(open_recording(path, name, SystemClock(), wanted.begins))
        except SourceError as error:
            failures[name] = str(error)
    _note_hours(wanted, recordings)
    model = load_model(wanted.config)
    tried = []
    with _progress() as bar:
        task = bar.add_task("", total=sum(recording.length_s for recording in recordings))
        for n, recording in enumerate(recordings):
            bar.update(task, description=recording.name)
            try:
                reel = _played(wanted, model, recording, f"{wanted.subject.camera}#{n}", bar)
            except SourceError as error:
                failures[recording.name] = str(error)
                continue
            known = wanted.truth
            name = wanted.subject.rule.name
            spans = None if known is None else known.spans(recording.path, name)
            tried.append(try_rule(wanted.subject, reel, spans))
    return conclude(wanted.subject, model.model_id, tried, failures, wanted.tolerance_s)


def _over_past(wanted: _Wanted, since: float, socket: Path) -> tuple[Result, bool]:
    """Over stored answers, whose times are those of the day.

    Where a question was not asked then, over the clips of that time, as recordings.
    """
    from daemon.backtest import conclude, try_rule
    from daemon.backtest_text import counted
    from daemon.stored_looks import read_past

    subject, media = wanted.subject, wanted.config.media
    folder = media.dir if media is not None else None
    past = read_past(socket, subject, since, time.time(), folder)
    unasked = [question for question, count in past.asked.items() if count == 0]
    for question, count in past.asked.items():
        if count < past.stored:
            _say(
                f"{question!r} was asked in {count} of {past.stored} windows of "
                f"{subject.camera} that are stored since then"
            )
    if unasked:
        clips = _clips(folder, subject.camera, since)
        if not clips:
            where = f"in {folder}" if folder is not None else "(media.dir is not set)"
            raise SmolwatchError(
                f"{subject.rule.name} cannot be judged over that time: not asked then was "
                f"{unasked[0]!r}, and there are no clips of {subject.camera} {where}. The daemon "
                "asks it as long as the rule is in its configuration"
            )
        _say(f"so it is tried on {counted(len(clips), 'clip')} of that time in {folder}")
        return _over_files(wanted, clips), False
    _say(f"{counted(past.told, 'alert')} of {subject.rule.name} came in that time")
    tried = try_rule(subject, past.reel, None)
    result = conclude(subject, ", ".join(past.model_ids), [tried], {}, wanted.tolerance_s)
    return result, True


def _clips(folder: Path | None, camera: str, since: float) -> list[Path]:
    if folder is None:
        return []
    try:
        found = [(path.stat().st_mtime, path) for path in folder.glob(f"{camera}-*.mp4")]
    except OSError as error:
        raise SmolwatchError(f"{folder}: cannot be read: {error.strerror}") from error
    return [path for written, path in sorted(found) if written >= since]


def _played(
    wanted: _Wanted, model: VideoModel, recording: Recording, name: str, bar: Progress
) -> Reel:
    from daemon.backtest import Reel, play

    task = bar.task_ids[0]
    before_s = bar.tasks[0].completed
    reel: Reel | None = None
    for step in play(wanted.config, wanted.subject, model, recording, name):
        if isinstance(step, Reel):
            reel = step
        else:
            bar.update(task, completed=before_s + min(step, recording.length_s))
    assert reel is not None  # noqa: S101 - the last step is one
    bar.update(task, completed=before_s + recording.length_s)
    return reel


def _note_hours(wanted: _Wanted, recordings: list[Recording]) -> None:
    """Hours are judged by when a recording was made, and that may be a guess."""
    if not any(rule.active for rule in wanted.subject.rules):
        return
    for recording in recordings:
        begun = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(recording.begun))
        _say(f"{recording.name} is taken to begin at {begun} ({recording.begun_by})")


def _show(result: Result, out: Path | None, *, as_json: bool, by_day: bool) -> None:
    from daemon import backtest_text as text

    if as_json:
        typer.echo(json.dumps(text.as_json(result), ensure_ascii=False))
    else:
        for line in text.lines(result, by_day=by_day):
            typer.echo(line)
    if out is not None:
        for path in _write(result, out, by_day=by_day):
            _say(f"wrote {path}")
    if result.failures or not result.tried:
        raise typer.Exit(1)


def _write(result: Result, out: Path, *, by_day: bool) -> list[Path]:
    """All that is written; what there is goes on where a plot cannot be made."""
    from daemon.backtest import BacktestError
    from daemon.backtest_page import page
    from daemon.backtest_plot import plot
    from daemon.truth import draft

    plots: list[bytes | None] = []
    for one in result.tried:
        try:
            plots.append(plot(one, result.subject.rule, by_day=by_day))
        except BacktestError as error:
            _say(f"{error}; the report is written without them")
            plots = [None] * len(result.tried)
            break
    found = {
        one.reel.name: [(i.evidence_s, i.until_s(one.reel.length_s)) for i in one.incidents]
        for one in result.tried
    }
    contents: dict[str, bytes] = {
        f"p_yes-{n}.png": png for n, png in enumerate(plots, start=1) if png is not None
    }
    contents["truth-draft.yaml"] = draft(found, result.subject.rule.name).encode()
    contents["report.html"] = page(result, plots, by_day=by_day).encode()
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (out / name).write_bytes(content)
    except OSError as error:
        raise SmolwatchError(f"{out}: the report cannot be written: {error.strerror}") from error
    return [out / name for name in contents]


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(),
        TimeRemainingColumn(), console=Console(stderr=True), transient=True,
    )  # fmt: skip


@contextmanager
def told_errors() -> Iterator[None]:
    """Errors that are meant for people end the command: 78 for the configuration's, else 1."""
    try:
        yield
    except ConfigError as error:
        _say(str(error))
        raise typer.Exit(EXIT_CONFIG) from error
    except SmolwatchError as error:
        _say(str(error))
        raise typer.Exit(1) from error


def _fail(message: str, code: int) -> NoReturn:
    _say(message)
    raise typer.Exit(code)


def _say(message: str) -> None:
    typer.echo(f"smolwatch: {message}", err=True)
