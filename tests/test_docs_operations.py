"""Do the documents on trouble and security say what the program does?"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import typer.main

from daemon.cli import app
from daemon.log_levels import PARTS
from pipelines import errors

ROOT = Path(__file__).parent.parent
TROUBLE = (ROOT / "docs" / "troubleshooting.md").read_text()
SECURITY = (ROOT / "docs" / "security.md").read_text()
SOURCE = "\n".join(
    path.read_text() for part in ("daemon", "pipelines") for path in (ROOT / part).rglob("*.py")
)
# `log.warning("event"`, the name on the next line as well.
LOGGED = set(re.findall(r"\.(?:info|warning|error|exception|critical)\(\s*\"([a-z_.]+)\"", SOURCE))
LINES = [json.loads(line) for line in re.findall(r"```json\n(.*?)\n```", TROUBLE)]
COMMANDS = re.findall(r"(?:^|`|smolwatch )smolwatch ([a-z][^`\n]*)", TROUBLE + SECURITY)


def test_there_is_something_to_check() -> None:
    assert len(LINES) >= 9
    assert len(COMMANDS) >= 8
    assert len(LOGGED) > 40


@pytest.mark.parametrize("line", LINES, ids=lambda line: line["event"])
def test_each_log_line_is_one_that_the_program_says(line: dict[str, object]) -> None:
    event = str(line["event"])
    assert event in LOGGED
    calls = [found.end() for found in re.finditer(rf"\(\s*\"{re.escape(event)}\"", SOURCE)]
    keys = line.keys() - {"event", "camera", "url"}  # those two are bound before
    assert any(
        all(re.search(rf"\b{key}=", SOURCE[end : end + 500]) for key in keys) for end in calls
    )


def test_other_events_that_are_named_are_there() -> None:
    named = set(re.findall(r"`(store\.[a-z_]+|mqtt\.[a-z]+_[a-z]+)`", TROUBLE))
    keys = {"store.max_bytes", "store.path"}
    assert named - keys <= LOGGED


def test_the_causes_are_those_of_cameras() -> None:
    table = TROUBLE.partition("| cause |")[2].partition("\n\n")[0]
    told = set(
        re.findall(r"`([a-z_]+)`", "".join(row.split("|")[1] for row in table.split("\n")[2:]))
    )
    known = {kind.cause for kind in errors.SourceError.__subclasses__()}
    assert told == known


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_there_with_its_options(command: str) -> None:
    words = shlex.split(command.split("  ", maxsplit=1)[0].rstrip(".,:;)"))
    group = typer.main.get_command(app)
    while words and words[0] in getattr(group, "commands", {}):
        group = group.commands[words.pop(0)]
    assert not hasattr(group, "commands"), command
    options = {name for parameter in group.params for name in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= options
    if words[:1] == ["log-level"]:
        assert words[1] in PARTS


def test_files_that_are_named_are_there() -> None:
    for name in re.findall(r"\b((?:docs|configs)/[\w./-]*\w)", TROUBLE + SECURITY):
        assert (ROOT / name).exists(), name
