"""How are prompts, questions and words read, many windows at once, with fixed shapes?

Knows no device and no batches' sizes: pure functions over weights taken from transformers' modules
and over a store of keys and values, [layers, windows, slots, 2 * key heads, D], which they fill.
Shapes repeat, so that a GPU can replay the launches of a call as a graph: prompts are padded behind
their end, where no token of them looks, and what is read behind prompts says by a bias which slots
it may look at.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - its customary name
from torch import Tensor

from pipelines.smolvlm2.fused_ops import FusedOps
from pipelines.smolvlm2.lean_vision import join_rows


class LanguageBlock(NamedTuple):
    """Weights of one layer. Matrices: [out, in]."""

    norm1: Tensor
    qkv: Tensor
    out: Tensor
    norm2: Tensor
    gate_up: Tensor
    down: Tensor


class Language(NamedTuple):
    """Weights of the language model, and its sizes."""

    embed: Tensor  # [vocabulary, hidden]
    blocks: tuple[LanguageBlock, ...]
    norm: Tensor
    head: Tensor  # [vocabulary, hidden]
    cos: Tensor  # [context, D]
    sin: Tensor
    eps: float
    num_heads: int
    num_key_heads: int
    head_size: int

    def likeliest(self, hidden: Tensor) -> Tensor:
        """Normed states [..., hidden] to the ids of the likeliest tokens [...]."""
        return F.linear(hidden, self.head).argmax(dim=-1)


@torch.inference_mode()
def take_language(module: Any) -> Language:
    """Take the weights out of a `SmolVLMForConditionalGeneration`. They are in memory once."""
    config, text = module.config.text_config, module.model.text_model
    embed = text.embed_tokens.weight.data
    positions = torch.arange(config.max_position_embeddings, device=embed.device)
    cos, sin = text.rotary_emb(embed.float(), positions[None])
    blocks = []
    for layer in text.layers:
        attention, mlp = layer.self_attn, layer.mlp
        block = LanguageBlock(
            norm1=layer.input_layernorm.weight.data,
            qkv=join_rows((attention.q_proj, attention.k_proj, attention.v_proj)),
            out=attention.o_proj.weight.data,
            norm2=layer.post_attention_layernorm.weight.data,
            gate_up=join_rows((mlp.gate_proj, mlp.up_proj)),
            down=mlp.down_proj.weight.data,
        )
        blocks.append(block)
    return Language(
        embed=embed,
        blocks=tuple(blocks),
        norm=text.norm.weight.data,
        head=module.lm_head.weight.data,
        cos=cos[0],
        sin=sin[0],
        eps=config.rms_norm_eps,
        num_heads=config.num_attention_heads,
        num_key_heads=config.num_key_value_heads,
        head_size=attention.head_dim,
    )


def read_prompts(
    language: Language, ops: FusedOps, ids: Tensor, features: Tensor, store: Tensor
) -> None:
    """Fill `store` [layers, W, P, ...] with the keys and values of W prompts.

    `ids` [W, P]: a token, or -1 - i where row i of `features` [F, hidden] stands.
    """
    num_windows, length = ids.shape
    text, frames = ids.clamp(min=0), (-1 - ids).clamp(min=0)
    x = torch.where(ids[..., None] < 0, features[frames], language.embed[text]).flatten(0, 1)
    positions = torch.arange(length, device=ids.device).repeat(num_windows)
    last = len(language.blocks) - 1
    for number, block in enumerate(language.blocks):
        query, key_value = _project(language, ops, block, x, positions)
        key_value = key_value.view(num_windows, length, -1, language.head_size)
        store[number].copy_(key_value)
        if number == last:
            return  # what it would see, nobody asks for
        key, value = key_value.transpose(1, 2).chunk(2, dim=1)  # [W, key heads, P, D]
        query = query.view(num_windows, length, -1, language.head_size).transpose(1, 2)
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
        _add(language, ops, block, x, seen.transpose(1, 2).reshape(len(x), -1))


def read_behind(
    language: Language,
    ops: FusedOps,
    ids: Tensor,
    places: tuple[Tensor, Tensor, Tensor],
    store: Tensor,
) -> Tensor:
    """Read tokens behind the prompts of W windows; their last states [W, Q, hidden], normed.

    `ids` [W, Q]. `places`: positions [W, Q]; slots of the store that they fill [Q]; and what each
    may look at, [W, Q, slots]: 0 or -inf. `store` [layers, W, slots, ...].
    """
    positions, slots, bias = places
    num_windows, length = ids.shape
    num_groups, size = language.num_heads // language.num_key_heads, language.head_size
    # Heads that share keys are made rows of one, so that keys are not copied for each.
    shape = (num_windows, length, language.num_key_heads, num_groups, size)
    bias = bias[:, None].repeat(1, 1, num_groups, 1)  # [W, 1, groups * Q, slots]
    bias = bias.expand(-1, language.num_key_heads, -1, -1)
    x = language.embed[ids].flatten(0, 1)
    for number, block in enumerate(language.blocks):
        query, key_value = _project(language, ops, block, x, positions.flatten())
        store[number].index_copy_(1, slots, key_value.view(num_windows, length, -1, size))
        key, value = store[number].transpose(1, 2).chunk(2, dim=1)  # [W, key heads, slots, D]
        query = query.view(shape).permute(0, 2, 3, 1, 4).flatten(2, 3)  # [W, key heads, g * Q, D]
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        seen = seen.view(num_windows, language.num_key_heads, num_groups, length, size)
        _add(language, ops, block, x, seen.permute(0, 3, 1, 2, 4).reshape(len(x), -1))
    return ops.rms_norm(x, language.norm, language.eps).view(num_windows, length, -1)


def _project(
    language: Language, ops: FusedOps, block: LanguageBlock, x: Tensor, positions: Tensor
) -> tuple[Tensor, Tensor]:
    """[M, hidden] to queries [M, heads, D] and keys with values [M, 2 * key heads, D]."""
    y = ops.rms_norm(x, block.norm1, language.eps)
    qkv = F.linear(y, block.qkv).view(len(x), -1, language.head_size)
    turned = ops.rotate(qkv, positions, language.cos, language.sin, language.num_key_heads)
    return turned[:, : language.num_heads], turned[:, language.num_heads :]


def _add(language: Language, ops: FusedOps, block: LanguageBlock, x: Tensor, seen: Tensor) -> None:
    """Add to the residual stream x [M, hidden] what attention saw, and what follows from it."""
    x.addmm_(seen, block.out.T)
    y = ops.rms_norm(x, block.norm2, language.eps)
    x.addmm_(ops.gate(F.linear(y, block.gate_up)), block.down.T)
