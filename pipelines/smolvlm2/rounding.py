"""What does bfloat16 cost a model, whoever computes it?

Knows no engine. Products and layers take and give numbers of bfloat16 while the arithmetic stays
float32, so that it takes float32's time on processors that have no bfloat16: theirs is imitated, at
a hundredth of the speed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def rounded(module: Any) -> Iterator[None]:
    """Within it, a float32 SmolVLM of transformers rounds as one in bfloat16 does.

    Weights stay as they are: they are rounded at each use, one product's at a time.
    """
    products = [m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    layers = [*module.model.vision_model.encoder.layers, *module.model.text_model.layers]
    hooks = [layer.register_forward_hook(_residual) for layer in layers]
    for product in products:
        product.forward = partial(_product, product)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for product in products:
            del product.forward
        for hook in hooks:
            hook.remove()


def _product(product: nn.Linear | nn.Conv2d, x: Tensor) -> Tensor:
    x, weight = _round(x), _round(product.weight)
    if isinstance(product, nn.Linear):
        return _round(nn.functional.linear(x, weight, product.bias))
    return _round(nn.functional.conv2d(x, weight, product.bias, product.stride, product.padding))


def _residual(_layer: nn.Module, _given: Any, output: Tensor) -> Tensor:
    return _round(output)


def _round(x: Tensor) -> Tensor:
    return x.to(torch.bfloat16).to(torch.float32)
