"""Does int8 take no more memory than it must, and change nothing for it?"""

from __future__ import annotations

import errno
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("nncf")

from openvino import opset13 as opset

from pipelines.smolvlm2 import openvino_int8
from pipelines.smolvlm2.openvino_int8 import quantize
from pipelines.smolvlm2.openvino_quiet import ov

WIDTH = 16


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """Two products, attention between them, and a head, in a file."""
    random = np.random.default_rng(0)

    def weight() -> Any:
        return opset.constant(random.standard_normal((WIDTH, WIDTH)).astype(np.float32))

    x = opset.parameter([1, -1, WIDTH], np.float32, name="x")
    hidden = opset.relu(opset.matmul(x, weight(), False, True))
    mixed = opset.scaled_dot_product_attention(hidden, hidden, hidden)
    hidden = opset.relu(opset.matmul(mixed, weight(), False, True))
    head = opset.matmul(hidden, weight(), False, True)
    head.output(0).set_names({"logits"})
    path = tmp_path / "floats.xml"
    ov.save_model(ov.Model([head], [x], "small"), path, compress_to_fp16=False)
    return path


def samples() -> list[dict[str, Any]]:
    random = np.random.default_rng(1)
    return [{"x": random.standard_normal((1, 5, WIDTH)).astype(np.float32)} for _ in range(4)]


def test_smoothed_weights_lie_in_files_that_are_gone_afterwards(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kept: list[tuple[int, ...]] = []
    memmap = np.memmap

    def watched(*args: Any, **more: Any) -> Any:
        kept.append(more["shape"])
        return memmap(*args, **more)

    monkeypatch.setattr(np, "memmap", watched)
    (tmp_path / "made").mkdir()
    quantize(graph, tmp_path / "made" / "int8.xml", samples())
    assert kept == [(WIDTH, WIDTH)] * 3  # the head is smoothed, too, though it stays float32
    assert {path.name for path in (tmp_path / "made").iterdir()} == {"int8.xml", "int8.bin"}


def test_a_full_disk_is_an_error_and_no_signal(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        quantize(graph, tmp_path / "int8.xml", samples())
    assert not (tmp_path / "int8.xml").exists()


def test_it_is_what_nncf_makes_by_itself(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    quantize(graph, tmp_path / "ours.xml", samples())
    monkeypatch.setattr(openvino_int8, "_smoothed_on_disk", lambda _: nullcontext())
    quantize(graph, tmp_path / "theirs.xml", samples())
    ours = (tmp_path / "ours.bin").read_bytes()
    assert ours == (tmp_path / "theirs.bin").read_bytes()
    assert len(ours) < 3 * WIDTH * WIDTH * 4  # two of three weights are int8


def test_the_head_stays_as_it_is(graph: Path, tmp_path: Path):
    quantize(graph, tmp_path / "int8.xml", samples())
    made = ov.Core().read_model(tmp_path / "int8.xml")
    weights = [
        node.get_element_type().get_type_name()
        for node in made.get_ops()
        if node.get_type_name() == "Constant" and list(node.get_output_shape(0)) == [WIDTH, WIDTH]
    ]
    assert sorted(weights) == ["f32", "i8", "i8"]
