"""Does `smolwatch bench compare` set two architectures side by side by what each really does?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemon.bench_compare import Compared, Picture, Times, rows
from daemon.cli import app
from pipelines.smolvlm2.random_weights import write_preprocessor_config
from tests.checkpoints import write_tiny_checkpoint

FEW = ["--runs", "1", "--seconds", "0.1", "--threads", "1", "--engine", "torch"]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    made = [
        write_tiny_checkpoint(folder / kind, model_type=kind) for kind in ("smolvlm", "idefics3")
    ]
    for directory in made:
        write_preprocessor_config(directory, tile_px=64)
    return made


def test_both_are_asked_about_the_same_frames_in_their_own_words(both: list[Path]):
    done = CliRunner().invoke(app, ["bench", "compare", *map(str, both), *FEW, "--json"])
    assert done.exit_code == 0, done.output
    second, first = map(json.loads, done.stdout.splitlines())
    assert [one["model"] for one in (second, first)] == list(map(str, both))
    assert second["architecture"] == "SmolVLMForConditionalGeneration"
    assert first["architecture"] == "Idefics3ForConditionalGeneration"
    assert "MM:SS" in second["reads_frames_as"]
    assert "no times" in first["reads_frames_as"]
    for one in (second, first):
        assert one["window_image_tokens"] == 8 * 16 < one["window_prompt_tokens"]
        # 16:9 at four tiles' length: three rows of four, and the whole.
        assert (one["picture"]["parts"], one["picture"]["image_tokens"]) == (13, 13 * 16)
        assert (one["largest"]["parts"], one["largest"]["image_tokens"]) == (17, 17 * 16)
        assert one["tiled_image_tokens"] == 8 * 13 * 16
        for kind in ("window", "sliding", "single"):
            assert one[kind]["whole_ms"] >= one[kind]["encode_ms"] + one[kind]["prefill_ms"] > 0
            assert one[kind]["cpu_ms"] > 0
        assert one["peak_rss_mb"] > 100
    # The frames are the same, the words around them are not.
    assert second["window_prompt_tokens"] > first["window_prompt_tokens"]
    assert second["picture"] == first["picture"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["bundled", "smolvlm-265m"], "did you mean"), (["256m", "bundled", "--random-weights"], "")],
)
def test_a_wrong_name_is_told_before_anything_is_measured(arguments: list[str], says: str):
    done = CliRunner().invoke(app, ["bench", "compare", *arguments, "--json", *FEW])
    assert done.exit_code == 1
    assert arguments[1] in done.stderr
    assert says in done.stderr
    assert done.stdout == ""


def test_people_read_why_frames_are_not_cut():
    times = Times(whole_ms=120.0, cpu_ms=100.0, encode_ms=90.0, prefill_ms=20.0, looks=3)
    picture, largest = Picture(13, 832, 867), Picture(17, 1088, 1123)
    first = Compared(
        "Idefics3ForConditionalGeneration", False, True, 64, 570, 8192, picture, largest,
        times, times, times, "torch", "f32", "cpu", 1, 2.0, 1600,
    )  # fmt: skip
    table = {what.strip(): figures for what, figures in rows([first])}
    assert table["image tokens of eight frames"] == ["512"]
    assert table["were frames cut into tiles"] == ["6,656 of its 8,192"]
    assert table["image tokens of a 16:9 picture"] == ["832 (12 tiles and the whole)"]
    assert table["a 16:9 picture, a question"] == [
        "120 ms (cutting 10, frames 90, prompt 20; CPU time 100)"
    ]
