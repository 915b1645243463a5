"""Which small operations stand between the matrix products, and are they compiled?

Knows no layers. Compiled, each is one pass over memory; as PyTorch's separate kernels it is three
to eight. The products themselves stay with cuBLAS, and attention with PyTorch's own kernels.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
import torch
import torch.nn.functional as F  # noqa: N812 - its customary name
from torch import Tensor


def layer_norm(x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """LayerNorm of `x + offset`. x: [M, hidden]; the others: [hidden]."""
    shifted = x.float() + offset.float()
    return F.layer_norm(shifted, x.shape[-1:], weight.float(), bias.float(), eps).to(x.dtype)


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A product and GELU in its tanh form, as SigLIP has it. x: [M, in]; weight: [out, in]."""
    return F.gelu(F.linear(x, weight, bias), approximate="tanh")


def linear_gelu_in_product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`linear_gelu` on an NVIDIA GPU, within the product: a tenth of the encoder's time less."""
    product: Tensor = torch._addmm_activation(bias, x, weight.T, use_gelu=True)  # noqa: SLF001
    return product


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm. x: [M, hidden]."""
    wide = x.float()
    scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return weight * (wide * scale).to(x.dtype)


def rotate(qkv: Tensor, positions: Tensor, cos: Tensor, sin: Tensor, num_values: int) -> Tensor:
    """Rotary embedding of all heads but the last `num_values`, which pass as they are.

    qkv: [M, heads, D]; positions: [M]; cos, sin: [context, D]. Returns [M, heads, D].
    """
    half = qkv.shape[2] // 2
    wide = qkv.float()
    across = torch.cat((-wide[..., half:], wide[..., :half]), dim=-1)
    turned = wide * cos[positions][:, None].float() + across * sin[positions][:, None].float()
    head = torch.arange(qkv.shape[1], device=qkv.device)[:, None]
    return torch.where(head < qkv.shape[1] - num_values, turned, wide).to(qkv.dtype)


def gate(gate_up: Tensor) -> Tensor:
    """SwiGLU: [M, 2 * inner] to [M, inner]."""
    gated, up = gate_up.chunk(2, dim=-1)
    return (F.silu(gated.float()) * up.float()).to(gate_up.dtype)


@dataclass(frozen=True, slots=True)
class FusedOps:
    """The operations above, compiled or not."""

    layer_norm: Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor] = layer_norm
    linear_gelu: Callable[[Tensor, Tensor, Tensor], Tensor] = linear_gelu
    rms_norm: Callable[[Tensor, Tensor, float], Tensor] = rms_norm
    rotate: Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor] = rotate
    gate: Callable[[Tensor], Tensor] = gate


def compile_ops(device: torch.device, cache_dir: Path | None) -> FusedOps:
    """Compile the operations for a GPU, or give them as they are where nothing can compile them.

    Compiled kernels are kept in `cache_dir` over restarts; None leaves that to PyTorch, which
    keeps them in the temporary directory. A first start compiles for some seconds.
    """
    if cache_dir is not None:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_dir / "inductor"))
        os.environ.setdefault("TRITON_CACHE_DIR", str(cache_dir / "triton"))
    in_product = linear_gelu_in_product if device.type == "cuda" else linear_gelu
    ops = FusedOps(
        layer_norm=_any_length(torch.compile(layer_norm)),
        linear_gelu=in_product,
        rms_norm=_any_length(torch.compile(rms_norm)),
        rotate=_any_length(torch.compile(rotate)),
        gate=_any_length(torch.compile(gate)),
    )
    try:
        ops.gate(torch.zeros(2, 16, device=device))
    except (RuntimeError, OSError, ImportError) as error:  # PyTorch's own are RuntimeErrors
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        structlog.get_logger(__name__).warning("compile.missing", error=reason)
        return FusedOps(linear_gelu=in_product)
    return ops


def _any_length(compiled: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """One compilation for all numbers of rows: only the first dimension [M] changes."""

    def run(x: Tensor, *others: Tensor | float) -> Tensor:
        for tensor in (x, *others):
            if isinstance(tensor, Tensor) and tensor.shape[0] == x.shape[0]:
                torch._dynamo.maybe_mark_dynamic(tensor, 0)  # noqa: SLF001 - it has no public name
        return compiled(x, *others)

    return run
