"""Which engine runs a model, on which device and in which number format?

Knows no cameras. `auto` is resolved here and nowhere else.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from pipelines.smolvlm2.batch_protocol import BatchEngine
from pipelines.smolvlm2.cache import EncoderCache
from pipelines.smolvlm2.cache_dir import cache_dir
from pipelines.smolvlm2.checkpoint import load_checkpoint
from pipelines.smolvlm2.cpu_engine import CpuEngine
from pipelines.smolvlm2.cuda_engine import CudaEngine
from pipelines.smolvlm2.device import Precision, choose_device, choose_dtype
from pipelines.smolvlm2.engine_protocol import Engine
from pipelines.smolvlm2.files import fingerprint
from pipelines.smolvlm2.model import DEFAULT_DESCRIPTION_TOKENS, SmolVLM2
from pipelines.smolvlm2.presets import Progress, find_checkpoint
from pipelines.smolvlm2.torch_engine import TorchEngine

DEFAULT_CACHE_BYTES = 64 << 20  # 455 frames of the 256M model in float32
GPU_CACHE_BYTES = 512 << 20  # 1600 frames of the 2.2B model in bfloat16


def from_name(
    name_or_dir: str | Path,
    *,
    precision: Precision = "auto",
    device: str = "auto",
    num_threads: int | None = None,
    cache_bytes: int | None = None,
    max_description_tokens: int = DEFAULT_DESCRIPTION_TOKENS,
    progress: Progress | None = None,
) -> SmolVLM2:
    """Load a model by name (`presets.NAMES`) or from a directory.

    `num_threads` sets PyTorch's threads for the whole process; None leaves them as they are.
    `progress` is told how far a download is.
    `cache_bytes`: of frames' features; None: as fits the device.
    Raises `ModelError`, whose message says what to do.
    """
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    directory, model_id = find_checkpoint(name_or_dir, progress)
    chosen = choose_device(device)
    module, tokens = load_checkpoint(directory, choose_dtype(precision, chosen), chosen)
    if model_id is None:
        name = "bundled" if name_or_dir == "bundled" else directory.resolve().name
        model_id = f"{name}@{fingerprint(directory)}"
    engine = _engine_for(module, tokens.end_id, chosen)
    if cache_bytes is None:
        cache_bytes = GPU_CACHE_BYTES if chosen.type == "cuda" else DEFAULT_CACHE_BYTES
    return SmolVLM2(
        engine,
        tokens,
        model_id,
        cache=EncoderCache(cache_bytes),
        max_description_tokens=max_description_tokens,
    )


def _engine_for(module: Any, end_id: int, device: torch.device) -> Engine[Any] | BatchEngine[Any]:
    if device.type == "cuda":
        return CudaEngine(module, end_id, cache_dir=cache_dir(os.environ))
    if device.type == "cpu":
        return CpuEngine(module, end_id)
    return TorchEngine(module, end_id)
