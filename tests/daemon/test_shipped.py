"""Are the files that come with smolwatch found, and no others?"""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemon.cli import app
from daemon.shipped import NotShipped, all_shipped, shipped


def test_a_file_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "scene://" in shipped("configs/demo.yaml").read_text()


@pytest.mark.parametrize(
    "name", ["", "configs/none.yaml", "README.md", "configs/../pyproject.toml", "/etc/passwd"]
)
def test_others_are_not(name: str) -> None:
    with pytest.raises(NotShipped, match="smolwatch files"):
        shipped(name)


def test_the_list_holds_what_people_look_for() -> None:
    listed = list(all_shipped())
    assert len(listed) == len(set(listed))
    assert {
        "configs/smolwatch.example.yaml",
        "configs/mosquitto/acl",
        "docs/home-assistant/notify_with_snapshot.yaml",
        "systemd/smolwatch.service",
    } <= set(listed)


def test_the_command() -> None:
    runner = CliRunner()
    assert "configs/demo.yaml" in runner.invoke(app, ["files"]).output.splitlines()
    found = runner.invoke(app, ["files", "configs/demo.yaml"])
    assert Path(found.output.strip()) == shipped("configs/demo.yaml")
    refused = runner.invoke(app, ["files", "pyproject.toml"])
    assert (refused.exit_code, "does not come with" in refused.output) == (2, True)
