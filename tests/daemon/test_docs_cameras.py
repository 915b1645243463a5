"""Is every configuration in docs/cameras.md one that smolwatch takes?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from daemon.config import load_config
from daemon.probe import EXIT_CODES
from pipelines.clock import SystemClock
from pipelines.sources import open_source

TEXT = (Path(__file__).parents[2] / "docs" / "cameras.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_each_block_is_a_configuration(block: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(block, encoding="utf-8")
    secrets = dict.fromkeys(re.findall(r"\{([A-Z_]+)\}", block), "p@ss")
    config = load_config(path, secrets)
    assert config.cameras
    for camera in config.cameras.values():
        assert open_source(camera.source, SystemClock()).url == camera.source
        assert "p@ss" not in str(camera.source)


def test_there_are_examples_for_what_people_have() -> None:
    assert len(BLOCKS) == 7
    for name in ("go2rtc", "Frigate", "MediaMTX", "IP Webcam", "H.265", "by-id"):
        assert name in TEXT


def test_the_exit_codes_are_those_of_the_command() -> None:
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)}
    assert told == set(EXIT_CODES.values())
