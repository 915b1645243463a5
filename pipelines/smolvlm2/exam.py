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
# Of a p_yes, in bfloat16 and int8; float32 is held to its logits and words. Noise for weights makes
# answers that hang on the last digits: of the 2.2B, PyTorch's own bfloat16 is up to 0.06 off,
# OpenVINO's 0.13.
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
class Grade:
    """How far an engine is from the reference."""

    logit_error: float  # the greatest
    p_yes_error: float  # the greatest
    same_words: bool


def sit(engine: Engine[Any], paper: Paper, yes_no_ids: Sequence[int]) -> Sheet:
    """Have an engine answer."""
    features = engine.encode(paper.frames)
    room = max(sum(map(len, paper.suffixes)), len(paper.describe_ids) + DECODED_TOKENS)
    prefix = engine.prefill(paper.prefix_ids, features, room)
    logits = engine.answer(prefix, paper.suffixes, yes_no_ids)
    words = engine.decode(prefix, paper.describe_ids, DECODED_TOKENS)
    return Sheet(logits, words)


def grade(given: Sequence[Sheet], right: Sequence[Sheet], num_yes_ids: int) -> Grade:
    """Compare, paper by paper."""
    ours, theirs = (torch.cat([sheet.logits for sheet in some]) for some in (given, right))
    p_ours, p_theirs = (_p_yes(logits, num_yes_ids) for logits in (ours, theirs))
    return Grade(
        logit_error=float((ours - theirs).abs().max()),
        p_yes_error=float((p_ours - p_theirs).abs().max()),
        same_words=all(a.words == b.words for a, b in zip(given, right, strict=True)),
    )


def require(grade: Grade, engine: str, precision: str) -> None:
    """Raise `ModelError` for an engine below the bar of its number format."""
    if precision == "f32":
        passes = grade.logit_error <= MOST_F32_ERROR and grade.same_words
        figure = f"its logits are up to {grade.logit_error:.2g} off (allowed: {MOST_F32_ERROR:g})"
        if not grade.same_words:
            figure += " and its words differ"
    else:
        passes = grade.p_yes_error <= MOST_P_ERROR
        figure = f"its p_yes is up to {grade.p_yes_error:.2f} off (allowed: {MOST_P_ERROR})"
    if not passes:  # NaN does not pass, either
        other = "" if precision == "f32" else ", or precision: f32"
        raise ModelError(
            f"engine {engine} with precision {precision} does not say what the reference says on "
            f"the stored frames: {figure}. Set engine: torch{other}"
        )


def _p_yes(logits: Tensor, num_yes_ids: int) -> Tensor:
    yes = logits[:, :num_yes_ids].logsumexp(dim=1)
    return (yes - logits[:, num_yes_ids:].logsumexp(dim=1)).sigmoid()


def save(path: Path, papers: Sequence[Paper], sheets: Sequence[Sheet]) -> None:
    """Store papers with the reference's sheets."""
    arrays: dict[str, Any] = {}
    for i, (paper, sheet) in enumerate(zip(papers, sheets, strict=True)):
        arrays |= {
            f"{i}.frames": paper.frames.numpy(),
            f"{i}.prefix": paper.prefix_ids,
            f"{i}.describe": paper.describe_ids,
            f"{i}.logits": sheet.logits.numpy(),
            f"{i}.words": np.array(sheet.words, np.int64),
        }
        arrays |= {f"{i}.suffix.{k}": ids for k, ids in enumerate(paper.suffixes)}
    np.savez_compressed(path, **arrays)


def load(path: Path) -> tuple[list[Paper], list[Sheet]]:
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
    return papers, sheets
