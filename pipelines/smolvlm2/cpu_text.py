"""How does a CPU read a prompt?

Knows Llama's layers, as weights taken from transformers' modules; no tokens' meaning and no
sampling. Against those modules: one product for queries, keys and values, activations and sums
within the products, keys and values written in place, and grouped heads without copies of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.freed import trim
from pipelines.smolvlm2.cpu_linear import Linear, Pack


@dataclass(frozen=True, slots=True)
class _Layer:
    norm1: Tensor
    qkv: Linear
    out: Linear
    norm2: Tensor
    gate: Linear
    up: Linear
    down: Linear


class CpuText:
    """The language model without its head."""

    def __init__(self, text: Any, pack: Pack) -> None:
        """Take the weights out of the module, which is of no use any more then."""
        config = text.config
        self.num_kv_heads: int = config.num_key_value_heads
        self._groups: int = config.num_attention_heads // config.num_key_value_heads
        self.head_size: int = text.layers[0].self_attn.head_dim
        self._eps: float = config.rms_norm_eps
        self._layers = [_take_layer(layer, pack) for layer in text.layers]
        self._norm: Tensor = text.norm.weight
        self._words: Tensor = text.embed_tokens.weight  # [vocabulary, hidden]
        # Rotations by transformers' own arithmetic, float32 whatever the weights are.
        positions = torch.arange(config.max_position_embeddings)[None]
        cos, sin = text.rotary_emb(torch.empty(0, dtype=torch.float32), positions)
        half = self.head_size // 2
        self._cos = cos[0].to(self._words.dtype)  # [positions, head]
        sin[..., :half].neg_()  # rotate_half's sign goes into the table
        self._sin = sin[0].to(self._words.dtype)

    def embed(self, ids: Tensor) -> Tensor:
        """[n] ids to [n, hidden]."""
        return functional.embedding(ids, self._words)

    def new_cache(self, capacity: int) -> Tensor:
        """Room for keys and values: [layers, 2, kv heads, capacity, head]."""
        shape = (len(self._layers), 2, self.num_kv_heads, capacity, self.head_size)
        return torch.empty(shape, dtype=self._words.dtype)

    def read(self, x: Tensor, cache: Tensor) -> None:
        """Fill `cache` from its beginning with the prompt `x` [n, hidden].

        Only keys and values are wanted, so the last layer gives no more than those.
        """
        length = len(x)
        cos, sin = self._cos[:length, None], self._sin[:length, None]
        last = len(self._layers) - 1
        for number, (layer, kept) in enumerate(zip(self._layers, cache, strict=True)):
            q, k, v = self._project(layer, x, cos, sin)
            kept[0, :, :length], kept[1, :, :length] = k.transpose(0, 1), v.transpose(0, 1)
            if number == last:
                return
            k, v = (t.repeat_interleave(self._groups, dim=1) for t in (k, v))
            mixed = functional.scaled_dot_product_attention(
                q.transpose(0, 1)[None],
                k.transpose(0, 1)[None],
                v.transpose(0, 1)[None],
                is_causal=True,
            )
            x = self._finish(layer, x, mixed[0].transpose(0, 1).flatten(1))

    def read_on(
        self, x: Tensor, positions: Tensor, cache: Tensor, start: int, mask: Tensor | None
    ) -> Tensor:
        """Run `x` [n, hidden] behind `start` tokens of `cache`, and write keys and values there.

        `positions` [n] are what rotates them. `mask` [n, start + n] says who sees whom; None: all
        see all. Gives the last layer's states [n, hidden], normed.
        """
        count, end = len(x), start + len(x)
        cos, sin = self._cos[positions, None], self._sin[positions, None]
        if mask is not None:
            mask = mask.repeat(self._groups, 1)  # [groups * n, start + n]
        for layer, kept in zip(self._layers, cache, strict=True):
            q, k, v = self._project(layer, x, cos, sin)
            kept[0, :, start:end], kept[1, :, start:end] = k.transpose(0, 1), v.transpose(0, 1)
            # The heads of a group share their keys: as if they were that many more queries.
            grouped = q.view(count, self.num_kv_heads, self._groups, -1).permute(1, 2, 0, 3)
            mixed = functional.scaled_dot_product_attention(
                grouped.flatten(1, 2)[None],
                kept[0, None, :, :end],
                kept[1, None, :, :end],
                attn_mask=mask,
            )
            mixed = mixed.view(self.num_kv_heads, self._groups, count, -1).permute(2, 0, 1, 3)
            x = self._finish(layer, x, mixed.reshape(count, -1))
        return _rms_norm(x, self._norm, self._eps)

    def _project(self, layer: _Layer, x: Tensor, cos: Tensor, sin: Tensor) -> Sequence[Tensor]:
        """Queries [n, heads, head], keys and values [n, kv heads, head]; the first two rotated."""
        normed = _rms_norm(x, layer.norm1, self._eps)
        qkv = layer.qkv(normed).view(len(x), -1, self.head_size)
        rotating = qkv[:, : -self.num_kv_heads]  # queries and keys
        half = self.head_size // 2
        turned = torch.cat([rotating[..., half:], rotating[..., :half]], dim=-1)
        rotated = (rotating * cos).addcmul_(turned, sin)
        q, k = rotated[:, : -self.num_kv_heads], rotated[:, -self.num_kv_heads :]
        return q, k, qkv[:, -self.num_kv_heads :]

    def _finish(self, layer: _Layer, x: Tensor, mixed: Tensor) -> Tensor:
        """What follows attention: its output product and the feed-forward block."""
        x = layer.out.add(mixed, x)
        normed = _rms_norm(x, layer.norm2, self._eps)
        return layer.down.add(layer.up.times(normed, layer.gate.silu(normed)), x)


def _rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """As LlamaRMSNorm, with the mean in float32; `x` [n, hidden].

    PyTorch's own is eight operations on a CPU: a sixth of the time of a bfloat16 decoding step.
    """
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)  # [n, 1]
    scale = norm.square_().div_(x.shape[1]).add_(eps).rsqrt_()
    normed: Tensor = (x * scale).to(x.dtype).mul_(weight)
    return normed


def _take_layer(layer: Any, pack: Pack) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    weight = torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight])
    del attention.q_proj, attention.k_proj, attention.v_proj
    taken = _Layer(
        norm1=layer.input_layernorm.weight,
        qkv=pack(weight, None),
        out=pack(attention.o_proj.weight, None),
        norm2=layer.post_attention_layernorm.weight,
        gate=pack(mlp.gate_proj.weight, None),
        up=pack(mlp.up_proj.weight, None),
        down=pack(mlp.down_proj.weight, None),
    )
    del attention.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj
    trim()  # packed weights do not fit where plain ones lay: up to 190 MB of the 256M in all
    return taken
