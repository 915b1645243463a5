"""Where does the model run, and in which number format?

Knows no model. bfloat16 is the faster format only where the processor multiplies it in hardware:
on an AVX2 processor PyTorch's bfloat16 products were measured about 100 times slower than float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from pipelines.errors import ModelError

Precision = Literal["auto", "f32", "bf16", "int8"]
OPENVINO_DEVICES = frozenset({"gpu", "npu"})  # Intel's, which PyTorch does not run here

# x86: Cooper Lake and later, Zen 4 and later; Arm: Armv8.6 and later.
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


def choose_device(device: str) -> torch.device:
    """Resolve `auto` (the first CUDA GPU, else the CPU) or a name such as `cuda:1`.

    Raises `ModelError` for a name PyTorch does not know and for a GPU that is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f"no device is named {device!r}: use auto, cpu or cuda") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"PyTorch finds no GPU for device {device!r}: use device cpu or auto")
    return chosen


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Resolve `auto` for this device; what was asked for by name is given as asked."""
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            fast = device.type == "cpu" and cpu_multiplies_bf16(read_cpuinfo())
        return torch.bfloat16 if fast else torch.float32
    if precision not in ("f32", "bf16"):
        raise ModelError(f"no precision is named {precision!r}: use auto, f32 or bf16")
    return torch.bfloat16 if precision == "bf16" else torch.float32


def cpu_multiplies_bf16(cpuinfo: str) -> bool:
    """Tell from the text of `/proc/cpuinfo` whether the processor has bfloat16 products."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features") and BF16_FLAGS & set(value.split()):
            return True
    return False


def read_cpuinfo() -> str:
    """Give the text of /proc/cpuinfo, or nothing where there is none."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
