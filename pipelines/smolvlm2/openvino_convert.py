"""How does a checkpoint become a folder of converted files?

    python -m pipelines.smolvlm2.openvino_convert CHECKPOINT FOLDER PRECISION [FRAMES]

Knows no devices. Runs in a process of its own, so that PyTorch's weights and the converter's
memory go back to the system; `convert` starts it. The reference's answers are stored beside the
graphs, for the exam that each load begins with.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import structlog
import torch

from pipelines.errors import ModelError
from pipelines.smolvlm2.checkpoint import load_checkpoint
from pipelines.smolvlm2.exam import Exam, Paper, grade, save, sit
from pipelines.smolvlm2.openvino_engine import text_inputs
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
from pipelines.smolvlm2.openvino_int8 import quantized
from pipelines.smolvlm2.openvino_quiet import ov
from pipelines.smolvlm2.packing import pack
from pipelines.smolvlm2.rounding import rounded
from pipelines.smolvlm2.sample_windows import papers_of, recorded_windows, scene_windows
from pipelines.smolvlm2.tokens import Tokens
from pipelines.smolvlm2.torch_engine import TorchEngine

_Floats = npt.NDArray[np.float32]

EXAM_WINDOWS, EXAM_FRAMES = 2, 2  # a start encodes these: 4 s of 256M on two old cores
CALIBRATION_WINDOWS, CALIBRATION_FRAMES = 24, 4
CALIBRATION_WORDS = 24  # tokens
_EXAM_SEED, _CALIBRATION_SEED = 71, 72
_MOST_S = 3600.0  # int8 of the 2.2B model on two old cores
_STALE_S = 86_400.0


def convert(checkpoint: Path, folder: Path, precision: str, frames: Path | None) -> None:
    """Have `folder` made by a child process. Raises `ModelError` if that fails."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder.parent)
    except OSError as error:
        raise ModelError(
            f"converted models cannot be kept in {folder.parent} ({error.strerror}); set "
            "XDG_CACHE_HOME to a folder that can be written to, or engine: torch"
        ) from error
    log = structlog.get_logger(__name__)
    log.info("openvino.converting", checkpoint=str(checkpoint), precision=precision)
    began_s = time.monotonic()
    command = [sys.executable, "-m", __spec__.name, str(checkpoint), str(folder), precision]
    try:
        code, complaints = _run([*command, *([str(frames)] if frames is not None else [])])
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelError(f"the model could not be converted for OpenVINO: {error}") from error
    if code != 0:
        reason = (complaints.strip() or f"the converter ended with code {code}").splitlines()[-1]
        raise ModelError(f"the model could not be converted for OpenVINO: {reason}")
    log.info(
        "openvino.converted",
        folder=str(folder),
        seconds=round(time.monotonic() - began_s, 1),
        peak_mb=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10,
    )


def _run(command: list[str]) -> tuple[int, str]:
    """Run the converter; its exit code and what it complained of. It ends when this process does.

    Its standard input is never written to: it only tells the child that there is a parent.
    """
    with (
        TemporaryFile("w+") as complaints,
        subprocess.Popen(  # noqa: S603 - this very module
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=complaints, text=True
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


class _Sample(NamedTuple):
    """What a calibration sees: frames, their features, and a whole pass of the text graph."""

    frames: torch.Tensor
    features: torch.Tensor
    prefix_ids: list[int]
    suffixes: list[list[int]]  # questions, and the request for words with the words behind it


def _encoding(graph: ov.Model) -> Callable[[torch.Tensor], torch.Tensor]:
    """`TorchEngine.encode` as fast as this processor can: ranges want no more than 16 bits."""
    encoder = ov.Core().compile_model(graph, "CPU").create_infer_request()

    def encode(frames: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.from_numpy(encoder.infer([f[None]])[0]) for f in frames.numpy()])

    return encode


def _sample(
    encode: Callable[[torch.Tensor], torch.Tensor], reference: TorchEngine, paper: Paper
) -> _Sample:
    """The reference's own words are among it: without them int8 broke off in mid-sentence."""
    features = encode(paper.frames)
    room = len(paper.describe_ids) + CALIBRATION_WORDS
    prefix = reference.prefill(paper.prefix_ids, features, room)
    words = reference.decode(prefix, paper.describe_ids, CALIBRATION_WORDS)
    suffixes = [*paper.suffixes, paper.describe_ids + words]
    return _Sample(paper.frames, features, paper.prefix_ids, suffixes)


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
    """Fill `work`."""
    module, tokens = load_checkpoint(checkpoint, torch.float32, torch.device("cpu"))
    reference = TorchEngine(module, tokens.end_id)
    sizes = Sizes(
        reference.frame_size_px,
        reference.tokens_per_frame,
        reference.max_tokens,
        module.config.image_token_id,
    )

    def papers(windows: list[Any]) -> list[Paper]:
        return papers_of(windows, tokens, sizes.frame_size_px, sizes.tokens_per_frame)

    def windows(count: int, length: int, seed: int) -> list[Paper]:
        """Where the user's frames are calibrated on, they are asked about, too."""
        if frames is None:
            return papers(scene_windows(count, length, seed))
        return papers(recorded_windows(frames, count, length))

    held_to = windows(EXAM_WINDOWS, EXAM_FRAMES, _EXAM_SEED)
    save(work / EXAM, _exam(module, reference, tokens, held_to, precision))
    encoder = encoder_graph(module)
    samples: list[_Sample] = []
    if precision == "int8":
        seen = windows(CALIBRATION_WINDOWS, CALIBRATION_FRAMES, _CALIBRATION_SEED)
        encode = _encoding(encoder)
        samples = [_sample(encode, reference, paper) for paper in seen]
        del encode
    _write_encoder(encoder, work, precision, samples)
    del encoder  # one graph in memory, not two
    _write_text(module, work, precision, samples)
    return sizes


def _write_encoder(graph: ov.Model, work: Path, precision: str, samples: Sequence[_Sample]) -> None:
    if samples:
        frames = [frame for sample in samples for frame in sample.frames]
        levels = [{"levels": frame[None].numpy()} for frame in frames]
        graph = quantized(graph, levels, len(levels))
    ov.save_model(graph, work / ENCODER, compress_to_fp16=_halves(precision))


def _write_text(module: Any, work: Path, precision: str, samples: Sequence[_Sample]) -> None:
    embeddings = module.model.text_model.embed_tokens.weight.detach().numpy()
    np.save(work / EMBEDDINGS, embeddings)
    head = module.lm_head.weight.detach().numpy()
    if not np.shares_memory(head, embeddings):
        np.save(work / HEAD_ROWS, head)
    graph = text_graph(module)
    if samples:
        image_id = module.config.image_token_id
        passes = [_text_pass(embeddings, image_id, sample) for sample in samples]
        graph = quantized(graph, passes, len(passes))
    ov.save_model(graph, work / TEXT, compress_to_fp16=_halves(precision))


def _halves(precision: str) -> bool:
    """Files of float16 hold bfloat16's digits and more; int8's scales do not fit into them."""
    return precision == "bf16"


def _text_pass(embeddings: _Floats, image_id: int, sample: _Sample) -> dict[str, Any]:
    """What the text graph is given for a window and its questions."""
    ids = np.asarray(sample.prefix_ids)
    prompt = embeddings[ids]
    prompt[ids == image_id] = sample.features.flatten(0, 1).numpy()
    questions = pack(sample.suffixes)
    rows = np.concatenate([prompt, embeddings[np.asarray(questions.ids)]])
    return text_inputs(rows, np.zeros(0, np.bool_), len(prompt), len(prompt), questions)


def _main(checkpoint: str, folder: str, precision: str, frames: str | None = None) -> int:
    target = Path(folder)
    work = Path(mkdtemp(prefix=".work-", dir=target.parent))
    threading.Thread(target=_end_with_parent, args=(work,), name="parent", daemon=True).start()
    try:
        sizes = _convert_here(
            Path(checkpoint), work, precision, Path(frames) if frames is not None else None
        )
        publish(work, target, sizes)
    except (ModelError, ImportError, OSError) as error:
        sys.stderr.write(f"{str(error).strip() or type(error).__name__}\n")
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0


def _end_with_parent(work: Path) -> None:
    # Not sys.stdin: its lock, held here, makes the interpreter's own end fatal.
    os.read(sys.stdin.fileno(), 1)  # gives nothing until the parent is gone
    shutil.rmtree(work, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
