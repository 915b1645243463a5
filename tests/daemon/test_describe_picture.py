"""Does `smolwatch describe` look at a single picture?"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from daemon.cli import app
from daemon.describe import describe_picture
from pipelines.types import Image, Observation, Timings
from tests.checkpoints import write_tiny_checkpoint


class Reader:
    """A model that writes; keeps what it is asked."""

    writes = True

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, ...], str]] = []

    def observe_picture(self, image: Image, questions: list[str], prompt: str) -> Observation:
        self.asked.append((tuple(questions), prompt))
        answers = dict.fromkeys(questions, 0.75)
        return Observation("", 0, 0, 0, 0, answers, f"On {prompt}", Timings(), "reader", "")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "snapshot.JPG"
    image = np.full((90, 160, 3), 90, np.uint8)
    assert cv2.imwrite(str(tmp_path / "x.jpg"), image)
    (tmp_path / "x.jpg").rename(path)
    return path


def test_questions_that_want_words_get_words():
    reader = Reader()
    told = describe_picture(reader, np.zeros((9, 9, 3), np.uint8), ["Is it open?", "What is it?"])
    assert told["answers"] == {"Is it open?": 0.75}
    assert told["words"] == {"What is it?": "On What is it?"}
    assert [asked for asked, _ in reader.asked] == [("Is it open?",), ()]


@pytest.mark.parametrize("address", ["{}", "file://{}"])
def test_a_picture_is_described_on_the_command_line(photo: Path, tmp_path: Path, address: str):
    model = write_tiny_checkpoint(tmp_path / "first", model_type="idefics3")
    arguments = ["describe", address.format(photo), "--model", str(model), "--ask", "Is it open?"]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout.splitlines()[-1])
    assert 0 <= told["answers"]["Is it open?"] <= 1


@pytest.mark.parametrize(
    ("content", "said"), [(b"no picture", "is no picture that can be read"), (None, "no such file")]
)
def test_a_picture_that_cannot_be_read_is_said(tmp_path: Path, content: bytes | None, said: str):
    path = tmp_path / "broken.png"
    if content is not None:
        path.write_bytes(content)
    done = CliRunner().invoke(app, ["describe", str(path)])
    assert done.exit_code == 1
    assert said in done.stderr
