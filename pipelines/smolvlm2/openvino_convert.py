"""How does a checkpoint become a folder of converted files?

    python -m pipelines.smolvlm2.openvino_convert CHECKPOINT WORK FOLDER PRECISION [FRAMES]

Knows no devices. Runs in a process of its own, so that PyTorch's weights and the converter's
memory go back to the system; `convert` starts it. The reference's answers are stored beside the
graphs, for the exam that each load begins with.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp
from typing import Any

import numpy as np
import structlog
import torch

from pipelines.errors import ModelError
from pipelines.freed import trim
from pipelines.smolvlm2.checkpoint import load_checkpoint
from pipelines.smolvlm2.exam import Exam, Paper, grade, save, sit
from pipelines.smolvlm2.openvino_calibration import (
    CALIBRATION_FRAMES,
    CALIBRATION_WINDOWS,
    Sample,
    encoder_inputs,
    samples_of,
    text_inputs_of,
)
from pipelines.smolvlm2.openvino_files import (
    EMBEDDINGS,
    ENCODER,
    EXAM,
    HEAD_ROWS,
    TEXT,
    Sizes,
    publish,
)
from pipelines.smolvlm2.openvino_graphs import encoder_graph, text_graph
from pipelines.smolvlm2.openvino_int8 import quantize
from pipelines.smolvlm2.openvino_quiet import ov
from pipelines.smolvlm2.rounding import rounded
from pipelines.smolvlm2.sample_windows import papers_of, recorded_windows, scene_windows
from pipelines.smolvlm2.tokens import Tokens
from pipelines.smolvlm2.torch_engine import TorchEngine

EXAM_WINDOWS, EXAM_FRAMES = 2, 2  # a start encodes these: 4 s of 256M on two old cores
_EXAM_SEED, _CALIBRATION_SEED = 71, 72
_MOST_S = 14_400.0  # int8 of the 2.2B takes 20 minutes of two cores with bfloat16
_STALE_S = 86_400.0


def convert(checkpoint: Path, folder: Path, precision: str, frames: Path | None) -> None:
    """Have `folder` made by a child process. Raises `ModelError` if that fails."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder.parent)
        work = Path(mkdtemp(prefix=".work-", dir=folder.parent))
    except OSError as error:
        raise ModelError(
            f"converted models cannot be kept in {folder.parent} ({error.strerror}); set "
            "XDG_CACHE_HOME to a folder that can be written to, or engine: torch"
        ) from error
    log = structlog.get_logger(__name__)
    log.info("openvino.converting", checkpoint=str(checkpoint), precision=precision)
    began_s = time.monotonic()
    asked = [str(checkpoint), str(work), str(folder), precision]
    try:
        code, complaints = _run([*asked, *([str(frames)] if frames is not None else [])])
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelError(f"the model could not be converted for OpenVINO: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)  # gone already, if all went well
    if code != 0:
        reason = _reason(code, complaints, precision)
        raise ModelError(f"the model could not be converted for OpenVINO: {reason}")
    log.info(
        "openvino.converted",
        folder=str(folder),
        seconds=round(time.monotonic() - began_s, 1),
        peak_mb=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10,
    )


def _reason(code: int, complaints: str, precision: str) -> str:
    """Why the converter failed, in one line."""
    if code == -signal.SIGKILL:
        other = "precision: auto, " if precision == "int8" else ""
        return (
            "it was killed, as Linux does where memory runs out; less is taken by "
            f"{other}a smaller model, or engine: torch"
        )
    if code < 0:
        return f"the converter was ended by {signal.Signals(-code).name}"
    return (complaints.strip() or f"the converter ended with code {code}").splitlines()[-1]


def _run(asked: list[str]) -> tuple[int, str]:
    """Run the converter; its exit code and what it complained of. It ends when this process does.

    Its standard input is never written to: it only tells the child that there is a parent.
    """
    with (
        TemporaryFile("w+") as complaints,
        subprocess.Popen(  # noqa: S603 - this very module
            [sys.executable, "-m", __spec__.name, *asked],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            text=True,
        ) as child,
    ):
        try:
            code = child.wait(_MOST_S)
        finally:
            child.kill()
        complaints.seek(0)
        return code, complaints.read()


def _remove_stale(cache: Path) -> None:
    """Delete what conversions left that were killed."""
    for work in cache.glob(".work-*"):
        if time.time() - work.stat().st_mtime > _STALE_S:
            shutil.rmtree(work, ignore_errors=True)


def _exam(
    module: Any, reference: TorchEngine, tokens: Tokens, papers: list[Paper], precision: str
) -> Exam:
    ids = tokens.yes_ids + tokens.no_ids
    right = [sit(reference, paper, ids) for paper in papers]
    if precision != "bf16":  # the others' bars are constants
        return Exam(papers, right, 0.0)
    with rounded(module):
        roughly = [sit(reference, paper, ids, words=False) for paper in papers]
    return Exam(papers, right, grade(roughly, right, len(tokens.yes_ids)).logit_error)


def _convert_here(checkpoint: Path, work: Path, precision: str, frames: Path | None) -> Sizes:
    """Fill `work`.

    int8 goes by float32 files: PyTorch's weights are gone while NNCF works, and those of the files
    need not be in memory. Otherwise the 2.2B model did not fit into 24 GB.
    """
    if precision != "int8":
        return _write_floats(checkpoint, work, work, precision, frames)[0]
    floats = work / "floats"
    floats.mkdir()
    sizes, samples = _write_floats(checkpoint, work, floats, precision, frames)
    trim()
    quantize(floats / ENCODER, work / ENCODER, encoder_inputs(samples))
    embeddings = np.load(work / EMBEDDINGS, mmap_mode="r")
    passes = list(text_inputs_of(samples, embeddings, sizes.image_id))
    quantize(floats / TEXT, work / TEXT, passes)
    shutil.rmtree(floats)
    return sizes


def _write_floats(
    checkpoint: Path, work: Path, graphs: Path, precision: str, frames: Path | None
) -> tuple[Sizes, list[Sample]]:
    """The exam and the tables into `work`, graphs into `graphs`; what int8 is calibrated on."""
    module, tokens = load_checkpoint(checkpoint, torch.float32, torch.device("cpu"))
    reference = TorchEngine(module, tokens.end_id)
    sizes = Sizes(
        reference.frame_size_px,
        reference.tokens_per_frame,
        reference.max_tokens,
        module.config.image_token_id,
    )

    def papers(count: int, length: int, seed: int) -> list[Paper]:
        """Where the user's frames are calibrated on, they are asked about, too."""
        if frames is None:
            windows = scene_windows(count, length, seed)
        else:
            windows = recorded_windows(frames, count, length)
        return papers_of(windows, tokens, sizes.frame_size_px, sizes.tokens_per_frame)

    held_to = papers(EXAM_WINDOWS, EXAM_FRAMES, _EXAM_SEED)
    save(work / EXAM, _exam(module, reference, tokens, held_to, precision))
    encoder = encoder_graph(module)
    samples: list[Sample] = []
    if precision == "int8":
        seen = papers(CALIBRATION_WINDOWS, CALIBRATION_FRAMES, _CALIBRATION_SEED)
        samples = samples_of(seen, reference, encoder)
    # Files of float16 hold bfloat16's digits and more.
    ov.save_model(encoder, graphs / ENCODER, compress_to_fp16=precision == "bf16")
    del encoder  # one graph in memory, not two
    embeddings = module.model.text_model.embed_tokens.weight.detach().numpy()
    np.save(work / EMBEDDINGS, embeddings)
    head = module.lm_head.weight.detach().numpy()
    if not np.shares_memory(head, embeddings):
        np.save(work / HEAD_ROWS, head)
    ov.save_model(text_graph(module), graphs / TEXT, compress_to_fp16=precision == "bf16")
    return sizes, samples


def _main(
    checkpoint: str, work: str, folder: str, precision: str, frames: str | None = None
) -> int:
    filled = Path(work)
    threading.Thread(target=_end_with_parent, args=(filled,), name="parent", daemon=True).start()
    try:
        sizes = _convert_here(
            Path(checkpoint), filled, precision, Path(frames) if frames is not None else None
        )
        publish(filled, Path(folder), sizes)
    except (ModelError, ImportError, OSError) as error:
        sys.stderr.write(f"{str(error).strip() or type(error).__name__}\n")
        return 1
    return 0


def _end_with_parent(work: Path) -> None:
    # Not sys.stdin: its lock, held here, makes the interpreter's own end fatal.
    os.read(sys.stdin.fileno(), 1)  # gives nothing until the parent is gone
    shutil.rmtree(work, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
