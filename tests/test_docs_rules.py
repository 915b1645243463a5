"""Does docs/rules.md say what works?"""

import re
import shlex
from pathlib import Path

import typer
from typer.main import get_command

from daemon.cli import app
from daemon.truth import read_truth

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "rules.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", TEXT, re.DOTALL)


def test_its_commands_have_the_options_that_are_named() -> None:
    lines = [block.replace("\\\n", " ") for kind, block in BLOCKS if not kind]
    commands = [shlex.split(line) for block in lines for line in block.splitlines() if line]
    assert len(commands) >= 5
    for words in commands:
        assert words.pop(0) == "smolwatch"
        command = get_command(app)
        while isinstance(command, typer.core.TyperGroup):
            command = command.commands[words.pop(0)]
        command.make_context("smolwatch", words, resilient_parsing=False).close()


def test_its_truth_can_be_read(tmp_path: Path) -> None:
    (block,) = [block for kind, block in BLOCKS if kind == "yaml"]
    path = tmp_path / "truth.yaml"
    path.write_text(block)
    spans = read_truth(path).spans(Path("porch.mp4"), "package")
    assert spans is not None
    assert [(s.start_s, s.end_s, s.maybe) for s in spans] == [(12.5, 16, False), (90, 94, True)]
