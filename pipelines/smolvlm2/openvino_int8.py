"""How do graphs become int8?

Knows no checkpoint. Weights and activations of all matrix products, by NNCF's
post-training quantization, whose ranges are those seen on sample windows. Attention stays as it
is: quantized, the encoder's took longer on a processor with AMX (tests/bench/LOG.md), and the
fused state of the text graph knows floats only. So does the head, which decides between words.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from pipelines.smolvlm2.openvino_quiet import ov


def quantize(source: Path, target: Path, samples: Sequence[dict[str, Any]]) -> None:
    """Make a float32 graph's file one of int8, calibrated on inputs of that graph."""
    import nncf  # noqa: PLC0415 - optional, and after `openvino_quiet`

    nncf.set_log_level(logging.ERROR)
    graph = ov.Core().read_model(source)  # its weights stay on the disk till they are wanted
    with _smoothed_on_disk(target.parent):
        result: ov.Model = nncf.quantize(
            graph,
            nncf.Dataset(samples),
            subset_size=len(samples),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(
                names=[node.get_friendly_name() for node in graph.get_ops() if _makes_logits(node)],
                types=["ScaledDotProductAttention"],
            ),
        )
    ov.save_model(result, target, compress_to_fp16=False)  # scales do not fit into 16 bits


@contextmanager
def _smoothed_on_disk(folder: Path) -> Iterator[None]:
    """Have weights that NNCF scales lie in files without a name, which need no memory.

    NNCF 3.4 keeps those of all layers, in float64, until it has the last, and then copies each.
    """
    from nncf.quantization.algorithms.smooth_quant.openvino_backend import (  # noqa: PLC0415
        OVSmoothQuantAlgoBackend,
    )

    command = OVSmoothQuantAlgoBackend.weight_update_command

    def spilled(node: Any, graph: Any, weight: np.ndarray[Any, Any]) -> Any:
        with TemporaryFile(dir=folder) as file:
            # A full disk is an error here, and would be a SIGBUS at the first write.
            os.posix_fallocate(file.fileno(), 0, 4 * weight.size)
            kept = np.memmap(file, np.float32, "w+", shape=weight.shape)
        kept[:] = weight
        return command(node, graph, kept)

    OVSmoothQuantAlgoBackend.weight_update_command = staticmethod(spilled)
    try:
        yield
    finally:
        OVSmoothQuantAlgoBackend.weight_update_command = staticmethod(command)


def _makes_logits(node: Any) -> bool:
    return node.get_type_name() == "MatMul" and "logits" in node.output(0).get_names()
