"""Do the documents of installing and upgrading, and the units, name commands that there are?"""

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from daemon.cli import app
from daemon.shipped import shipped

ROOT = Path(__file__).parents[1]
DOCS = [ROOT / "docs" / name for name in ("install.md", "upgrading.md", "docker.md")]
UNITS = sorted((ROOT / "systemd").glob("*.service"))
CALL = re.compile(r"(?:^|[\s`])(?:/\S+/bin/)?smolwatch ((?:[a-z][a-z-]+|--version)[^\n`#]*)")


def calls(path: Path) -> list[str]:
    """What stands behind `smolwatch` where it is a command, in code."""
    text = path.read_text().replace("\\\n", " ")
    if path.suffix != ".md":
        lines = re.findall(r"^Exec\w+=-?\+?(.*)$", text, re.M)
    else:
        blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.DOTALL | re.M)
        lines = "\n".join(blocks).splitlines() + re.findall(r"`([^`\n]+)`", text)
    found = [match[1].strip() for line in lines for match in CALL.finditer(f" {line}")]
    return [re.sub(r"  .*", "", call) for call in found if "systemctl" not in call]


def check(call: str) -> None:
    words, command = shlex.split(call.replace("%i", "500m")), get_command(app)
    while isinstance(command, typer.core.TyperGroup):
        assert words, call
        assert words[0] in command.commands, call
        command = command.commands[words.pop(0)]
    if words:  # else it is only named
        command.make_context("smolwatch", words).close()


@pytest.mark.parametrize("path", [*DOCS, *UNITS], ids=lambda path: path.name)
def test_their_commands_are_taken(path: Path) -> None:
    found = calls(path)
    assert found
    for call in found:
        check(call)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_their_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / link).exists(), link


def test_the_service_has_what_install_md_says_is_where() -> None:
    named = re.findall(r"^\| `(/[^`]+)`", DOCS[0].read_text(), re.M)
    unit = shipped("systemd/smolwatch.service").read_text()
    for folder, setting in (("/var/lib/", "State"), ("/var/cache/", "Cache"), ("/run/", "Runtime")):
        assert f"{folder}smolwatch" in named
        assert f"{setting}Directory=smolwatch" in unit
    assert "/etc/smolwatch/credentials/" in named
    assert "LoadCredential=smolwatch:/etc/smolwatch/credentials" in unit
