"""How do all questions of many windows become one rectangle of tokens?

Knows no model: ids, places and what may be seen from where. A window's questions stand behind each
other in its row, each blind to the others; rows are padded to the same length.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

NO_QUESTION = -1  # the question of a padding token


class Pack(NamedTuple):
    """One row."""

    ids: list[int]
    question: list[int]  # to which question each token belongs
    place: list[int]  # of each token within its question
    ends: list[int]  # where in the row each question's last token stands


def pack(suffixes: Sequence[Sequence[int]]) -> Pack:
    """Put questions behind each other."""
    return Pack(
        ids=[token for suffix in suffixes for token in suffix],
        question=[number for number, suffix in enumerate(suffixes) for _ in suffix],
        place=[place for suffix in suffixes for place in range(len(suffix))],
        ends=[end - 1 for end in accumulate(map(len, suffixes))],
    )


def stack(packs: Sequence[Pack], prompt_lengths: Sequence[int], width: int) -> Tensor:
    """Rows under each other: [W, 3, width] of ids, questions and positions, padded."""
    rows = torch.zeros(len(packs), 3, width, dtype=torch.long)
    rows[:, 1] = NO_QUESTION
    for row, one, length in zip(rows, packs, prompt_lengths, strict=True):
        if one.ids:
            row[:, : len(one.ids)] = torch.tensor([one.ids, one.question, one.place])
            row[2, : len(one.ids)] += length
    return rows


def bias_of(question: Tensor, prompt_lengths: Tensor, padded: int, dtype: torch.dtype) -> Tensor:
    """What each token may look at: 0 or -inf, [W, Q, padded + Q].

    `question` [W, Q], `prompt_lengths` [W]; prompts take the first `padded` slots. A token sees its
    window's prompt, and of its own question what stands before it and itself.
    """
    width = question.shape[1]
    prompt = torch.arange(padded, device=question.device) < prompt_lengths[:, None]  # [W, padded]
    same = question[:, :, None] == question[:, None, :]
    own = (same & (question != NO_QUESTION)[:, :, None]).tril()  # [W, Q, Q]
    visible = torch.cat([prompt[:, None].expand(-1, width, -1), own], dim=2)
    return torch.zeros_like(visible, dtype=dtype).masked_fill_(~visible, float("-inf"))
