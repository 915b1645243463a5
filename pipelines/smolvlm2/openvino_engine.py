"""How does OpenVINO compute features, answers and words?

Knows no cameras, no strings and no conversion: a folder of converted graphs, tensors and ids.

A prompt is not run by `prefill` but by the first call behind it, in one pass with that call's
questions: behind kept keys and values the CPU plugin attends token by token, which made four
questions cost 40% of the prompt (tests/bench/LOG.md). Later calls read on from the kept state.
What earlier calls left there is masked, not removed; when too much of it has gathered, the prompt
is run anew.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipelines.errors import ModelError
from pipelines.smolvlm2.drafts import find_words
from pipelines.smolvlm2.mapped_files import let_go
from pipelines.smolvlm2.openvino_files import EMBEDDINGS, ENCODER, HEAD_ROWS, TEXT, Sizes
from pipelines.smolvlm2.openvino_quiet import ov
from pipelines.smolvlm2.packing import Pack, pack

_Floats = npt.NDArray[np.float32]
_HIDDEN_SCORE = -1e9  # added to scores of what a token may not look at; -inf makes NaN of bf16 rows
_MOST_LITTER = 4  # times a prompt's room: then it is run anew


@dataclass(eq=False)
class OpenVinoPrefix:
    """A prompt up to the question, to be run by the first call; keys and values once it was."""

    embeddings: _Floats  # [P, hidden]
    room: int
    request: ov.InferRequest | None = None  # holds the state
    slots: int = 0  # tokens in the state: the prompt's, then whatever was read behind it
    chain: list[int] = field(default_factory=list)  # the last `decode`'s tokens that were read,
    chain_slots: list[int] = field(default_factory=list)  # and where in the state they are

    @property
    def num_tokens(self) -> int:
        """Of the prompt."""
        return len(self.embeddings)

    def forget_chain(self) -> None:
        """What follows stands behind the prompt alone."""
        self.chain, self.chain_slots = [], []


class _Read(NamedTuple):
    """What the text graph said. Good until it is asked again: the memory is its own."""

    hidden: _Floats  # [rows, hidden]
    logits: _Floats  # [rows, vocabulary]


class OpenVinoEngine:
    """An `Engine` for the CPU, Intel's GPUs and NPUs. Raises `ModelError` where there is none."""

    def __init__(
        self, folder: Path, sizes: Sizes, end_id: int, device: str, options: dict[str, Any]
    ) -> None:
        """Compile the graphs in `folder` for OpenVINO's `device`, with its `options`."""
        self.frame_size_px = sizes.frame_size_px
        self.tokens_per_frame = sizes.tokens_per_frame
        self.max_tokens = sizes.max_tokens
        self._image_id = sizes.image_id
        self._end_id = end_id
        self._embeddings: _Floats = np.load(folder / EMBEDDINGS, mmap_mode="r")  # few rows are read
        rows = folder / HEAD_ROWS
        self._head_rows = np.load(rows, mmap_mode="r") if rows.exists() else self._embeddings
        core = ov.Core()
        # The NPU wants shapes that never change: frames have them, prompts do not.
        devices = {TEXT: "CPU"} if device == "NPU" else {}
        compiled = []
        try:
            for name in (ENCODER, TEXT):
                compiled.append(
                    core.compile_model(folder / name, devices.get(name, device), options)
                )
                let_go(folder)  # weights are packed now
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ModelError(
                f"OpenVINO cannot run the model on device {device} ({reason}); it finds "
                f"{', '.join(core.available_devices)}. Use another model.device, or engine: torch"
            ) from error
        encoder, self._text = compiled
        self._encoding = encoder.create_infer_request()
        self._free: list[ov.InferRequest] = []  # of prefixes that are gone

    def encode(self, pixels: Tensor) -> Tensor:
        """See `Engine.encode`. Features are float32 on the CPU."""
        levels = pixels.cpu().contiguous().numpy()  # [N, 3, S, S]
        features = [self._encoding.infer([frame[None]], share_inputs=True)[0] for frame in levels]
        return torch.from_numpy(np.concatenate(features))

    def prefill(self, ids: Sequence[int], features: Tensor | None, room: int) -> OpenVinoPrefix:
        """See `Engine.prefill`. Its time counts with the first call behind it."""
        if len(ids) + room > self.max_tokens:
            raise ValueError(
                f"{len(ids)} + {room} tokens are more than the model's {self.max_tokens}: "
                "use fewer frames or shorter questions"
            )
        embeddings = self._embeddings[np.asarray(ids)]  # [P, hidden], a copy
        places = np.flatnonzero(np.asarray(ids) == self._image_id)
        rows = features.flatten(0, 1).numpy() if features is not None else embeddings[:0]
        if len(places) != len(rows):
            raise ValueError(f"{len(places)} image tokens for {len(rows)} rows of features")
        embeddings[places] = rows
        return OpenVinoPrefix(embeddings, room)

    def answer(
        self, prefix: OpenVinoPrefix, suffixes: Sequence[Sequence[int]], token_ids: Sequence[int]
    ) -> Tensor:
        """See `Engine.answer`. In float32, for the reason that `TorchEngine.answer` gives."""
        prefix.forget_chain()
        hidden = self._read_on(prefix, pack(suffixes)).hidden
        return torch.from_numpy(hidden @ self._head_rows[np.asarray(token_ids)].T)

    def decode(
        self,
        prefix: OpenVinoPrefix,
        suffix: Sequence[int],
        max_tokens: int,
        draft: Sequence[int] = (),
    ) -> list[int]:
        """See `Engine.decode`. A suffix that goes on from the last one's words is read from there.

        So does a long text, which is written in steps.
        """
        known = len(prefix.chain)
        if not known or known >= len(suffix) or list(suffix[:known]) != prefix.chain:
            prefix.forget_chain()

        def read(ids: Sequence[int], rows: int) -> list[int]:
            likeliest: list[int] = self._read_chain(prefix, ids, rows).argmax(axis=1).tolist()
            return likeliest

        def drop(count: int) -> None:
            del prefix.chain[-count:], prefix.chain_slots[-count:]

        rest = suffix[len(prefix.chain) :]
        return find_words(read, drop, rest, max_tokens, self._end_id, draft)

    def _read_chain(self, prefix: OpenVinoPrefix, ids: Sequence[int], rows: int) -> _Floats:
        """Read ids behind the chain, and make them part of it; the last logits, see `_Read`."""
        if prefix.slots + len(ids) > prefix.num_tokens + _MOST_LITTER * prefix.room:
            ids = [*prefix.chain, *ids]
            prefix.forget_chain()
        chain = pack([ids])
        ends = list(range(len(ids) - rows, len(ids)))
        logits = self._read_on(prefix, chain._replace(ends=ends)).logits
        prefix.chain += ids
        prefix.chain_slots += range(prefix.slots - len(ids), prefix.slots)
        return logits

    def _read_on(self, prefix: OpenVinoPrefix, questions: Pack) -> _Read:
        """Run questions behind the chain, for where each one ends.

        The prompt is run with them if it was not yet, or if its state is littered.
        """
        if prefix.request is None:
            prefix.request = self._free.pop() if self._free else self._text.create_infer_request()
            weakref.finalize(prefix, self._free.append, prefix.request)
        if prefix.slots + len(questions.ids) > prefix.num_tokens + _MOST_LITTER * prefix.room:
            prefix.slots = 0
        before = 0 if prefix.slots else prefix.num_tokens  # prompt's tokens in this pass
        if before:
            prefix.request.reset_state()
        embeddings = np.concatenate(
            [prefix.embeddings[:before], self._embeddings[np.asarray(questions.ids)]]
        )
        behind = prefix.num_tokens + len(prefix.chain)
        inputs = text_inputs(embeddings, _seen(prefix), before, behind, questions)
        results = prefix.request.infer(inputs, share_inputs=True, share_outputs=True)
        prefix.slots += len(embeddings)
        return _Read(hidden=results[0], logits=results[1])


def text_inputs(
    embeddings: _Floats, seen: npt.NDArray[np.bool_], before: int, behind: int, questions: Pack
) -> dict[str, Any]:
    """What the text graph is given for one pass.

    `embeddings` [T, hidden]: of the prompt's first `before` tokens, then of the questions, which
    begin at position `behind`. `seen` [K]: which tokens in the state may be looked at.
    """
    places = [behind + place for place in questions.place]
    return {
        "embeddings": embeddings[None],
        "positions": np.array([[*range(before), *places]], np.int64),
        "mask": _mask(seen, before, questions.question),
        "rows": before + np.array(questions.ends, np.int64),
        "kept": np.zeros(1, np.int32),
    }


def _seen(prefix: OpenVinoPrefix) -> npt.NDArray[np.bool_]:
    """Which tokens in the state may be looked at: the prompt's and the chain's. [slots]."""
    seen = np.zeros(prefix.slots, np.bool_)
    seen[: prefix.num_tokens] = True
    seen[prefix.chain_slots] = True
    return seen


def _mask(seen: npt.NDArray[np.bool_], before: int, question: Sequence[int]) -> _Floats:
    """What each token of a pass adds to its scores. [1, 1, T, K + T].

    `seen` [K], of the tokens in the state. The pass has `before` tokens of the prompt, then those
    of questions: each sees what is before it, but for other questions.
    """
    number = np.array([-1] * before + list(question))  # [T]
    own = (number[:, None] == number[None, :]) | (number[None, :] == -1)
    own = np.tril(own)  # [T, T]
    visible = np.concatenate([np.broadcast_to(seen, (len(own), len(seen))), own], axis=1)
    return np.where(visible, np.float32(0), np.float32(_HIDDEN_SCORE))[None, None]
