"""Does the README tell the truth?"""

import re
import tomllib
from pathlib import Path

import pytest

from daemon.config import load_config
from daemon.mqtt.reference import entries

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
SECRETS = {"PORCH_PASSWORD": "a", "MQTT_PASSWORD": "b"}


@pytest.mark.parametrize("block", [b for b in BLOCKS if "cameras:" in b])
def test_each_configuration_loads(block: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(block)
    assert load_config(path, SECRETS).cameras


def test_there_is_a_configuration() -> None:
    assert sum("cameras:" in block for block in BLOCKS) >= 1


def test_topics_that_it_names_are_those_of_the_reference() -> None:
    named = set(re.findall(r"`(smolwatch/[\w/]+)`", README))
    assert named
    assert named <= {entry.topic for entry in entries()}


def test_each_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    table = README[README.index("## What it stands on") : README.index("## Limits")]
    for dependency in project["dependencies"]:
        name = re.split(r"[<>=]", dependency)[0]
        assert re.search(rf"\b{re.escape(name)}\b", table), f"{name} has no reason in the README"


def test_files_that_it_names_exist() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    paths = re.findall(r"`((?:pipelines|daemon|configs|systemd)/[\w./]*)`", README)
    assert len(links) + len(paths) > 10
    for name in links + paths:
        assert (ROOT / name).exists(), name
