"""How do the model's PyTorch modules become OpenVINO graphs?

Knows no files, no devices and no number formats: loaded modules in, float32 graphs out.

Two graphs. The encoder takes one uint8 frame: batches gain nothing on a CPU, and a shape that
never changes is what the graph compiler and the NPU like best. The text graph runs any tokens
behind any kept ones; keys and values live in its state. The head is part of it: as a graph of its
own it has its own threads, and each word's two pools held each other up (tests/bench/LOG.md).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import repeat_kv

from pipelines.smolvlm2.openvino_quiet import ov


class _Encoder(nn.Module):
    """Vision tower and connector behind the scaling of grey levels."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.vision = module.model.vision_model
        self.connector = module.model.connector
        config = module.config.vision_config
        side = config.image_size // config.patch_size
        # transformers works the patches' positions out anew in each call, from a mask of ones.
        self.register_buffer("positions", torch.arange(side * side)[None])

    def forward(self, levels: Tensor) -> Tensor:
        """Uint8 [1, 3, S, S] to [1, tokens, hidden]."""
        pixels = levels.float() * (1 / 127.5) - 1.0
        embeddings = self.vision.embeddings
        hidden = embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
        hidden = hidden + embeddings.position_embedding(self.positions)
        for layer in self.vision.encoder.layers:
            hidden = hidden + self._attend(layer.self_attn, layer.layer_norm1(hidden))
            hidden = hidden + layer.mlp(layer.layer_norm2(hidden))
        features: Tensor = self.connector(self.vision.post_layernorm(hidden))
        return features

    @staticmethod
    def _attend(attention: Any, hidden: Tensor) -> Tensor:
        def split(x: Tensor) -> Tensor:
            return x.view(1, -1, attention.num_heads, attention.head_dim).transpose(1, 2)

        mixed = nn.functional.scaled_dot_product_attention(
            split(attention.q_proj(hidden)),
            split(attention.k_proj(hidden)),
            split(attention.v_proj(hidden)),
        )
        attended: Tensor = attention.out_proj(mixed.transpose(1, 2).reshape(hidden.shape))
        return attended


class _Text(nn.Module):
    """The language model, for rows that the caller names.

    The last layer's keys and values are made for every token, all that lies behind its attention
    for `rows` only: a prefill wants one row of 670, and saves most of a layer.
    """

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.text = module.model.text_model
        self.head = module.lm_head
        # The CPU plugin computes in float32 what lies between an output and the last product before
        # it. Without this one that is the whole residual stream, and two conversions a sum: a
        # tenth of a word's time for logits that are no nearer to the reference's.
        self.identity = nn.Buffer(torch.eye(module.config.text_config.hidden_size))
        self.layers = [_Layer(layer) for layer in self.text.layers]

    def forward(
        self,
        embeddings: Tensor,  # [1, T, hidden]
        positions: Tensor,  # [1, T]
        mask: Tensor,  # [1, 1, T, K + T], added to scores
        rows: Tensor,  # [R], which of the T tokens
        kept: Tensor,  # [1], which of the kept sequences: always 0, see `text_graph`
        past: list[Tensor],  # keys, values of each layer, [1, kv_heads, K, head_dim]
    ) -> tuple[Tensor, ...]:
        """Return states [R, hidden], logits [R, vocabulary], keys and values [1, kv, K + T, ...].

        Logits come in whatever the products are in; who wants them finer has the states.
        """
        cos, sin = (x[:, None] for x in self.text.rotary_emb(embeddings, positions))
        hidden, present = embeddings, []
        for i, layer in enumerate(self.layers):
            queries, keys, values = layer.project(hidden, cos, sin)
            keys = torch.cat([past[2 * i].index_select(0, kept), keys], dim=2)
            values = torch.cat([past[2 * i + 1].index_select(0, kept), values], dim=2)
            present += [keys, values]
            mixed = layer.attend(queries, keys, values, mask)
            if layer is self.layers[-1]:
                # Not sooner: the fused state takes as many queries as new keys, and unfused it is
                # copied and repeated at each word.
                hidden, mixed = hidden[:, rows], mixed[:, rows]
            hidden = layer.finish(hidden, mixed)
        hidden = self.text.norm(hidden)[0]
        states = nn.functional.linear(hidden, self.identity)
        return (states, self.head(hidden), *present)


class _Layer(nn.Module):
    """A decoder layer with its three projections in one product, and its two rotations in one.

    One token's step is bound by the number of nodes, not by arithmetic.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer
        attention = layer.self_attn
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        self.weight = nn.Parameter(torch.cat([p.weight for p in projections]), requires_grad=False)
        self.head_dim: int = attention.head_dim
        self.groups: int = attention.num_key_value_groups
        self.queries: int = attention.q_proj.out_features // self.head_dim
        self.keys: int = attention.k_proj.out_features // self.head_dim
        self.minus_one = nn.Buffer(torch.tensor(-1.0))  # `-x` hides the constant behind a cast

    def project(self, hidden: Tensor, cos: Tensor, sin: Tensor) -> Sequence[Tensor]:
        """Queries, keys and values [1, heads, T, head_dim], the first two rotated."""
        heads = nn.functional.linear(self.layer.input_layernorm(hidden), self.weight)
        heads = heads.view(1, -1, self.queries + 2 * self.keys, self.head_dim).transpose(1, 2)
        turning, values = torch.split(heads, [self.queries + self.keys, self.keys], dim=1)
        # In the one form that OpenVINO fuses, the two names of the last axis included.
        half = self.head_dim // 2
        first, second = torch.split(turning, [half, half], dim=3)
        turned = torch.cat([second * self.minus_one, first], dim=-1)
        turning = turning * cos + turned * sin
        return (*torch.split(turning, [self.queries, self.keys], dim=1), values)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """Over all keys, [1, T, heads * head_dim]."""
        mixed = nn.functional.scaled_dot_product_attention(
            queries,
            repeat_kv(keys, self.groups),
            repeat_kv(values, self.groups),
            attn_mask=mask,
        )
        return mixed.transpose(1, 2).flatten(2)

    def finish(self, hidden: Tensor, mixed: Tensor) -> Tensor:
        """What follows attention: its output product and the feed-forward block."""
        layer = self.layer
        hidden = hidden + layer.self_attn.o_proj(mixed)
        done: Tensor = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        return done


def encoder_graph(module: Any) -> ov.Model:
    """`levels` uint8 [1, 3, S, S] to `features` [1, tokens, hidden]."""
    size = module.config.vision_config.image_size
    levels = torch.zeros(1, 3, size, size, dtype=torch.uint8)
    return _converted(_Encoder(module), [levels], [levels.shape], ["levels"], ["features"])


def text_graph(module: Any) -> ov.Model:
    """See `_Text.forward`; keys and values are its state, empty after a reset.

    `kept` is there because the CPU plugin fuses the state into its attention, writing in place,
    only in the form that beam search has.
    """
    config = module.config.text_config
    layers = config.num_hidden_layers
    head_dim = module.model.text_model.layers[0].self_attn.head_dim
    shape = [-1, config.num_key_value_heads, -1, head_dim]
    tokens, kept = 4, 3
    example = [
        torch.zeros(1, tokens, config.hidden_size),
        torch.arange(tokens)[None],
        torch.zeros(1, 1, tokens, kept + tokens),
        torch.tensor([1, 3]),
        torch.zeros(1, dtype=torch.int32),
        [torch.zeros(1, shape[1], kept, shape[3]) for _ in range(2 * layers)],
    ]
    inputs = [[1, -1, config.hidden_size], [1, -1], [1, 1, -1, -1], [-1], [-1]]
    past = [f"past.{i}" for i in range(2 * layers)]
    present = [f"present.{i}" for i in range(2 * layers)]
    names = ["embeddings", "positions", "mask", "rows", "kept"]
    shapes = inputs + [shape] * (2 * layers)
    graph = _converted(_Text(module), example, shapes, names + past, ["hidden", "logits", *present])
    from openvino import opset13 as opset  # noqa: PLC0415 - after `openvino_quiet`
    from openvino._offline_transformations import (  # noqa: PLC0415
        apply_make_stateful_transformation,
    )

    apply_make_stateful_transformation(graph, dict(zip(past, present, strict=True)))
    # The CPU plugin's fused state wants a first value whose batch is an input's.
    batch = opset.shape_of(graph.input("kept").get_node(), output_type="i64")
    dims = opset.concat([batch, np.array([shape[1], 0, shape[3]], np.int64)], axis=0)
    empty = opset.broadcast(np.float32(0), dims)
    for node in graph.get_ops():
        if node.get_type_name() == "ReadValue" and node.get_output_partial_shape(0)[0].is_dynamic:
            node.set_arguments([empty])
    graph.validate_nodes_and_infer_types()
    return graph


def _converted(
    module: nn.Module,
    example: list[Any],
    shapes: Sequence[Sequence[int]],
    inputs: list[str],
    outputs: list[str],
) -> ov.Model:
    """Trace, convert, and name the ports in their order, whatever tracing called them."""
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes become constants: wanted
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            module, tuple(example), check_trace=False
        )
    graph = ov.convert_model(traced, example_input=tuple(example), input=[list(s) for s in shapes])
    for port, name in zip(graph.inputs, inputs, strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_friendly_name(name)
    for port, name in zip(graph.outputs, outputs, strict=True):
        port.get_tensor().set_names({name})
    return graph
