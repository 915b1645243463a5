"""What do graphs see while their ranges are taken?

Knows papers, the reference and the graphs' inputs; not how ranges become numbers of 8 bits. Whole
windows: frames, their features, questions, and the words that the reference says of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from pipelines.smolvlm2.exam import Paper
from pipelines.smolvlm2.openvino_engine import text_inputs
from pipelines.smolvlm2.openvino_quiet import ov
from pipelines.smolvlm2.packing import pack
from pipelines.smolvlm2.torch_engine import TorchEngine

CALIBRATION_WINDOWS, CALIBRATION_FRAMES = 24, 4
_WORDS = 24  # tokens


class Sample(NamedTuple):
    """One window of a calibration."""

    frames: torch.Tensor
    features: torch.Tensor
    prefix_ids: list[int]
    suffixes: list[list[int]]  # questions, and the request for words with the words behind it


def samples_of(papers: Sequence[Paper], reference: TorchEngine, encoder: ov.Model) -> list[Sample]:
    """What the reference makes of `papers`. `encoder` is its encoder, as a graph."""
    encode = _encoding(encoder)
    return [_sample(encode, reference, paper) for paper in papers]


def encoder_inputs(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """What the encoder's graph is given, frame by frame."""
    return [{"levels": frame[None].numpy()} for sample in samples for frame in sample.frames]


def text_inputs_of(
    samples: Sequence[Sample], embeddings: npt.NDArray[np.float32], image_id: int
) -> Iterator[dict[str, Any]]:
    """What the text graph is given, window by window, with all its questions."""
    for sample in samples:
        ids = np.asarray(sample.prefix_ids)
        prompt = embeddings[ids]
        prompt[ids == image_id] = sample.features.flatten(0, 1).numpy()
        questions = pack(sample.suffixes)
        rows = np.concatenate([prompt, embeddings[np.asarray(questions.ids)]])
        yield text_inputs(rows, np.zeros(0, np.bool_), len(prompt), len(prompt), questions)


def _encoding(graph: ov.Model) -> Callable[[torch.Tensor], torch.Tensor]:
    """`TorchEngine.encode` as fast as this processor can: ranges want no more than 16 bits."""
    encoder = ov.Core().compile_model(graph, "CPU").create_infer_request()

    def encode(frames: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.from_numpy(encoder.infer([f[None]])[0]) for f in frames.numpy()])

    return encode


def _sample(
    encode: Callable[[torch.Tensor], torch.Tensor], reference: TorchEngine, paper: Paper
) -> Sample:
    """The reference's own words are among it: without them int8 broke off in mid-sentence."""
    features = encode(paper.frames)
    room = len(paper.describe_ids) + _WORDS
    prefix = reference.prefill(paper.prefix_ids, features, room)
    words = reference.decode(prefix, paper.describe_ids, _WORDS)
    suffixes = [*paper.suffixes, paper.describe_ids + words]
    return Sample(paper.frames, features, paper.prefix_ids, suffixes)
