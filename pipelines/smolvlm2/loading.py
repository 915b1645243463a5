"""Which engine runs a model, on which device and in which number format?

Knows no cameras. `auto` is resolved here and nowhere else.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import structlog
import torch

from pipelines.errors import ModelError
from pipelines.freed import trim
from pipelines.smolvlm2.batch_protocol import BatchEngine
from pipelines.smolvlm2.cache import EncoderCache
from pipelines.smolvlm2.cache_dir import cache_dir
from pipelines.smolvlm2.checkpoint import knows_time, load_checkpoint
from pipelines.smolvlm2.cpu_engine import CpuEngine
from pipelines.smolvlm2.cuda_engine import CudaEngine
from pipelines.smolvlm2.device import OPENVINO_DEVICES, Precision, choose_device, choose_dtype
from pipelines.smolvlm2.engine_protocol import Engine, Running
from pipelines.smolvlm2.files import fingerprint
from pipelines.smolvlm2.hub import Progress
from pipelines.smolvlm2.model import DEFAULT_DESCRIPTION_TOKENS, SmolVLM2
from pipelines.smolvlm2.presets import find_checkpoint
from pipelines.smolvlm2.stand_ins import StandIns
from pipelines.smolvlm2.tiles import Tiling
from pipelines.smolvlm2.tokens import Tokens
from pipelines.smolvlm2.torch_engine import TorchEngine

DEFAULT_CACHE_BYTES = 64 << 20  # 455 frames of the 256M model in float32
GPU_CACHE_BYTES = 512 << 20  # 1600 frames of the 2.2B model in bfloat16

EngineName = Literal["auto", "torch", "openvino"]


class Loaded(NamedTuple):
    """A model's parts, and what runs it."""

    engine: Engine[Any] | BatchEngine[Any]
    tokens: Tokens
    running: Running


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to run a model. `auto` where the machine may decide."""

    engine: EngineName = "auto"
    precision: Precision = "auto"
    device: str = "auto"  # cpu, cuda, cuda:1 ..., mps; with OpenVINO also gpu and npu
    calibration: Path | None = None  # frames for int8; None: drawn scenes


def from_name(
    name_or_dir: str | Path,
    *,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    device: str = "auto",
    calibration: Path | None = None,
    num_threads: int | None = None,
    cache_bytes: int | None = None,
    max_description_tokens: int = DEFAULT_DESCRIPTION_TOKENS,
    reuse_below: float | None = None,
    progress: Progress | None = None,
) -> SmolVLM2:
    """Load a model by name (`presets.NAMES`) or from a directory.

    `num_threads` sets PyTorch's threads for the whole process; None leaves them as they are.
    `calibration`: a folder of pictures and recordings for int8. `cache_bytes`: of frames'
    features; None: as fits the device. `reuse_below`: frames that differ less, in levels of 255,
    take the features of one before (`StandIns`); None: each has its own. `progress` is told how
    far a download is. Raises `ModelError`, whose message says what to do.
    """
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    directory, model_id = find_checkpoint(name_or_dir, progress)
    if model_id is None:
        name = "bundled" if name_or_dir == "bundled" else directory.resolve().name
        model_id = f"{name}@{fingerprint(directory)}"
    wanted = _Wanted(engine, precision, device, calibration)
    loaded = _load(directory, wanted)
    if cache_bytes is None:
        on_gpu = loaded.running.device.startswith("cuda")
        cache_bytes = GPU_CACHE_BYTES if on_gpu else DEFAULT_CACHE_BYTES
    return SmolVLM2(
        loaded.engine,
        loaded.tokens,
        model_id,
        running=loaded.running,
        cache=EncoderCache(cache_bytes),
        max_description_tokens=max_description_tokens,
        tiling=Tiling.of_checkpoint(directory, loaded.engine.frame_size_px),
        of_time=knows_time(directory),
        stand_ins=StandIns(reuse_below) if reuse_below is not None else None,
    )


def _load(directory: Path, wanted: _Wanted) -> Loaded:
    """Try what the wanted names, or what is fastest here."""
    if wanted.engine not in ("auto", "torch", "openvino"):
        raise ModelError(f"no engine is named {wanted.engine!r}: use auto, torch or openvino")
    wants_openvino = wanted.engine == "openvino" or _needs_openvino(wanted)
    if wanted.engine == "torch":
        return _load_torch(directory, wanted)
    if wants_openvino:
        return _load_openvino(directory, wanted)
    if find_spec("openvino") is None or choose_device(wanted.device).type != "cpu":
        return _load_torch(directory, wanted)
    try:
        return _load_openvino(directory, wanted)
    except ModelError as error:
        structlog.get_logger(__name__).warning(
            "openvino.refused", error=str(error), instead="torch"
        )
        return _load_torch(directory, wanted)


def _needs_openvino(wanted: _Wanted) -> bool:
    return wanted.precision == "int8" or wanted.device.lower() in OPENVINO_DEVICES


def _load_torch(directory: Path, wanted: _Wanted) -> Loaded:
    if _needs_openvino(wanted):
        what = "precision int8" if wanted.precision == "int8" else f"device {wanted.device}"
        raise ModelError(f"{what} needs engine: openvino; engine: torch does not have it")
    chosen = choose_device(wanted.device)
    dtype = choose_dtype(wanted.precision, chosen)
    module, tokens = load_checkpoint(directory, dtype, chosen)
    running = Running("torch", "bf16" if dtype == torch.bfloat16 else "f32", str(chosen))
    if chosen.type == "cuda":
        engine = CudaEngine(module, tokens.end_id, cache_dir=cache_dir(os.environ))
        return Loaded(engine, tokens, running)
    if chosen.type == "cpu":
        cpu_engine = CpuEngine(module, tokens.end_id)
        trim()
        return Loaded(cpu_engine, tokens, running)
    return Loaded(TorchEngine(module, tokens.end_id), tokens, running)


def _load_openvino(directory: Path, wanted: _Wanted) -> Loaded:
    if find_spec("openvino") is None:
        raise ModelError(
            "engine openvino is not installed: pip install 'smolwatch[openvino]', or set "
            "engine: torch"
        )
    # Here and not above, since OpenVINO is optional.
    from pipelines.smolvlm2.openvino_loading import load_openvino  # noqa: PLC0415

    engine, tokens, running = load_openvino(
        directory,
        precision=wanted.precision,
        device=wanted.device,
        calibration=wanted.calibration,
        num_threads=torch.get_num_threads(),
        cache=cache_dir(os.environ),
    )
    return Loaded(engine, tokens, running)
