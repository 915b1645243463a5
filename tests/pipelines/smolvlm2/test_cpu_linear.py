"""Does a packed product, with what follows it, give what PyTorch's plain operations give?"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pipelines.smolvlm2.checkpoint import load_checkpoint
from pipelines.smolvlm2.cpu_engine import CpuEngine
from pipelines.smolvlm2.cpu_linear import Linear, PackedLinear, PlainLinear, packs_bf16
from pipelines.smolvlm2.torch_engine import TorchEngine
from tests.pipelines.smolvlm2.conftest import make_frames

NEEDS_BF16 = pytest.mark.skipif(not packs_bf16(), reason="no bfloat16 kernels on this processor")
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 0.1}  # of values around 3


def packed(weight: Tensor, bias: Tensor | None) -> Linear:
    return PackedLinear(weight, bias, rows=64)


@pytest.mark.parametrize(
    "dtype", [torch.float32, pytest.param(torch.bfloat16, marks=NEEDS_BF16)], ids=str
)
@pytest.mark.parametrize("biased", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("rows", [1, 64, 70])  # a decoding step; as packed for; another number
@pytest.mark.parametrize("make", [PlainLinear, packed], ids=["plain", "packed"])
def test_every_verb_is_the_plain_operation(make, rows, biased, dtype):
    random = torch.Generator().manual_seed(0)
    weight = (torch.randn(96, 48, generator=random) / 7).to(dtype)
    bias = torch.randn(96, generator=random).to(dtype) if biased else None
    x = torch.randn(rows, 48, generator=random).to(dtype)
    other = torch.randn(rows, 96, generator=random).to(dtype)
    expected = x.float() @ weight.float().T + (0.0 if bias is None else bias.float())
    with torch.inference_mode():
        linear = make(weight, bias)
        given = {
            "product": (linear(x), expected),
            "gelu": (linear.gelu(x), functional.gelu(expected, approximate="tanh")),
            "silu": (linear.silu(x), functional.silu(expected)),
            "add": (linear.add(x, other.clone()), expected + other.float()),
            "times": (linear.times(x, other.clone()), expected * other.float()),
        }
    for name, (y, wanted) in given.items():
        assert y.dtype == dtype
        assert (y.float() - wanted).abs().max() < TOLERANCES[dtype], name


@NEEDS_BF16
def test_features_in_bf16_are_near_the_references(tiny_dir: Path):
    frames = torch.stack([torch.from_numpy(f.image.copy()) for f in make_frames(2, 64, 64)])
    pixels = frames.permute(0, 3, 1, 2).contiguous()
    features = []
    for engine, dtype in ((TorchEngine, torch.float32), (CpuEngine, torch.bfloat16)):
        module, tokens = load_checkpoint(tiny_dir, dtype, torch.device("cpu"))
        features.append(engine(module, tokens.end_id).encode(pixels).float())
    reference, ours = features
    assert (ours - reference).norm() < 0.02 * reference.norm()
