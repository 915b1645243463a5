"""Over what is a rule tried: recordings, or what the daemon has stored?

Knows the terminal, on which it shows how far it is; not what comes of the result.
"""

# ruff: noqa: PLC0415 - PyTorch takes seconds to load: only where it is needed

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from daemon.config import Config
from pipelines.errors import SmolwatchError, SourceError

if TYPE_CHECKING:
    from rich.progress import Progress

    from daemon.backtest import Reel, Result, Subject
    from daemon.backtest_files import Recording
    from daemon.truth import Truth
    from pipelines.types import VideoModel


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for."""

    config: Config
    subject: Subject
    truth: Truth | None
    tolerance_s: float
    begins: float | None


def over_files(wanted: Wanted, videos: list[Path]) -> Result:
    """Over recordings; those that cannot be read are in `Result.failures`."""
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


def over_past(wanted: Wanted, since: float, socket: Path) -> tuple[Result, bool]:
    """Over stored answers, and whether the result's times are of the day.

    They are not where a question was not asked then: it is tried over the clips of that time.
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
            say(
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
        say(f"so it is tried on {counted(len(clips), 'clip')} of that time in {folder}")
        return over_files(wanted, clips), False
    say(f"{counted(past.told, 'alert')} of {subject.rule.name} came in that time")
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
    wanted: Wanted, model: VideoModel, recording: Recording, name: str, bar: Progress
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


def _note_hours(wanted: Wanted, recordings: list[Recording]) -> None:
    """Hours are judged by when a recording was made, and that may be a guess."""
    if not any(rule.active for rule in wanted.subject.rules):
        return
    for recording in recordings:
        begun = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(recording.begun))
        say(f"{recording.name} is taken to begin at {begun} ({recording.begun_by})")


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


def say(message: str) -> None:
    """Tell people beside the result, which may be JSON."""
    typer.echo(f"smolwatch: {message}", err=True)
