"""Which models do these tests run?

A tiny random checkpoint always, and the bundled one where it lies in the tree.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.smolvlm2.presets import BUNDLED_DIR
from pipelines.types import Frame, Window
from tests.checkpoints import write_tiny_checkpoint

QUESTIONS = (
    "Did a person leave?",
    "Is a car parked?",
    "Is there a package?",
    "Did a person arrive?",
)


@pytest.fixture(scope="session")
def tiny_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(params=["tiny", "bundled"])
def model_dir(request: pytest.FixtureRequest, tiny_dir: Path) -> Path:
    return tiny_dir if request.param == "tiny" else BUNDLED_DIR


@pytest.fixture(autouse=True)
def one_thread():
    # Several test processes on few cores: PyTorch's threads wait for each other by spinning.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_frames(count: int, height: int, width: int, seed: int = 0) -> list[Frame]:
    """Frames of 1 fps with a bright square that moves over noise, so that each differs."""
    random = np.random.default_rng(seed)
    frames = []
    for seq in range(count):
        image = random.integers(0, 80, (height, width, 3), dtype=np.uint8)
        left = (seq * width) // (count + 1)
        image[height // 4 : height // 2, left : left + width // 4] = (250, 40 * (seq % 6), 90)
        image.flags.writeable = False
        frames.append(Frame("porch", 0, seq, 100.0 + seq, 1.7e9 + seq, image, 0.0))
    return frames


def make_window(frames: list[Frame], seq: int = 0) -> Window:
    start_s, end_s = frames[0].captured_s, frames[-1].captured_s
    return Window("porch", seq, tuple(frames), start_s, end_s, "stride", end_s)
