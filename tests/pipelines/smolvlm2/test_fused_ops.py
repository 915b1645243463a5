"""Are the small operations what transformers computes, with and without a compiler?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from pipelines.smolvlm2 import fused_ops

COMPILE = """
import torch
from pathlib import Path
from pipelines.smolvlm2 import fused_ops
ops = fused_ops.compile_ops(torch.device("cpu"), Path({cache!r}))
x = torch.randn(5, 16)
assert torch.allclose(ops.gate(x), torch.nn.functional.silu(x[:, :8]) * x[:, 8:], atol=1e-6)
print("compiled" if ops.gate is not fused_ops.gate else "plain")
"""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU: there is none")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gelu_within_the_product_is_the_same(dtype: torch.dtype):
    x, weight = torch.randn(300, 64), torch.randn(256, 64)
    bias = torch.randn(256)
    expected = fused_ops.linear_gelu(x, weight, bias)
    on_gpu = [tensor.to("cuda", dtype) for tensor in (x, weight, bias)]
    seen = fused_ops.linear_gelu_in_product(*on_gpu).float().cpu()
    assert (seen - expected).abs().max() < (1e-4 if dtype == torch.float32 else 0.2)


def test_norms_are_those_of_the_modules():
    x, weight, bias, offset = torch.randn(7, 24), torch.randn(24), torch.randn(24), torch.randn(24)
    expected = F.layer_norm(x + offset, (24,), weight, bias, 1e-6)
    assert torch.allclose(fused_ops.layer_norm(x, offset, weight, bias, 1e-6), expected, atol=1e-6)
    module = LlamaRMSNorm(24, eps=1e-5)
    module.weight.data.copy_(weight)
    assert torch.allclose(fused_ops.rms_norm(x, weight, 1e-5), module(x), atol=1e-6)


def test_queries_and_keys_are_turned_and_values_are_not():
    qkv, positions = torch.randn(6, 5, 16), torch.tensor([0, 1, 5, 2, 9, 3])
    angles = torch.outer(torch.arange(10.0), 0.5 ** torch.arange(8.0)).repeat(1, 2)
    cos, sin = angles.cos(), angles.sin()
    turned = fused_ops.rotate(qkv, positions, cos, sin, 2)
    heads = qkv.transpose(0, 1)[None]  # [1, heads, M, D]
    expected, _ = apply_rotary_pos_emb(heads, heads, cos[positions][None], sin[positions][None])
    assert torch.allclose(turned[:, :3], expected[0].transpose(0, 1)[:, :3], atol=1e-6)
    assert torch.equal(turned[:, 3:], qkv[:, 3:])


def run_compile(cache: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    unset = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
    clean = {key: value for key, value in os.environ.items() if key not in unset}
    return subprocess.run(
        [sys.executable, "-c", COMPILE.format(cache=str(cache))],
        env=clean | environ, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_without_a_compiler_the_operations_are_plain_and_it_is_said(tmp_path: Path):
    done = run_compile(tmp_path / "cache", CXX="/nowhere/g++", CC="/nowhere/gcc")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "plain"
    assert "compile.missing" in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_compiled_kernels_are_kept_in_the_cache(tmp_path: Path):
    cache = tmp_path / "cache"
    assert run_compile(cache).stdout.split() == ["compiled"]
    kept = {path for path in (cache / "inductor").rglob("*") if path.is_file()}
    assert kept
    assert run_compile(cache).stdout.split() == ["compiled"]
    assert {path for path in (cache / "inductor").rglob("*") if path.is_file()} == kept
