"""How does PyTorch compute features, answers and words fastest on a CPU?

Knows no cameras, no strings and no cache of frames: tensors and token ids only. The arithmetic is
that of `torch_engine`, the reference; the work around it is left out. All questions of a window go
through the language model in one packed sequence behind the prefix, each blind to the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.smolvlm2.cpu_encoder import CpuEncoder
from pipelines.smolvlm2.cpu_linear import Pack, PackedLinear, PlainLinear, packs_bf16
from pipelines.smolvlm2.cpu_text import CpuText
from pipelines.smolvlm2.drafts import find_words

ENCODE_BATCH = 1  # frames at once: one frame's activations nearly fit the caches of two cores
PACK_ROWS = 1024  # a frame's patches; a prompt of 8 frames has about as many tokens


@dataclass(frozen=True, slots=True)
class CpuPrefix:
    """A prompt up to the question, as keys and values, with room behind it."""

    cache: Tensor  # [layers, 2, kv heads, capacity, head]
    num_tokens: int

    @property
    def room(self) -> int:
        """The most tokens that one call may add."""
        return self.cache.shape[3] - self.num_tokens


class CpuEngine:
    """An `Engine` for the CPU, in float32 or bfloat16."""

    def __init__(self, module: Any, end_id: int) -> None:
        """Take the weights out of a `SmolVLMForConditionalGeneration`, and the end-of-answer id.

        The module is of no use any more then: weights are in memory once.
        """
        config = module.config
        self.frame_size_px: int = config.vision_config.image_size
        patches_per_side = config.vision_config.image_size // config.vision_config.patch_size
        self.tokens_per_frame: int = (patches_per_side // config.scale_factor) ** 2
        self.max_tokens: int = config.text_config.max_position_embeddings
        self._image_id: int = config.image_token_id
        self._end_id = end_id
        self._dtype: torch.dtype = module.dtype
        fused = self._dtype == torch.bfloat16 and packs_bf16()
        pack: Pack = partial(PackedLinear, rows=PACK_ROWS) if fused else PlainLinear
        with torch.inference_mode():
            self._encoder = CpuEncoder(module.model.vision_model, module.model.connector, pack)
            self._text = CpuText(module.model.text_model, pack)
        # As it is: usually it is the table of embeddings, too, and packing it once more would take
        # 57 MB of the 256M for 0.7 of a word's 15 ms.
        self._head: Tensor = module.lm_head.weight  # [vocabulary, hidden]
        del module.lm_head
        self._words: tuple[tuple[int, ...], Tensor] | None = None  # rows of the head asked for last

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> Tensor:
        """See `Engine.encode`."""
        batches = torch.split(pixels, ENCODE_BATCH)
        scaled = (batch.float().div_(127.5).sub_(1.0).to(self._dtype) for batch in batches)
        return torch.cat([self._encoder(batch) for batch in scaled])

    @torch.inference_mode()
    def prefill(self, ids: Sequence[int], features: Tensor | None, room: int) -> CpuPrefix:
        """See `Engine.prefill`."""
        if len(ids) + room > self.max_tokens:
            raise ValueError(
                f"{len(ids)} + {room} tokens are more than the model's {self.max_tokens}: "
                "use fewer frames or shorter questions"
            )
        x = self._embed(torch.tensor(ids), features)
        cache = self._text.new_cache(len(ids) + room)
        self._text.read(x, cache)
        return CpuPrefix(cache, len(ids))

    @torch.inference_mode()
    def extend(
        self, prefix: CpuPrefix, ids: Sequence[int], features: Sequence[Tensor]
    ) -> CpuPrefix:
        """See `ExtendingEngine.extend`."""
        if len(ids) > prefix.room:
            raise ValueError(f"{len(ids)} tokens for a room of {prefix.room}")
        x = self._embed(torch.tensor(ids), torch.stack(list(features)) if features else None)
        positions = torch.arange(prefix.num_tokens, prefix.num_tokens + len(ids))
        seen = torch.ones(len(ids), prefix.num_tokens + len(ids), dtype=torch.bool)
        self._text.read_on(
            x, positions, prefix.cache, prefix.num_tokens, seen.tril(prefix.num_tokens)
        )
        return CpuPrefix(prefix.cache, prefix.num_tokens + len(ids))

    def bytes_of(self, prefix: CpuPrefix) -> int:
        """See `ExtendingEngine.bytes_of`."""
        return prefix.cache.nbytes

    def _embed(self, ids: Tensor, features: Tensor | None) -> Tensor:
        """[P] ids to [P, hidden], with features [N, tokens, hidden] in place of image tokens."""
        x = self._text.embed(ids)
        places = (ids == self._image_id).nonzero()[:, 0]
        rows = features.flatten(0, 1) if features is not None else x[:0]
        if len(places) != len(rows):
            raise ValueError(f"{len(places)} image tokens for {len(rows)} rows of features")
        x[places] = rows
        return x

    @torch.inference_mode()
    def answer(
        self, prefix: CpuPrefix, suffixes: Sequence[Sequence[int]], token_ids: Sequence[int]
    ) -> Tensor:
        """See `Engine.answer`. In float32, for the reason that `TorchEngine.answer` gives."""
        hidden = self._read_on(prefix, suffixes)
        logits: Tensor = hidden.float() @ self._rows(tuple(token_ids)).T
        return logits

    @torch.inference_mode()
    def decode(
        self, prefix: CpuPrefix, suffix: Sequence[int], max_tokens: int, draft: Sequence[int] = ()
    ) -> list[int]:
        """See `Engine.decode`."""
        end = prefix.num_tokens  # of what is read

        def read(ids: Sequence[int], rows: int) -> list[int]:
            nonlocal end
            start, end = end, end + len(ids)
            mask = None  # a single token sees all
            if len(ids) > 1:
                mask = torch.ones(len(ids), end, dtype=torch.bool).tril(start)
            x, positions = self._text.embed(torch.tensor(ids)), torch.arange(start, end)
            hidden = self._text.read_on(x, positions, prefix.cache, start, mask)
            logits = functional.linear(hidden[-rows:], self._head)
            likeliest: list[int] = logits.argmax(dim=-1).tolist()
            return likeliest

        def drop(count: int) -> None:
            nonlocal end
            end -= count

        return find_words(read, drop, suffix, max_tokens, self._end_id, draft)

    def _rows(self, token_ids: tuple[int, ...]) -> Tensor:
        """Rows of the head, float32 [token_ids, hidden]: yes and no, again and again."""
        if self._words is None or self._words[0] != token_ids:
            self._words = token_ids, self._head[list(token_ids)].float()
        return self._words[1]

    def _read_on(self, prefix: CpuPrefix, suffixes: Sequence[Sequence[int]]) -> Tensor:
        """Run suffixes packed behind the prefix; give each one's last state [suffixes, hidden]."""
        lengths = [len(suffix) for suffix in suffixes]
        question = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))  # [Q]
        own = (question[:, None] == question[None, :]).tril()  # [Q, Q]
        shared = torch.ones(len(own), prefix.num_tokens, dtype=torch.bool)
        mask = torch.cat([shared, own], dim=1)  # [Q, P + Q]
        positions = torch.cat([torch.arange(n) for n in lengths]) + prefix.num_tokens  # [Q]
        x = self._text.embed(torch.tensor([token for suffix in suffixes for token in suffix]))
        hidden = self._text.read_on(x, positions, prefix.cache, prefix.num_tokens, mask)
        return hidden[torch.tensor([end - 1 for end in accumulate(lengths)])]
