"""How does a CPU encode frames?

Knows SigLIP's layers and the connector behind them, as weights taken from transformers' modules;
no cache and no prompt. Against those modules: one product for queries, keys and values, residual
and activation within the products, no mask, and the patches' convolution as a product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.freed import trim
from pipelines.smolvlm2.cpu_linear import Linear, Pack


@dataclass(frozen=True, slots=True)
class _Layer:
    norm1: Any
    qkv: Linear
    out: Linear
    norm2: Any
    fc1: Linear
    fc2: Linear


class CpuEncoder:
    """The vision tower and its connector."""

    def __init__(self, vision: Any, connector: Any, pack: Pack) -> None:
        """Take the weights out of the two modules, which are of no use any more then."""
        embeddings = vision.embeddings
        size_px = embeddings.image_size
        self._patch_px: int = embeddings.patch_size
        self._side: int = size_px // embeddings.patch_size
        weight = embeddings.patch_embedding.weight
        zeros = torch.zeros(1, 3, size_px, size_px, dtype=weight.dtype)
        everywhere = torch.ones(1, self._side, self._side, dtype=torch.bool)
        # What the module gives for black is its bias and its positions, by its own arithmetic.
        self._offsets = embeddings(zeros, everywhere)[0]  # [patches, hidden]
        self._patches = pack(weight.flatten(1), None)
        self._layers = [_take_layer(layer, pack) for layer in vision.encoder.layers]
        self._num_heads: int = vision.config.num_attention_heads
        self._norm = vision.post_layernorm
        self._shuffle = connector.pixel_shuffle
        self._scale: int = connector.scale_factor
        self._project = pack(connector.modality_projection.proj.weight, None)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Frames [N, 3, S, S] in [-1, 1] to features [N, tokens, hidden of the language model]."""
        count = len(pixels)
        x = self._embed(pixels)  # [N * patches, hidden]
        for layer in self._layers:
            x = layer.out.add(self._attend(layer, x, count), x)
            x = layer.fc2.add(layer.fc1.gelu(layer.norm2(x)), x)
        x = self._norm(x).view(count, -1, x.shape[1])
        x = self._shuffle(x, self._scale)  # [N, tokens, hidden * scale^2]
        projected = self._project(x.flatten(0, 1))
        return projected.view(count, -1, projected.shape[1])

    def _embed(self, pixels: Tensor) -> Tensor:
        side, edge = self._side, self._side * self._patch_px
        grid = (len(pixels), 3, side, self._patch_px, side, self._patch_px)
        patches = pixels[:, :, :edge, :edge].reshape(grid).permute(0, 2, 4, 1, 3, 5)
        rows = patches.reshape(len(pixels) * self._side**2, -1)  # [N * patches, 3 * patch^2]
        return self._patches.add(rows, self._offsets.repeat(len(pixels), 1))

    def _attend(self, layer: _Layer, x: Tensor, count: int) -> Tensor:
        qkv = layer.qkv(layer.norm1(x)).view(
            count, -1, 3, self._num_heads, x.shape[1] // self._num_heads
        )
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [N, heads, patches, head]
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return mixed.transpose(1, 2).reshape(x.shape)


def _take_layer(layer: Any, pack: Pack) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    parts = (attention.q_proj, attention.k_proj, attention.v_proj)
    weight = torch.cat([part.weight for part in parts])
    bias = torch.cat([part.bias for part in parts])
    for part in parts:
        del part.weight, part.bias
    taken = _Layer(
        norm1=layer.layer_norm1,
        qkv=pack(weight, bias),
        out=pack(attention.out_proj.weight, attention.out_proj.bias),
        norm2=layer.layer_norm2,
        fc1=pack(mlp.fc1.weight, mlp.fc1.bias),
        fc2=pack(mlp.fc2.weight, mlp.fc2.bias),
    )
    del attention.out_proj, mlp.fc1, mlp.fc2
    trim()  # packed weights do not fit where plain ones lay: up to 190 MB of the 256M in all
    return taken
