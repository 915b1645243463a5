"""How are features, answers and words computed with PyTorch?

Knows no cameras, no strings and no cache of frames: tensors and token ids only. This is the
reference that other engines are held to.

All questions of a window go through the language model in one packed sequence behind the prefix,
each blind to the others by a block mask. Against one padded batch this copies the prefix's keys
and values not once, and pads nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

ENCODE_BATCH = 4  # frames at once; on a CPU with small caches 8 took a quarter longer than 4


class _PreallocatedLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of one layer, written in place.

    transformers' own layer joins old and new into a fresh tensor on each call: 31 MB copied for
    every decoded token at the 256M size.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.capacity = capacity
        self.length = 0
        self.keys: Tensor  # [1, kv_heads, capacity, head_dim]
        self.values: Tensor

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: object, **_kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append [1, kv_heads, new, head_dim]; give all so far, as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            shape = (*key_states.shape[:2], self.capacity, key_states.shape[3])
            self.keys, self.values = key_states.new_empty(shape), value_states.new_empty(shape)
        start, self.length = self.length, self.length + key_states.shape[2]
        self.keys[:, :, start : self.length] = key_states
        self.values[:, :, start : self.length] = value_states
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def get_seq_length(self) -> int:
        """Count the tokens held."""
        return self.length


@dataclass(frozen=True, slots=True)
class Prefix:
    """A prompt up to the question, as keys and values.

    Serves any number of calls, and stays good while other prefixes are made and used.
    """

    layers: tuple[_PreallocatedLayer, ...]
    num_tokens: int

    @property
    def room(self) -> int:
        """The most tokens that one call may add."""
        return self.layers[0].capacity - self.num_tokens

    def rewind(self) -> Cache:
        """Give the cache for a call, without what earlier calls wrote behind the prefix."""
        for layer in self.layers:
            layer.length = self.num_tokens
        return Cache(layers=list(self.layers))


class TorchEngine:
    """SmolVLM2 through the modules of transformers, on any PyTorch device."""

    def __init__(self, module: Any, end_id: int) -> None:
        """Take a `SmolVLMForConditionalGeneration` in eval mode, and the id that ends an answer.

        `Any`, since transformers' annotations name neither configurations nor submodules.
        """
        config = module.config
        self.frame_size_px: int = config.vision_config.image_size
        patches_per_side = config.vision_config.image_size // config.vision_config.patch_size
        self.tokens_per_frame: int = (patches_per_side // config.scale_factor) ** 2
        self.max_tokens: int = config.text_config.max_position_embeddings
        self._image_id: int = config.image_token_id
        self._num_layers: int = config.text_config.num_hidden_layers
        self._end_id = end_id
        self._vision = module.model.vision_model
        self._connector = module.model.connector
        self._text = module.model.text_model
        self._head = module.lm_head
        self._dtype: torch.dtype = module.dtype
        self._device: torch.device = module.device

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> Tensor:
        """Frames to features.

        `pixels`: uint8 [N, 3, S, S], S = `frame_size_px`. Returns
        [N, `tokens_per_frame`, hidden] on the engine's device, in its number format.
        """
        scaled = pixels.to(self._device).float().div_(127.5).sub_(1.0)  # [-1, 1]
        batches = torch.split(scaled.to(self._dtype), ENCODE_BATCH)
        encoded = [self._connector(self._vision(batch).last_hidden_state) for batch in batches]
        features = torch.cat(encoded)
        if features.device.type == "cuda":
            torch.cuda.synchronize(features.device)  # so that its time counts as encoding
        return features

    @torch.inference_mode()
    def prefill(self, ids: Sequence[int], features: Tensor | None, room: int) -> Prefix:
        """Run the prompt up to the question.

        `ids`: the prefix, with image tokens where the frames stand. `features`: all frames', in
        order, [N, tokens, hidden]; None for a prompt of words alone. `room`: the most tokens that
        one later call adds. Raises `ValueError` if it is longer than the model's context or
        features do not fit.
        """
        if len(ids) + room > self.max_tokens:
            raise ValueError(
                f"{len(ids)} + {room} tokens are more than the model's {self.max_tokens}: "
                "use fewer frames or shorter questions"
            )
        embeddings = self._embed(ids, features)
        layers = [_PreallocatedLayer(len(ids) + room) for _ in range(self._num_layers)]
        cache = Cache(layers=[*layers])
        self._text(inputs_embeds=embeddings[None], past_key_values=cache, use_cache=True)
        return Prefix(tuple(layers), len(ids))

    @torch.inference_mode()
    def extend(self, prefix: Prefix, ids: Sequence[int], features: Sequence[Tensor]) -> Prefix:
        """See `ExtendingEngine.extend`."""
        if len(ids) > prefix.room:
            raise ValueError(f"{len(ids)} tokens for a room of {prefix.room}")
        embeddings = self._embed(ids, torch.stack(list(features)) if features else None)
        start, end = prefix.num_tokens, prefix.num_tokens + len(ids)
        mask = torch.ones(len(ids), end, dtype=torch.bool, device=self._device).tril(start)
        self._text(
            inputs_embeds=embeddings[None],
            attention_mask=mask[None, None],
            position_ids=torch.arange(start, end, device=self._device)[None],
            past_key_values=prefix.rewind(),
            use_cache=True,
        )
        return Prefix(prefix.layers, end)

    def bytes_of(self, prefix: Prefix) -> int:
        """See `ExtendingEngine.bytes_of`."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in prefix.layers)

    def _embed(self, ids: Sequence[int], features: Tensor | None) -> Tensor:
        """[P] ids to [P, hidden], with features [N, tokens, hidden] in place of image tokens."""
        input_ids = torch.tensor(ids, device=self._device)  # [P]
        embeddings: Tensor = self._text.embed_tokens(input_ids)  # [P, hidden]
        places = [i for i, token in enumerate(ids) if token == self._image_id]
        rows = features.flatten(0, 1) if features is not None else embeddings[:0]
        if len(places) != len(rows):
            raise ValueError(f"{len(places)} image tokens for {len(rows)} rows of features")
        if places:
            embeddings[torch.tensor(places, device=self._device)] = rows
        return embeddings

    @torch.inference_mode()
    def answer(
        self, prefix: Prefix, suffixes: Sequence[Sequence[int]], token_ids: Sequence[int]
    ) -> Tensor:
        """Logits of `token_ids` as each answer's first token, float32 [suffixes, token_ids].

        Only the rows asked for are multiplied, and in float32: bfloat16 would round logits around
        20 to steps of 0.125, which is 3% of a probability.
        """
        hidden = self._read_on(prefix, prefix.rewind(), suffixes)
        rows = self._head.weight[list(token_ids)]  # [token_ids, hidden]
        logits: Tensor = hidden.float() @ rows.float().T
        return logits

    @torch.inference_mode()
    def decode(
        self,
        prefix: Prefix,
        suffix: Sequence[int],
        max_tokens: int,
        draft: Sequence[int] = (),  # noqa: ARG002
    ) -> list[int]:
        """Likeliest tokens one by one, until the end of the answer (left out) or `max_tokens`.

        No `draft` is looked at: what others find with one is held against this.
        """
        cache = prefix.rewind()
        hidden = self._read_on(prefix, cache, [suffix])  # [1, hidden]
        decoded: list[int] = []
        while True:
            best = self._head(hidden).argmax(dim=-1, keepdim=True)  # [1, 1]
            token = int(best)  # the loop's one sync: here it is decided whether to stop
            if token == self._end_id:
                return decoded
            decoded.append(token)
            if len(decoded) >= max_tokens:
                return decoded
            output = self._text(input_ids=best, past_key_values=cache, use_cache=True)
            hidden = output.last_hidden_state[:, -1]

    def _read_on(self, prefix: Prefix, cache: Cache, suffixes: Sequence[Sequence[int]]) -> Tensor:
        """Run suffixes packed behind the prefix; give each one's last state [suffixes, hidden]."""
        lengths = [len(suffix) for suffix in suffixes]
        question = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))  # [Q]
        own = (question[:, None] == question[None, :]).tril()  # [Q, Q]
        shared = torch.ones(len(own), prefix.num_tokens, dtype=torch.bool)
        mask = torch.cat([shared, own], dim=1)  # [Q, P + Q]
        positions = torch.cat([torch.arange(n) for n in lengths]) + prefix.num_tokens  # [Q]
        ids = torch.tensor([token for suffix in suffixes for token in suffix])  # [Q]
        hidden = self._text(
            input_ids=ids.to(self._device)[None],
            attention_mask=mask.to(self._device)[None, None],
            position_ids=positions.to(self._device)[None],
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[0]  # [Q, hidden]
        ends = torch.tensor([end - 1 for end in accumulate(lengths)], device=self._device)
        last: Tensor = hidden[ends]
        return last
