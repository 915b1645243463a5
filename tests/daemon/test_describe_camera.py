"""Does `describe` look at a configured camera as the daemon does?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from daemon.cli import app
from daemon.config import load_config
from daemon.describe import as_camera, describe
from pipelines.clock import SystemClock
from pipelines.examples import split_question
from pipelines.scenes.clips import encode_h264
from pipelines.types import Observation, Timings
from tests.checkpoints import write_tiny_checkpoint

CONFIG = """
cameras:
  gate:
    source: "file://{0}/gate.mp4"
    window: {{num_frames: 3, interval_s: 0.5}}
    mask: [[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]]
  yard: {{source: "file://{0}/gate.mp4?yard"}}
rules:
  open:
    cameras: [gate]
    ask: Is it open?
    examples: [{{image: closed.png, says: closed}}]
  dog: {{cameras: [yard], ask: "Is there a dog?"}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    white = [np.full((90, 160, 3), 230, np.uint8)] * 30
    encode_h264(white, 10, 24, str(tmp_path / "gate.mp4"))
    assert cv2.imwrite(str(tmp_path / "closed.png"), white[0])
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG.format(tmp_path))
    return path


class Eyes:
    """Keeps the pictures that it is shown."""

    frame_edge_px = 160

    def observe_images(self, images: Any, times_s: Any, questions: Any, prompt: Any) -> Observation:
        self.images = images
        return Observation("", 0, 0, 0, 0, {}, "Words.", Timings(), "eyes", "")


@pytest.mark.parametrize("named", ["gate", "file://{}/gate.mp4"])
def test_a_cameras_mask_and_window_hold_by_name_and_by_address(config: Path, named: str) -> None:
    loaded = load_config(config, {})
    url, manner, rules = as_camera(loaded, named.format(config.parent))
    assert [rule.name for rule in rules] == ["open"]
    eyes = Eyes()
    describe(eyes, url, [], SystemClock(), lambda spans, _: spans, manner)  # type: ignore[arg-type]
    assert len(eyes.images) == 3
    for image in eyes.images:
        assert image[:, :80].max() == 0
        assert image[:, 84:].min() > 200


def test_what_is_no_camera_is_looked_at_whole(config: Path) -> None:
    loaded = load_config(config, {})
    url, manner, rules = as_camera(loaded, str(config.parent / "gate.mp4"))
    assert [rule.name for rule in rules] == ["open", "dog"]
    eyes = Eyes()
    describe(eyes, url, [], SystemClock(), lambda spans, _: spans, manner)  # type: ignore[arg-type]
    assert len(eyes.images) == 8
    assert all(image.min() > 200 for image in eyes.images)


def test_questions_with_pictures_are_asked_with_them(config: Path, tmp_path: Path) -> None:
    tiny = write_tiny_checkpoint(tmp_path / "tiny")
    done = CliRunner().invoke(app, ["describe", "gate", "-c", str(config), "--model", str(tiny)])
    assert done.exit_code == 0, done.output
    (question,) = json.loads(done.stdout)["answers"]
    assert split_question(question)[0] == "Is it open?"
    assert "[examples closed; " in question
