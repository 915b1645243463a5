"""How does a CPU multiply by a matrix that never changes?

Knows no model. oneDNN reorders the weights once to the layout its kernels want, and does what comes
after the product (bias, activation, sum) while the tile is still in a register. `torch.compile`
with freezing ends in the same calls, but wants a C++ compiler on the machine and 77 s for them, and
its encoder took 0.50 s a frame where these take 0.23 s (tests/bench/LOG.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

# What torch.compile itself calls; there are no public names for them. They are the same in
# PyTorch 2.11 and 2.13, and a test runs them.
_reorder: Callable[..., Tensor] = torch.ops.mkldnn._reorder_linear_weight  # noqa: SLF001
_linear: Callable[..., Tensor] = torch.ops.mkldnn._linear_pointwise.default  # noqa: SLF001
_linear_with: Callable[..., Tensor] = torch.ops.mkldnn._linear_pointwise.binary  # noqa: SLF001


class Linear(Protocol):
    """`y = x @ weight.T + bias`, and what may follow it. `x` is [rows, in], `y` [rows, out]."""

    def __call__(self, x: Tensor) -> Tensor:
        """Give y."""
        ...

    def gelu(self, x: Tensor) -> Tensor:
        """The tanh form of GELU, of y."""
        ...

    def silu(self, x: Tensor) -> Tensor:
        """Y * sigmoid(y)."""
        ...

    def add(self, x: Tensor, other: Tensor) -> Tensor:
        """Give y + other; `other` is [rows, out] and may be overwritten."""
        ...

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """Give y * other; `other` is [rows, out] and may be overwritten."""
        ...


Pack = Callable[[Tensor, Tensor | None], Linear]  # (weight [out, in], bias) -> product


class PlainLinear:
    """For float32, where MKL's product is at nine tenths of the peak: packing gains nothing.

    On AVX2 oneDNN's fused GELU even takes longer than the product and a GELU apart.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight, self._bias = weight, bias

    def __call__(self, x: Tensor) -> Tensor:
        """Give y."""
        return functional.linear(x, self._weight, self._bias)

    def gelu(self, x: Tensor) -> Tensor:
        """The tanh form of GELU, of y."""
        return functional.gelu(self(x), approximate="tanh")

    def silu(self, x: Tensor) -> Tensor:
        """Y * sigmoid(y)."""
        return functional.silu(self(x), inplace=True)

    def add(self, x: Tensor, other: Tensor) -> Tensor:
        """Give y + other."""
        return self(x).add_(other)

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """Give y * other."""
        return self(x).mul_(other)


def packs_bf16() -> bool:
    """Whether oneDNN has bfloat16 kernels for this processor (x86: AVX-512 or AVX-NE-CONVERT)."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001


class PackedLinear:
    """bfloat16 on a processor that multiplies it: weights in oneDNN's layout, post-ops fused."""

    def __init__(self, weight: Tensor, bias: Tensor | None, rows: int) -> None:
        """`rows`: how many there usually are, for which the layout is chosen."""
        self._weight = _reorder(weight, rows)
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        """Give y."""
        return self._unary(x, "none", "")

    def gelu(self, x: Tensor) -> Tensor:
        """The tanh form of GELU, of y."""
        return self._unary(x, "gelu", "tanh")

    def silu(self, x: Tensor) -> Tensor:
        """Y * sigmoid(y)."""
        return self._unary(x, "swish", "")

    def add(self, x: Tensor, other: Tensor) -> Tensor:
        """Give y + other."""
        return _linear_with(x, other, self._weight, self._bias, "add")

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """Give y * other."""
        return _linear_with(x, other, self._weight, self._bias, "mul")

    def _unary(self, x: Tensor, name: str, algorithm: str) -> Tensor:
        return _linear(x, self._weight, self._bias, name, [], algorithm)
