"""Where do keys and values of many windows lie?

Knows no model but the shape of what it keeps. One tensor that stays in place, so that recorded
calls find it; when it must grow, the calls that were recorded on it are dropped.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.smolvlm2.lean_language import Language
from pipelines.smolvlm2.replay import Replay


class KeyValueStore:
    """[layers, windows, slots, 2 * key heads, head size]; a slot holds one token."""

    def __init__(self, language: Language, replay: Replay, most_windows: int) -> None:
        self._replay = replay
        self._most_windows = most_windows
        self._num_layers = len(language.blocks)
        self._entry = (2 * language.num_key_heads, language.head_size)
        self._tensor = language.embed.new_empty(self._num_layers, 0, 0, *self._entry)

    @property
    def slots(self) -> int:
        """How many tokens a window has room for."""
        return self._tensor.shape[2]

    def grow(self, windows: int, slots: int) -> None:
        """Make room. What was kept is lost if there was too little.

        From the second window on there is room for as many as there will ever be.
        """
        had_windows, had_slots = self._tensor.shape[1:3]
        if windows <= had_windows and slots <= had_slots:
            return
        windows = self._most_windows if max(windows, had_windows) > 1 else 1
        slots = max(slots, had_slots)
        self._replay.forget()
        self._tensor = self._tensor.new_empty(0)  # its memory goes before the new one's comes
        shape = (self._num_layers, windows, slots, *self._entry)
        # Zeros, since slots that nobody may look at are still multiplied, by zero.
        self._tensor = torch.zeros(shape, dtype=self._tensor.dtype, device=self._tensor.device)

    def part(self, windows: int, slots: int) -> Tensor:
        """The first windows and slots, in place. Raises `ValueError` for more than there are."""
        if slots > self.slots:
            raise ValueError(f"{slots} tokens are more than the {self.slots} that were reserved")
        return self._tensor[:, :windows, :slots]

    def copy(self, row: int, source: KeyValueStore, source_row: int, slots: int) -> None:
        """Take over the first slots of a window of another store."""
        self._tensor[:, row, :slots] = source._tensor[:, source_row, :slots]


def bytes_a_window(language: Language, slots: int) -> int:
    """What a window takes in a store."""
    entry = 2 * language.num_key_heads * language.head_size * language.embed.element_size()
    return len(language.blocks) * slots * entry
