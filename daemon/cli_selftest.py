"""How are a rule's questions tested from the command line?

Knows arguments, exit codes and the terminal; `daemon.selftest` and `selftest_frames` do the work.
"""

# ruff: noqa: PLC0415 - PyTorch takes seconds to load: only where it is needed

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli_memory import told_errors
from daemon.config import Config, load_config
from daemon.config_errors import did_you_mean
from daemon.control import ControlError, ask, client_path
from daemon.selftest import Finding, examine, words_of
from pipelines.errors import SmolwatchError

if TYPE_CHECKING:
    from daemon.selftest_frames import Answers, Probe
    from pipelines.types import VideoModel

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNTESTED = 69  # EX_UNAVAILABLE of sysexits.h


def selftest(
    rule: Annotated[str | None, typer.Argument(help="left out: all rules that ask")] = None,
    config: Annotated[Path, typer.Option("-c", "--config", help="the configuration file")] = Path(
        "smolwatch.yaml"
    ),
    *,
    camera: Annotated[str | None, typer.Option(help="only at this camera")] = None,
    video: Annotated[
        Path | None, typer.Option(help="a recording of --camera's empty scene")
    ] = None,
    yes: Annotated[
        list[str] | None, typer.Option(help="a question whose right answer there is yes")
    ] = None,
    socket: Annotated[
        Path | None, typer.Option("--socket", help="the daemon's socket, if not the usual one")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
) -> None:
    """Ask rules' questions, and their contraries, of a camera's empty scene.

    Its pictures are drawn for scene cameras, come from --video, or from the running daemon while
    nothing moves. Exit code 1: a question failed; 69: nothing could be tested; 2: wrong arguments;
    78: wrong configuration.
    """
    from daemon import logs
    from daemon.service import load_model

    logs.setup(level="error")
    with told_errors():
        loaded = load_config(config, os.environ)
        probes = _probes(loaded, rule, camera)
        if video is not None and len(probes) > 1:
            cameras = ", ".join(probe.camera for probe in probes)
            _say(f"a recording is of one camera: say with --camera which of {cameras} it is")
            raise typer.Exit(EXIT_USAGE)
        path = client_path(socket or loaded.control.path, os.environ)
        model = load_model(loaded)
        found: list[Finding] = []
        for probe in probes:
            findings = _tested(probe, model, video, path, frozenset(yes or ()))
            for finding in findings:
                _show(probe.camera, finding, as_json=as_json)
            _keep(probe, model.model_id, findings, path)
            found += findings
    if not found:
        raise typer.Exit(EXIT_UNTESTED)
    if not all(finding.passed for finding in found):
        raise typer.Exit(EXIT_FAILED)


def _probes(config: Config, rule: str | None, camera: str | None) -> list[Probe]:
    from daemon.selftest_frames import Probe

    for name, known in ((rule, config.rules), (camera, config.cameras)):
        if name is not None and name not in known:
            guess = did_you_mean(name, known)
            raise SmolwatchError(f"there is no '{name}'.{guess} There are: {', '.join(known)}")
    probes = []
    for name in config.cameras if camera is None else (camera,):
        rules = [r for r in config.rules_for(name) if rule in (None, r.name) and r.questions]
        if rules:
            probes.append(Probe(config, name, rules))
    if not probes:
        raise SmolwatchError(f"{rule or 'no rule'} asks nothing at {camera or 'any camera'}")
    return probes


def _tested(
    probe: Probe, model: VideoModel, video: Path | None, socket: Path, yes: frozenset[str]
) -> list[Finding]:
    """All questions of one camera; none, and why, where there are no pictures of it."""
    from daemon.selftest_frames import missing

    try:
        answers = _answers(probe, model, video, socket)
    except SmolwatchError as error:
        _say(f"{probe.camera}: not tested: {error}")
        return []
    lacking = missing(answers)
    if lacking is not None:
        _say(f"{probe.camera}: only {next(iter(answers))} was to be seen: test by {lacking}, too")
    return [
        examine(rule, question, light, windows, yes=words_of(question) in yes)
        for rule in probe.rules
        for question in rule.questions
        for light, windows in answers.items()
    ]


def _answers(probe: Probe, model: VideoModel, video: Path | None, socket: Path) -> Answers:
    from daemon.selftest_frames import of_daemon, of_scene, of_video

    if video is not None:
        return of_video(probe, model, video)
    if probe.config.cameras[probe.camera].source.scheme == "scene":
        return of_scene(probe, model)
    return of_daemon(probe, model, socket)


def _show(camera: str, finding: Finding, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"camera": camera, **finding.as_json()}, ensure_ascii=False))
        return
    for line in _lines(camera, finding):
        typer.echo(line)


def _lines(camera: str, finding: Finding) -> Iterator[str]:
    result = "passed" if finding.passed else "FAILED"
    yield f"{result}  {finding.rule} at {camera}, {finding.light} ({finding.windows} windows)"
    yield f"  {finding.question}  p_yes {finding.median:.2f}, at most {finding.highest:.2f}"
    yield f"  {finding.twin}  p_yes {finding.twin_median:.2f}"
    yield f"  moves by at most {finding.swing:.2f} between neighbouring windows"
    for problem in finding.problems:
        yield f"  failed: {problem}"
    if any("where the answer is no" in problem for problem in finding.problems):
        yield f"  if yes is right there: --yes {words_of(finding.question)!r}"
    if finding.note:
        yield f"  note: {finding.note}"


def _keep(probe: Probe, model_id: str, findings: list[Finding], socket: Path) -> None:
    """Let the daemon know, so that it can warn; without one the result is only shown."""
    if not findings:
        return
    results = [{**finding.as_json(), "model": model_id} for finding in findings]
    request = {"op": "keep_selftest", "camera": probe.camera, "results": results}
    try:
        for _ in ask(socket, request):
            pass
    except ControlError as error:
        _say(f"not kept for the daemon's warnings: {error}")


def _say(message: str) -> None:
    typer.echo(f"smolwatch: {message}", err=True)
