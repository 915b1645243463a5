"""Does `describe --summary` tell of a whole recording, and honestly?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemon.cli import app
from daemon.describe import describe_whole
from pipelines.clock import SystemClock
from pipelines.errors import NoVideo
from pipelines.footage import Manner, Span
from pipelines.scenes.clips import encode_h264
from pipelines.scenes.render import event_clip
from pipelines.smolvlm2.loading import from_name
from pipelines.smolvlm2.model import SmolVLM2
from pipelines.sources import SourceUrl

runner = CliRunner()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A car arrives, nothing, a car arrives: 24 s on different driveways."""
    path = tmp_path_factory.mktemp("recording") / "drive.mp4"
    images = []
    for event, seed in (("car_arrive", 7), ("empty", 3), ("car_arrive", 8)):
        images += event_clip(event, seed).images(320)  # type: ignore[arg-type]
    encode_h264(images, 10, 24, str(path))
    return path


def test_a_model_that_cannot_write_lists_and_says_so(recording: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("model: {threads: 1}\ncameras: {yard: {source: scene://yard}}\n")
    asked = ["-c", str(config), "--ask", "Did a car arrive?", "--ask", "Did a dog walk past?"]
    done = runner.invoke(app, ["describe", str(recording), "--summary", *asked])
    assert done.exit_code == 0, done.output
    assert "writes no summaries" in done.stderr
    told = json.loads(done.stdout)
    assert told["summary_by"] == "listing"
    assert told["counts"]["answers"] == {"Did a car arrive?": 2, "Did a dog walk past?": 0}
    assert len(told["windows"]) == 3
    lines = told["summary"].splitlines()
    assert len(lines) == len(told["timeline"]) == sum(told["counts"]["descriptions"].values())
    assert lines[0].startswith("0:00:00 to 0:00:08: ")
    assert "car" in lines[0]
    assert lines[-1].startswith("0:00:16 to 0:00:24: ")
    assert "car" in lines[-1]


class Writing:
    """The bundled eyes with somebody else's words, for the shape of what is told."""

    writes = True

    def __init__(self, eyes: SmolVLM2) -> None:
        self.tasks: list[str] = []
        self._eyes = eyes
        self.max_tokens = eyes.max_tokens
        self.frame_edge_px = eyes.frame_edge_px
        self.count_tokens = eyes.count_tokens
        self.observe_images = eyes.observe_images

    def write(self, task: str, max_tokens: int) -> Iterator[str]:
        self.tasks.append(task)
        yield ""
        yield "Cars arrive. Nine cars arrive."


def plain(spans: Iterator[Span], total: int) -> Iterator[Span]:
    return spans


def test_a_model_that_writes_is_given_the_descriptions(recording: Path) -> None:
    model = Writing(from_name("bundled", num_threads=1))
    told = describe_whole(model, SourceUrl(str(recording)), [], SystemClock(), plain, Manner())  # type: ignore[arg-type]
    assert (told["summary"], told["summary_by"]) == ("Cars arrive.", "model")
    assert len(model.tasks) == 1
    assert all(w["description"] in model.tasks[0] for w in told["windows"])


def test_a_camera_has_no_end() -> None:
    with pytest.raises(NoVideo, match="smolwatch digest"):
        describe_whole(None, SourceUrl("scene://yard"), [], SystemClock(), plain, Manner())  # type: ignore[arg-type]
