"""How do grey levels become features, with the fewest passes over memory?

Knows no device and no batches' sizes: pure functions over weights taken from transformers' modules.
What is saved against those: queries, keys and values are one product; a product adds its result to
the residual stream in place; the biases that would be added there are kept apart and added within
the next norm; scaling to [-1, 1] is part of the first layer. Grey levels less 128 are whole numbers
up to 128, so that bfloat16 holds them exactly, as scaled pixels it would not.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - its customary name
from torch import Tensor

from pipelines.smolvlm2.fused_ops import FusedOps

MIDDLE_GREY = 128
HALF_RANGE = 127.5  # a grey level over it, less 1, is a pixel in [-1, 1]


class VisionBlock(NamedTuple):
    """Weights of one layer. Matrices: [out, in]."""

    norm1: Tensor
    norm1_bias: Tensor
    offset1: Tensor  # [hidden] float32: biases that the residual stream was spared so far
    qkv: Tensor
    qkv_bias: Tensor
    out: Tensor
    norm2: Tensor
    norm2_bias: Tensor
    offset2: Tensor
    up: Tensor
    up_bias: Tensor
    down: Tensor


class Vision(NamedTuple):
    """Weights of encoder and connector, and their sizes."""

    patch: Tensor  # [hidden, 3 * p * p]
    table: Tensor  # [patches, hidden] float32: positions, bias and the shift of the scaling
    blocks: tuple[VisionBlock, ...]
    norm: Tensor
    norm_bias: Tensor
    offset: Tensor
    project: Tensor  # [text hidden, hidden * shuffle * shuffle]
    eps: float
    patch_px: int
    side: int  # patches along an edge
    num_heads: int
    shuffle: int  # patches along an edge that become one token
    frame_size_px: int

    @property
    def num_tokens(self) -> int:
        """Tokens a frame."""
        return (self.side // self.shuffle) ** 2


@torch.inference_mode()
def take_vision(module: Any) -> Vision:
    """Take the weights out of a `SmolVLMForConditionalGeneration`. They are in memory once."""
    config, vision = module.config.vision_config, module.model.vision_model
    side = config.image_size // config.patch_size
    kernel = vision.embeddings.patch_embedding.weight.flatten(1)  # [hidden, 3 * p * p]
    shift = kernel.float().sum(dim=1) * (MIDDLE_GREY - HALF_RANGE) / HALF_RANGE
    constant = vision.embeddings.patch_embedding.bias.float() + shift  # [hidden]
    positions = vision.embeddings.position_embedding.weight[_position_ids(vision, config)].float()
    blocks, offset = [], torch.zeros_like(constant)
    for layer in vision.encoder.layers:
        attention, mlp = layer.self_attn, layer.mlp
        offset1, offset2 = offset, offset + attention.out_proj.bias.float()
        offset = offset2 + mlp.fc2.bias.float()
        sources = (attention.q_proj, attention.k_proj, attention.v_proj)
        block = VisionBlock(
            norm1=layer.layer_norm1.weight.data,
            norm1_bias=layer.layer_norm1.bias.data,
            offset1=offset1,
            qkv=join_rows(sources),
            qkv_bias=torch.cat([source.bias.data for source in sources]),
            out=attention.out_proj.weight.data,
            norm2=layer.layer_norm2.weight.data,
            norm2_bias=layer.layer_norm2.bias.data,
            offset2=offset2,
            up=mlp.fc1.weight.data,
            up_bias=mlp.fc1.bias.data,
            down=mlp.fc2.weight.data,
        )
        blocks.append(block)
    return Vision(
        patch=kernel,
        table=positions + constant,
        blocks=tuple(blocks),
        norm=vision.post_layernorm.weight.data,
        norm_bias=vision.post_layernorm.bias.data,
        offset=offset,
        project=module.model.connector.modality_projection.proj.weight.data,
        eps=config.layer_norm_eps,
        patch_px=config.patch_size,
        side=side,
        num_heads=config.num_attention_heads,
        shuffle=module.config.scale_factor,
        frame_size_px=config.image_size,
    )


def join_rows(sources: tuple[Any, ...]) -> Tensor:
    """Weights of linear layers over each other; the layers go on as views of the whole."""
    joined = torch.cat([source.weight.data for source in sources])
    start = 0
    for source in sources:
        end = start + len(source.weight)
        source.weight.data = joined[start:end]
        start = end
    return joined


def encode(vision: Vision, ops: FusedOps, levels: Tensor) -> Tensor:
    """uint8 [N, 3, S, S] to features [N, tokens, text hidden]."""
    num_frames, tokens = levels.shape[0], vision.side**2
    x = _patches(vision, levels) @ vision.patch.T  # [N * tokens, hidden]
    x = (x.view(num_frames, tokens, -1) / HALF_RANGE + vision.table).flatten(0, 1).to(x.dtype)
    hidden = x.shape[1]
    for block in vision.blocks:
        y = ops.layer_norm(x, block.offset1, block.norm1, block.norm1_bias, vision.eps)
        qkv = F.linear(y, block.qkv, block.qkv_bias)
        heads = qkv.view(num_frames, tokens, 3, vision.num_heads, -1).transpose(1, 3)
        query, key, value = heads.unbind(2)  # [N, heads, tokens, D]
        seen = F.scaled_dot_product_attention(query, key, value)
        x.addmm_(seen.transpose(1, 2).reshape(-1, hidden), block.out.T)
        y = ops.layer_norm(x, block.offset2, block.norm2, block.norm2_bias, vision.eps)
        x.addmm_(ops.linear_gelu(y, block.up, block.up_bias), block.down.T)
    y = ops.layer_norm(x, vision.offset, vision.norm, vision.norm_bias, vision.eps)
    return _shuffle(vision, y.view(num_frames, tokens, hidden)) @ vision.project.T


def _patches(vision: Vision, levels: Tensor) -> Tensor:
    """uint8 [N, 3, S, S] to [N * patches, 3 * p * p], less 128."""
    side, patch_px = vision.side, vision.patch_px
    edge = side * patch_px  # a rest that is narrower than a patch is not looked at
    whole = levels[:, :, :edge, :edge]
    grid = whole.reshape(len(levels), 3, side, patch_px, side, patch_px)
    rows = grid.permute(0, 2, 4, 1, 3, 5).reshape(-1, 3 * patch_px * patch_px)
    return rows.to(vision.patch.dtype) - MIDDLE_GREY


def _shuffle(vision: Vision, x: Tensor) -> Tensor:
    """Squares of patches become one token: [N, patches, hidden] to [N, tokens, hidden * square]."""
    factor = vision.shuffle
    few = vision.side // factor
    squares = x.view(-1, few, factor, few, factor, x.shape[2]).transpose(2, 3)
    return squares.reshape(x.shape[0], few * few, factor * factor * x.shape[2])


def _position_ids(vision: Any, config: Any) -> Tensor:
    """Which row of its table transformers adds to each patch, [patches]: asked, not guessed.

    Its own rule compares float32 fractions, and their rounding decides.
    """
    seen: list[Tensor] = []
    embeddings = vision.embeddings
    hook = embeddings.position_embedding.register_forward_pre_hook(
        lambda _module, inputs: seen.append(inputs[0])
    )
    side, device = config.image_size // config.patch_size, module_device(vision)
    shape = (1, 3, config.image_size, config.image_size)
    try:
        embeddings(
            torch.zeros(shape, device=device, dtype=embeddings.patch_embedding.weight.dtype),
            torch.ones(1, side, side, dtype=torch.bool, device=device),
        )
    finally:
        hook.remove()
    return seen[0][0]


def module_device(module: Any) -> torch.device:
    """Where a module's weights are."""
    device: torch.device = next(module.parameters()).device
    return device
