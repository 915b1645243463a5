"""Are weights in memory once when a model is loaded, whatever they were turned into?"""

from __future__ import annotations

import gc
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from pipelines.smolvlm2.cpu_linear import packs_bf16
from pipelines.smolvlm2.loading import from_name
from pipelines.smolvlm2.presets import BUNDLED_DIR
from tests.pipelines.smolvlm2.conftest import make_frames

NEEDS_OPENVINO = pytest.mark.skipif(find_spec("openvino") is None, reason="no OpenVINO")


def parameters_of(directory: Path) -> int:
    with safe_open(directory / "model.safetensors", framework="pt") as tensors:
        return sum(tensors.get_tensor(name).numel() for name in tensors.keys())  # noqa: SIM118


def held_bytes() -> dict[int, int]:
    """Memory of all PyTorch's tensors that Python can reach: address -> bytes, each once."""
    gc.collect()
    # Not `isinstance`: it wakes lazy modules that only look like objects.
    tensors: list[Any] = [one for one in gc.get_objects() if issubclass(type(one), torch.Tensor)]
    dense = [one for one in tensors if one.layout == torch.strided and one.device.type == "cpu"]
    return {
        one.untyped_storage().data_ptr(): one.untyped_storage().nbytes()
        for one in dense
    }  # fmt: skip


def added_bytes(engine: str, precision: str) -> tuple[int, int]:
    """What a model holds beyond what was there before it: loaded, and after its first window."""
    before = held_bytes()
    model = from_name(BUNDLED_DIR, engine=engine, precision=precision, device="cpu")
    loaded = held_bytes()
    images = [frame.image for frame in make_frames(8, 72, 128)]
    model.observe_images(images, range(8), ["Is it night?"], None)
    looked = held_bytes()
    return tuple(
        sum(size for at, size in held.items() if at not in before) for held in (loaded, looked)
    )


@pytest.mark.parametrize(("precision", "each"), [("f32", 4), ("bf16", 2)])
def test_pytorch_holds_each_weight_once_in_the_format_that_runs(precision: str, each: int):
    if precision == "bf16" and packs_bf16():
        pytest.skip("packed weights lie where Python cannot count them")
    weights = parameters_of(BUNDLED_DIR) * each
    loaded, looked = added_bytes("torch", precision)
    assert 0.99 * weights < loaded < 1.05 * weights  # and tables of rotary angles
    assert looked < 1.15 * weights  # and a window's keys and values


@NEEDS_OPENVINO
def test_openvino_leaves_nothing_of_pytorch_behind():
    loaded, looked = added_bytes("openvino", "f32")
    assert loaded <= looked < 0.05 * 4 * parameters_of(BUNDLED_DIR)
