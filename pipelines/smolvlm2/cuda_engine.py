"""How are many cameras' windows run at once on a GPU?

Knows no cameras, no strings and no cache of frames. Frames of all windows are encoded together,
prompts are read together, and so are questions and words. Numbers of frames, windows and tokens are
rounded up to a few sizes, so that shapes repeat: each is recorded once as a CUDA graph. It runs on
a CPU too, uncompiled and unrecorded, where its logic is tested.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipelines.smolvlm2.batch_protocol import Prompt
from pipelines.smolvlm2.fused_ops import FusedOps, compile_ops
from pipelines.smolvlm2.kv_store import KeyValueStore, bytes_a_window
from pipelines.smolvlm2.lean_language import take_language
from pipelines.smolvlm2.lean_vision import take_vision
from pipelines.smolvlm2.packing import Pack, pack, stack
from pipelines.smolvlm2.recorded_calls import RecordedCalls, Step
from pipelines.smolvlm2.replay import Call, Replay
from pipelines.smolvlm2.sizes import PROMPT_STEP, READ_STEP, SLOT_STEP, round_out, round_up
from pipelines.smolvlm2.upload import FrameUpload
from pipelines.types import Image

FRAMES_AT_ONCE = 32  # as fast as 64, and the next are sent meanwhile
WINDOWS_AT_ONCE = 64
WORDS_AT_ONCE = 16  # windows that are described together
_LEAST_ROOM = 192  # slots behind the prompts
_USUAL_SLOTS = 1024  # of a window of 8 frames and its questions, at most
_STORE_SHARE = 0.25  # of the GPU's free memory, for keys and values


@dataclass(frozen=True, slots=True)
class Row:
    """A window's prompt in the store, good until prompts are run anew."""

    number: int
    num_tokens: int
    padded: int  # where what is read behind it begins
    room: int
    run: int  # of prompts in the store: which it was


class CudaEngine:
    """SmolVLM2 in batches. A `BatchEngine`; for one thread at a time."""

    def __init__(
        self,
        module: Any,
        end_id: int,
        *,
        windows_at_once: int = WINDOWS_AT_ONCE,
        cache_dir: Path | None = None,
        ops: FusedOps | None = None,
    ) -> None:
        """Take a `SmolVLMForConditionalGeneration` in eval mode, and the id that ends an answer.

        `windows_at_once` is lowered to what fits into the GPU's memory. `cache_dir` keeps compiled
        kernels over restarts. `ops`: compiled, if left out.
        """
        config = module.config
        self.frame_size_px: int = config.vision_config.image_size
        self.max_tokens: int = config.text_config.max_position_embeddings
        self._end_id = end_id
        self._image_id: int = config.image_token_id
        self._vision = take_vision(module)
        self._language = take_language(module)
        self.tokens_per_frame = self._vision.num_tokens
        self._device: torch.device = module.device
        if self._device.type == "cuda":
            free_bytes = torch.cuda.mem_get_info(self._device)[0] * _STORE_SHARE
            fitting = int(free_bytes // bytes_a_window(self._language, _USUAL_SLOTS))
            windows_at_once = max(1, min(windows_at_once, fitting))
            ops = ops or compile_ops(self._device, cache_dir)
        self.windows_at_once = windows_at_once
        replay = Replay(self._device)
        self._calls = RecordedCalls(self._vision, self._language, ops or FusedOps(), replay)
        self._upload = FrameUpload(self._device, self.frame_size_px)
        self._prompts = KeyValueStore(self._language, replay, windows_at_once)
        self._words = KeyValueStore(self._language, replay, WORDS_AT_ONCE)
        self._text = KeyValueStore(self._language, replay, 1)
        self._runs = dict.fromkeys((self._prompts, self._text), 0)

    @torch.inference_mode()
    def encode_images(self, images: Sequence[Image]) -> list[Tensor]:
        """Pictures of any sizes to features, [`tokens_per_frame`, hidden] each.

        `images`: uint8 RGB [H, W, 3]. Each tensor has its own memory. Raises `ValueError`.
        """
        features: list[Tensor] = []
        for start in range(0, len(images), FRAMES_AT_ONCE):
            some = images[start : start + FRAMES_AT_ONCE]
            call = self._calls.frames(round_out(len(some), most=FRAMES_AT_ONCE))
            self._upload.fill(call.buffers.levels, some)
            call.start()
            features += [frame.clone() for frame in call.buffers.features[: len(some)]]
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # so that its time counts as encoding
        return features

    @torch.inference_mode()
    def prefill_all(self, prompts: Sequence[Prompt]) -> list[Row]:
        """Run the prompts of up to `windows_at_once` windows up to their questions.

        The rows serve any number of calls, until prompts are run anew. Raises `ValueError` if one
        is longer than the model's context or features do not fit.
        """
        padded = round_up(max(len(prompt.ids) for prompt in prompts), PROMPT_STEP)
        return self._prefill(self._prompts, prompts, padded)

    @torch.inference_mode()
    def prefill_text(self, ids: Sequence[int], room: int) -> Row:
        """Run a prompt of words alone. It stays good while windows are run, until the next text."""
        padded = round_out(len(ids), PROMPT_STEP, most=self.max_tokens)
        [row] = self._prefill(self._text, [Prompt(tuple(ids), (), room)], padded)
        return row

    def _prefill(self, store: KeyValueStore, prompts: Sequence[Prompt], padded: int) -> list[Row]:
        for prompt in prompts:
            self._check(prompt)
        size = round_out(len(prompts), most=self.windows_at_once)
        room = max(_LEAST_ROOM, *(prompt.room for prompt in prompts))
        store.grow(size, round_up(padded + room + room // 2 + READ_STEP, SLOT_STEP))
        room = (store.slots - padded - READ_STEP) * 2 // 3  # a third goes to rounding
        frames = [frame for prompt in prompts for frame in prompt.features]
        most_frames = size * max(1, *(len(prompt.features) for prompt in prompts))
        call = self._calls.prompts(store, size, padded, most_frames * self.tokens_per_frame)
        if frames:
            torch.cat(frames, out=call.buffers.features[: len(frames) * self.tokens_per_frame])
        call.buffers.ids[: len(prompts)] = self._layout(prompts, padded).to(self._device)
        call.start()
        self._runs[store] += 1
        return [
            Row(number, len(prompt.ids), padded, room, self._runs[store])
            for number, prompt in enumerate(prompts)
        ]

    @torch.inference_mode()
    def answer_all(
        self,
        prefixes: Sequence[Row],
        suffixes: Sequence[Sequence[Sequence[int]]],
        token_ids: Sequence[int],
    ) -> Tensor:
        """Logits of `token_ids` as each answer's first token, float32 [all suffixes, token_ids].

        `suffixes`: of each prefix, those of all its questions, in the order of prefixes; there may
        be none. Only the rows asked for are multiplied, and in float32, as in `TorchEngine`.
        """
        numbers = self._numbers(self._prompts, prefixes)
        packs, lengths = [pack(())] * (max(numbers) + 1), [1] * (max(numbers) + 1)
        for number, prefix, some in zip(numbers, prefixes, suffixes, strict=True):
            packs[number], lengths[number] = pack(some), prefix.num_tokens
        hidden = self._read(self._prompts, packs, lengths, prefixes[0].padded)  # [W, Q, hidden]
        ends = [number * hidden.shape[1] + end for number in numbers for end in packs[number].ends]
        chosen = hidden.flatten(0, 1)[self._tensor(ends)]
        rows = self._language.head[self._tensor(token_ids)]  # [token_ids, hidden]
        return (chosen.float() @ rows.float().T).cpu()

    @torch.inference_mode()
    def decode_all(
        self,
        prefixes: Sequence[Row],
        suffixes: Sequence[Sequence[int]],
        max_tokens: int,
        drafts: Sequence[Sequence[int]],  # noqa: ARG002
    ) -> list[list[int]]:
        """For each prefix and its one suffix: likeliest tokens until the end or `max_tokens`.

        Without drafts: a recorded step takes one token, and 16 texts take the time of one.
        """
        words: list[list[int]] = []
        padded, most = prefixes[0].padded, max(map(len, suffixes))
        slots = round_up(padded + round_out(most, READ_STEP) + max_tokens, SLOT_STEP)
        numbers = self._numbers(self._prompts, prefixes)
        for start in range(0, len(prefixes), WORDS_AT_ONCE):
            some = slice(start, start + WORDS_AT_ONCE)
            # On copies of the prompts: recorded steps know one place, and the first rows only.
            self._words.grow(round_out(len(numbers[some]), most=WORDS_AT_ONCE), slots)
            for row, number in enumerate(numbers[some]):
                self._words.copy(row, self._prompts, number, padded)
            words += self._decode(self._words, prefixes[some], suffixes[some], max_tokens)
        return words

    @torch.inference_mode()
    def decode_text(self, prefix: Row, suffix: Sequence[int], max_tokens: int) -> list[int]:
        """Likeliest tokens behind a prompt of words alone and a suffix."""
        self._numbers(self._text, [prefix])
        [words] = self._decode(self._text, [prefix], [suffix], max_tokens)
        return words

    def _decode(
        self,
        store: KeyValueStore,
        prefixes: Sequence[Row],
        suffixes: Sequence[Sequence[int]],
        max_tokens: int,
    ) -> list[list[int]]:
        """Words behind prompts that lie in the store's first rows, in their order."""
        padded, packs = prefixes[0].padded, [pack([suffix]) for suffix in suffixes]
        lengths = [prefix.num_tokens for prefix in prefixes]
        hidden = self._read(store, packs, lengths, padded)  # [B, Q, hidden]
        begin = padded + hidden.shape[1]  # the first word's slot
        ends = [row * hidden.shape[1] + one.ends[0] for row, one in enumerate(packs)]
        call = self._calls.step(store, len(hidden), round_up(begin + max_tokens, SLOT_STEP))
        step: Step = call.buffers
        step.bias.fill_(float("-inf"))
        step.positions.zero_()  # of rows that nobody uses, too: they would run out of the context
        for row, (length, one) in enumerate(zip(lengths, packs, strict=True)):
            step.bias[row, 0, :length] = 0.0
            step.bias[row, 0, padded : padded + len(one.ids)] = 0.0
            step.positions[row] = length + len(one.ids)
        step.slot.fill_(begin)
        first = self._language.likeliest(hidden.flatten(0, 1)[self._tensor(ends)])
        step.ids[: len(packs)] = first[:, None]
        return self._collect(call, len(packs), max_tokens)

    def _collect(self, call: Call, num_windows: int, max_tokens: int) -> list[list[int]]:
        """Step until all have ended; the ids of each."""
        words: list[list[int]] = [[] for _ in range(num_windows)]
        speaking = set(range(num_windows))
        while True:
            tokens = call.buffers.ids[:num_windows, 0].tolist()  # the loop's one sync
            speaking -= {row for row in speaking if tokens[row] == self._end_id}
            for row in speaking:
                words[row].append(tokens[row])
            if not speaking or max(map(len, words)) >= max_tokens:
                return words
            call.start()

    def _read(
        self, store: KeyValueStore, packs: Sequence[Pack], lengths: Sequence[int], padded: int
    ) -> Tensor:
        """Read rows of tokens behind prompts of these lengths; last states [W, Q, hidden]."""
        size = round_out(len(packs), most=self.windows_at_once)
        width = round_out(max(len(one.ids) for one in packs), READ_STEP)
        call = self._calls.reading(store, size, width, padded)
        call.buffers.rows[: len(packs)] = stack(packs, lengths, width).to(self._device)
        call.buffers.prompt_lengths[: len(packs)] = self._tensor(lengths)
        call.start()
        hidden: Tensor = call.buffers.hidden
        return hidden

    def _check(self, prompt: Prompt) -> None:
        if len(prompt.ids) + prompt.room > self.max_tokens:
            raise ValueError(
                f"{len(prompt.ids)} + {prompt.room} tokens are more than the model's "
                f"{self.max_tokens}: use fewer frames or shorter questions"
            )
        places, rows = prompt.ids.count(self._image_id), sum(map(len, prompt.features))
        if places != rows:
            raise ValueError(f"{places} image tokens for {rows} rows of features")

    def _layout(self, prompts: Sequence[Prompt], padded: int) -> Tensor:
        """Ids under each other [W, padded], with -1 - row where features go."""
        layout = torch.zeros(len(prompts), padded, dtype=torch.long)
        before = 0
        for row, prompt in zip(layout, prompts, strict=True):
            ids, features = _as_tensor(prompt.ids, self._image_id)
            row[: len(ids)] = ids - before * features
            before += int(features.sum())
        return layout

    def _numbers(self, store: KeyValueStore, prefixes: Sequence[Row]) -> list[int]:
        if any(prefix.run != self._runs[store] for prefix in prefixes):
            raise ValueError("other prompts were run since: run these anew")
        return [prefix.number for prefix in prefixes]

    def _tensor(self, numbers: Sequence[int]) -> Tensor:
        return torch.tensor(numbers, device=self._device)


@lru_cache(maxsize=64)  # prompts of one plan are alike but for their time stamps
def _as_tensor(ids: tuple[int, ...], image_id: int) -> tuple[Tensor, Tensor]:
    """Ids with -1 - i in the place of the i-th image token, and 1 where one stands, else 0."""
    tokens = torch.tensor(ids)
    images = (tokens == image_id).long()
    return torch.where(images == 1, -images.cumsum(0), tokens), images
