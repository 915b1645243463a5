"""How does a checkpoint become a running OpenVINO engine?

Knows no graphs: converted files are taken from the cache or made, the engine is built on them, and
has to pass its exam.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import structlog

from pipelines.errors import ModelError
from pipelines.smolvlm2 import exam
from pipelines.smolvlm2.device import OPENVINO_DEVICES, Precision, cpu_multiplies_bf16, read_cpuinfo
from pipelines.smolvlm2.engine_protocol import Running
from pipelines.smolvlm2.files import check_files, fingerprint
from pipelines.smolvlm2.mapped_files import let_go
from pipelines.smolvlm2.openvino_convert import convert
from pipelines.smolvlm2.openvino_engine import OpenVinoEngine
from pipelines.smolvlm2.openvino_files import EXAM, Recipe, read_sizes
from pipelines.smolvlm2.openvino_quiet import ov
from pipelines.smolvlm2.sample_windows import name_of
from pipelines.smolvlm2.tokens import Tokens

_MAKERS = (
    "exam.py",
    "openvino_calibration.py",
    "openvino_convert.py",
    "openvino_graphs.py",
    "openvino_int8.py",
    "rounding.py",
    "sample_windows.py",
)


def load_openvino(
    directory: Path,
    *,
    precision: Precision,
    device: str,
    calibration: Path | None,
    num_threads: int,
    cache: Path,
) -> tuple[OpenVinoEngine, Tokens, Running]:
    """Build the engine of a checkpoint; `cache` is the folder of converted files.

    Converting takes half a minute the first time (256M, two cores), int8 some minutes. Raises
    `ModelError`, also for an engine that does not say what the reference says.
    """
    check_files(directory)
    tokens = Tokens.from_file(directory / "tokenizer.json")
    plugin = _plugin(device)
    half = half_format(plugin, _capabilities(plugin), read_cpuinfo())
    chosen = _resolve(precision, half)
    recipe = _recipe(directory, chosen, calibration)
    folder = recipe.folder(cache)
    sizes = read_sizes(folder)
    if sizes is None:
        if folder.exists():
            structlog.get_logger(__name__).warning("openvino.damaged", folder=str(folder))
        convert(directory, folder, chosen, calibration if chosen == "int8" else None)
        recipe.prune(cache)
        sizes = read_sizes(folder)
        if sizes is None:
            raise ModelError(f"converted files cannot be kept in {folder}; set engine: torch")
    options = _options(chosen, plugin, half, num_threads, folder)
    engine = OpenVinoEngine(folder, sizes, tokens.end_id, plugin, options)
    _examine(engine, tokens, folder, chosen)
    let_go(folder)  # most weights are packed at their first use, out of the file once more
    return engine, tokens, Running("openvino", chosen, plugin.lower())


def _plugin(device: str) -> str:
    """OpenVINO's name of a device."""
    if device == "auto":
        return "CPU"
    if device.lower() not in OPENVINO_DEVICES | {"cpu"}:
        raise ModelError(f"engine openvino has no device {device!r}: use auto, cpu, gpu or npu")
    return device.upper()


def half_format(plugin: str, capabilities: Collection[str], cpuinfo: str) -> str | None:
    """OpenVINO's fast format of 16 bits there: `bf16`, `f16` where bf16 is said, or none.

    Float16 is that of Intel's GPUs and NPUs, and of Arm (Raspberry Pi 5 among them), for which
    OpenVINO knows no bfloat16. On x86 OpenVINO names bfloat16 where it is only imitated, so the
    processor is asked, too.
    """
    if plugin != "CPU":
        return "f16"
    if "BF16" in capabilities and cpu_multiplies_bf16(cpuinfo):
        return "bf16"
    return "f16" if "FP16" in capabilities else None


def _capabilities(plugin: str) -> Collection[str]:
    if plugin != "CPU":  # may not be there: what compiles for it says so better
        return ()
    named: Collection[str] = ov.Core().get_property(plugin, "OPTIMIZATION_CAPABILITIES")
    return named


def _resolve(precision: Precision, half: str | None) -> str:
    """What `auto` is here."""
    if precision not in ("auto", "f32", "bf16", "int8"):
        raise ModelError(f"no precision is named {precision!r}: use auto, f32, bf16 or int8")
    if precision == "int8" and find_spec("nncf") is None:
        raise ModelError("precision int8 needs nncf: pip install 'smolwatch[openvino]'")
    if precision != "auto":
        return precision
    return "bf16" if half else "f32"


def _recipe(directory: Path, precision: str, calibration: Path | None) -> Recipe:
    """Converted files are as old as the code and the libraries that made them."""
    made_by = hashlib.sha256()
    for name in _MAKERS:
        made_by.update((Path(__file__).parent / name).read_bytes())
    made_by.update((directory / "tokenizer.json").read_bytes())  # the exam's papers are ids
    for library in ("openvino", "torch", "transformers"):
        made_by.update(version(library).encode())
    frames = "none"
    if precision == "int8":
        made_by.update(version("nncf").encode())
        frames = name_of(calibration) if calibration is not None else "scenes"
    return Recipe(fingerprint(directory), precision, frames, made_by.hexdigest()[:8])


def _options(
    precision: str, plugin: str, half: str | None, num_threads: int, folder: Path
) -> dict[str, Any]:
    number = "f32" if precision == "f32" else half or ("bf16" if precision == "bf16" else "f32")
    if plugin != "CPU":  # compiling takes minutes there, and is kept
        return {"INFERENCE_PRECISION_HINT": number, "CACHE_DIR": str(folder.parent / "compiled")}
    return {
        "INFERENCE_PRECISION_HINT": number,
        "KV_CACHE_PRECISION": number,  # by default 8 bits
        "INFERENCE_NUM_THREADS": num_threads,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # cameras need the same cores
    }


def _examine(engine: OpenVinoEngine, tokens: Tokens, folder: Path, precision: str) -> None:
    held_to = exam.load(folder / EXAM)
    given = [exam.sit(engine, paper, tokens.yes_ids + tokens.no_ids) for paper in held_to.papers]
    grade = exam.grade(given, held_to.right, len(tokens.yes_ids))
    exam.require(grade, held_to.rounding, "openvino", precision)
    structlog.get_logger(__name__).info(
        "openvino.passed",
        precision=precision,
        logit_error=f"{grade.logit_error:.2g}",
        logit_error_allowed=f"{exam.most_logit_error(held_to.rounding, precision):.2g}",
        p_yes_error=f"{grade.p_yes_error:.2g}",
    )
