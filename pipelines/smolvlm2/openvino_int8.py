"""How do graphs become int8?

Knows no checkpoint and no files. Weights and activations of all matrix products, by NNCF's
post-training quantization, whose ranges are those seen on sample windows. Attention stays as it
is: quantized, the encoder's took longer on a processor with AMX (tests/bench/LOG.md), and the
fused state of the text graph knows floats only. So does the head, which decides between words.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from pipelines.smolvlm2.openvino_quiet import ov


def quantized(graph: ov.Model, samples: Iterable[dict[str, Any]], count: int) -> ov.Model:
    """The graph in int8, calibrated on inputs of that graph."""
    import nncf  # noqa: PLC0415 - optional, and after `openvino_quiet`

    nncf.set_log_level(logging.ERROR)
    result: ov.Model = nncf.quantize(
        graph,
        nncf.Dataset(samples),
        subset_size=count,
        model_type=nncf.ModelType.TRANSFORMER,
        ignored_scope=nncf.IgnoredScope(
            names=[node.get_friendly_name() for node in graph.get_ops() if _makes_logits(node)],
            types=["ScaledDotProductAttention"],
        ),
    )
    return result


def _makes_logits(node: Any) -> bool:
    return node.get_type_name() == "MatMul" and "logits" in node.output(0).get_names()
