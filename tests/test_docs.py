"""Do the documents show what works?

Every configuration in them is loaded and every command line parsed; docs/quick-start.md is followed
step by step. What single pages promise beyond that is tested beside what they are about.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer
import yaml
from typer.main import get_command

from daemon.cli import app
from daemon.config import Config, load_config
from tests.docs import PAGES, ROOT, Block, Command, blocks, commands, commands_of
from tests.mosquitto import wait_until

# Configurations of other programs, by a key that no configuration of ours has.
FOREIGN = {"alias", "type", "rule_files", "porch.mp4", "services", "groups", "blueprint"}
QUICK_START = ROOT / "docs" / "quick-start.md"
WAIT_S = 240.0  # for one step of some seconds, on a machine that is busy with other tests


def ours() -> list[Block]:
    return [block for block in blocks("yaml") if not FOREIGN & set(yaml.safe_load(block.text))]


@pytest.mark.parametrize("block", ours(), ids=lambda block: block.page.name)
def test_each_configuration_is_accepted(block: Block, tmp_path: Path) -> None:
    """A part of one is completed with the least that there must be."""
    text = block.text
    if not re.search(r"^cameras:", text, re.MULTILINE):
        text += "cameras: {porch: {source: 'scene://porch'}}\n"
    if re.search(r"\b(snapshot|clip):", text) and "media:" not in text:
        text += f"media: {{dir: {tmp_path}}}\n"
    path = tmp_path / "smolwatch.yaml"
    path.write_text(text, encoding="utf-8")
    secrets = dict.fromkeys(re.findall(r"\{([A-Z_]+)\}", text), "a-secret-of-fair-length")
    assert load_config(path, secrets).cameras


def test_there_are_configurations_and_only_known_ones_are_left_out() -> None:
    assert len(ours()) >= 20
    for block in ours():
        assert set(yaml.safe_load(block.text)) <= set(Config.model_fields), block.page


@pytest.fixture(scope="module")
def smolwatch() -> object:
    return get_command(app)


@pytest.mark.parametrize("command", commands(), ids=str)
def test_each_command_line_can_be_parsed(command: Command, smolwatch: object) -> None:
    words = list(command.words)
    group = smolwatch
    while isinstance(group, typer.core.TyperGroup):
        if not words and not command.whole:
            return  # `smolwatch mqtt`: a family of commands
        assert words, f"{command} names no command"
        assert words[0].startswith("-") or words[0] in group.commands, f"no command {words[0]}"
        if words[0].startswith("-"):
            break
        group = group.commands[words.pop(0)]
    wrong = refusal(group, words)
    assert wrong == "" or (wrong == "MissingParameter" and not command.whole), command


def test_there_are_command_lines() -> None:
    assert len([command for command in commands() if command.whole]) >= 20
    assert {"run", "why", "mqtt", "bench"} <= {command.words[0] for command in commands()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        linked = (page.parent / name) if name else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked.read_text(encoding="utf-8")), target


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", index))
    assert linked == {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}


@pytest.mark.timeout(900)
def test_the_quick_start_can_be_followed(tmp_path: Path) -> None:
    """Its `sh` blocks in their order: a clip, its description, the daemon, and what one asks it."""
    text = QUICK_START.read_text(encoding="utf-8")
    (clip, start, questions) = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    configuration = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[0]
    (tmp_path / "smolwatch.yaml").write_text(configuration)

    said = [run(words, tmp_path) for words in commands_of(clip)]
    answers = json.loads(said[-1][said[-1].index("{") :])["answers"]
    assert answers["Was a package taken?"] > 0.7

    check, daemon = commands_of(start)
    run(check, tmp_path)
    with running(daemon, tmp_path):
        wait_until((tmp_path / "control.sock").exists, "the control socket", WAIT_S)
        listing, why, ask = commands_of(questions)
        wait_until(lambda: "package" in run(listing, tmp_path), "an event", WAIT_S)
        # Ten seconds ago there may have been no window yet: who types it is slower.
        wait_until(lambda: "Was a package delivered?" in run(why, tmp_path), "answers", WAIT_S)
        assert "p_yes" in run(ask, tmp_path)


def refusal(command: object, words: list[str]) -> str:
    """Why a command would not take these words: the name of the error, empty if it does."""
    try:
        command.make_context("smolwatch", words).close()  # type: ignore[attr-defined]
    except Exception as error:  # noqa: BLE001 - of click, or of typer's own copy of it
        return type(error).__name__
    return ""


def run(words: tuple[str, ...], folder: Path) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "daemon.cli", *words], cwd=folder, env=environment(),
        capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def running(words: tuple[str, ...], folder: Path) -> Iterator[None]:
    with (folder / "daemon.log").open("w") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "daemon.cli", *words],
            cwd=folder, env=environment(), stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield
        assert daemon.poll() is None, (folder / "daemon.log").read_text()
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(WAIT_S) == 0
    finally:
        if daemon.poll() is None:
            daemon.kill()
            daemon.wait(WAIT_S)


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


def anchors(text: str) -> set[str]:
    """What links may lead to: headings as GitHub names them, and anchors by name."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a id="([^"]+)">', text))
