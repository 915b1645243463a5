"""Does an engine say what the reference says?

Knows no engine: frames and questions with the reference's logits and words, stored once, and how
far an engine may be from them in each number format.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.errors import ModelError
from pipelines.smolvlm2.engine_protocol import Engine

MOST_F32_ERROR = 1e-3  # of a logit
# Of a logit in int8: what is sure (0.98) stays more likely than not. Over ten sets of papers the
# bundled model's worst was 1.0; 2.5 calibrated on frames of another kind than those asked about.
MOST_INT8_ERROR = 4.0
# Of a logit in 16 bits: so many times as much as rounding alone costs this very model on these very
# papers (`pipelines.smolvlm2.rounding`), as answers may hang on the last digits. OpenVINO's was 0.2
# to 2.6 times as much over ten sets, transformers' own bfloat16 up to 7 (tests/bench/LOG.md).
MOST_ROUNDINGS = 8.0
LEAST_ROUNDING = 0.01  # of a logit: no model is held to less
# Of a p_yes, in 16 bits and int8. Not enough by itself: where a model is sure, a logit that is far
# off moves p_yes by a millionth.
MOST_P_ERROR = 0.2
DECODED_TOKENS = 12


@dataclass(frozen=True, slots=True)
class Paper:
    """One window's frames and questions."""

    frames: Tensor  # uint8 [N, 3, S, S]
    prefix_ids: list[int]
    suffixes: list[list[int]]
    describe_ids: list[int]


@dataclass(frozen=True, slots=True)
class Sheet:
    """What an engine says to a paper."""

    logits: Tensor  # float32 [suffixes, yes and no ids]
    words: list[int]


@dataclass(frozen=True, slots=True)
class Exam:
    """What an engine is held to."""

    papers: list[Paper]
    right: list[Sheet]  # the reference's
    rounding: float  # how far off a logit is if the reference's numbers are rounded to bfloat16


@dataclass(frozen=True, slots=True)
class Grade:
    """How far an engine is from the reference."""

    logit_error: float  # the greatest
    p_yes_error: float  # the greatest
    same_words: bool


def sit(
    engine: Engine[Any], paper: Paper, yes_no_ids: Sequence[int], *, words: bool = True
) -> Sheet:
    """Have an engine answer, and go on in words if wanted."""
    features = engine.encode(paper.frames)
    room = max(sum(map(len, paper.suffixes)), len(paper.describe_ids) + DECODED_TOKENS)
    prefix = engine.prefill(paper.prefix_ids, features, room)
    logits = engine.answer(prefix, paper.suffixes, yes_no_ids)
    ids = engine.decode(prefix, paper.describe_ids, DECODED_TOKENS) if words else []
    return Sheet(logits, ids)


def grade(given: Sequence[Sheet], right: Sequence[Sheet], num_yes_ids: int) -> Grade:
    """Compare, paper by paper."""
    ours, theirs = (torch.cat([sheet.logits for sheet in some]) for some in (given, right))
    p_ours, p_theirs = (_p_yes(logits, num_yes_ids) for logits in (ours, theirs))
    return Grade(
        logit_error=float((ours - theirs).abs().max()),
        p_yes_error=float((p_ours - p_theirs).abs().max()),
        same_words=all(a.words == b.words for a, b in zip(given, right, strict=True)),
    )


def require(grade: Grade, rounding: float, engine: str, precision: str) -> None:
    """Raise `ModelError` for an engine below the bar of its number format.

    `rounding` as in `Exam`.
    """
    most = most_logit_error(rounding, precision)
    passes = grade.logit_error <= most  # NaN does not pass
    figure = f"its logits are up to {grade.logit_error:.2g} off (allowed: {most:.2g})"
    if precision == "f32":
        passes = passes and grade.same_words
        figure += "" if grade.same_words else " and its words differ"
    else:
        passes = passes and grade.p_yes_error <= MOST_P_ERROR
        figure += f", its p_yes up to {grade.p_yes_error:.2f} (allowed: {MOST_P_ERROR})"
    if not passes:
        other = {"f32": "", "int8": ", or precision: auto"}.get(precision, ", or precision: f32")
        raise ModelError(
            f"engine {engine} with precision {precision} does not say what the reference says on "
            f"the stored frames: {figure}. Set engine: torch{other}"
        )


def most_logit_error(rounding: float, precision: str) -> float:
    """How far off a logit may be."""
    bars = {"f32": MOST_F32_ERROR, "int8": MOST_INT8_ERROR}
    return bars.get(precision, MOST_ROUNDINGS * max(rounding, LEAST_ROUNDING))


def _p_yes(logits: Tensor, num_yes_ids: int) -> Tensor:
    yes = logits[:, :num_yes_ids].logsumexp(dim=1)
    return (yes - logits[:, num_yes_ids:].logsumexp(dim=1)).sigmoid()


def save(path: Path, exam: Exam) -> None:
    """Store papers with the reference's sheets."""
    arrays: dict[str, Any] = {"rounding": exam.rounding}
    for i, (paper, sheet) in enumerate(zip(exam.papers, exam.right, strict=True)):
        arrays |= {
            f"{i}.frames": paper.frames.numpy(),
            f"{i}.prefix": paper.prefix_ids,
            f"{i}.describe": paper.describe_ids,
            f"{i}.logits": sheet.logits.numpy(),
            f"{i}.words": np.array(sheet.words, np.int64),
        }
        arrays |= {f"{i}.suffix.{k}": ids for k, ids in enumerate(paper.suffixes)}
    np.savez_compressed(path, **arrays)


def load(path: Path) -> Exam:
    """What `save` stored."""
    papers, sheets = [], []
    with np.load(path) as stored:
        names = sorted(stored.files)
        for i in range(sum(name.endswith(".frames") for name in names)):
            suffixes = [
                stored[f"{i}.suffix.{k}"].tolist()
                for k in range(sum(name.startswith(f"{i}.suffix.") for name in names))
            ]
            frames = torch.from_numpy(stored[f"{i}.frames"])
            prefix, describe = stored[f"{i}.prefix"].tolist(), stored[f"{i}.describe"].tolist()
            papers.append(Paper(frames, prefix, suffixes, describe))
            logits = torch.from_numpy(stored[f"{i}.logits"])
            sheets.append(Sheet(logits, stored[f"{i}.words"].tolist()))
        return Exam(papers, sheets, float(stored["rounding"]))
