"""How do clips become training batches?

Knows no loss. Clips are drawn by all cores into one memory-mapped array; a batch packs one video
prefix and several questions into each row, every question seeing the prefix and itself but no
other question, just as the shared prefill does when the model is used.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerFast

from pipelines.scenes.architecture import TOKENS_PER_FRAME
from pipelines.scenes.clips import FRAMES, GRID, HEIGHT_PX, WIDTH_PX, draw_clip
from pipelines.scenes.truth import QUESTIONS, Answer, WindowTruth
from pipelines.smolvlm2.prompt import (
    DESCRIBE_PROMPT,
    END_TOKEN,
    IMAGE_TOKEN,
    question_suffix,
    video_prefix,
)

DESCRIBE_WORDINGS: Final = (DESCRIBE_PROMPT, "What happens in this video?", "What is happening?")
QUESTIONS_A_CLIP: Final = 4
ROW_TOKENS: Final = 384  # prefix of 8 frames (264), four questions and a description
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Order:
    """A clip's words for one order of its frames."""

    label: str
    times_s: tuple[float, ...]
    answers: dict[str, Answer]
    descriptions: tuple[str, ...]


@dataclass(frozen=True)
class Words:
    """A clip's words, forward and reversed."""

    event: str
    forward: Order
    backward: Order


def words_of(event: str, times_s: tuple[float, ...], truth: WindowTruth) -> Words:
    """What is said of a clip in either order."""
    reversed_times = tuple(times_s[-1] - t for t in reversed(times_s))
    back = truth.reversed()
    return Words(
        event,
        Order(truth.label, times_s, truth.answers(), truth.descriptions()),
        Order(back.label, reversed_times, back.answers(), back.descriptions()),
    )


def _draw_share(folder: Path, count: int, start: int, stop: int, seed: int) -> list[Words]:
    cv2.setNumThreads(1)
    frames = np.memmap(folder / "frames.u8", np.uint8, "r+", shape=(count, *_FRAMES_SHAPE))
    classes = np.memmap(folder / "classes.u8", np.uint8, "r+", shape=(count, *_CLASSES_SHAPE))
    words = []
    for i in range(start, stop):
        clip = draw_clip(np.random.default_rng([seed, i]))
        frames[i], classes[i] = clip.frames, clip.classes
        words.append(words_of(clip.event, clip.times_s, clip.truth))
    return words


_FRAMES_SHAPE = (FRAMES, HEIGHT_PX, WIDTH_PX, 3)
_CLASSES_SHAPE = (FRAMES, GRID, GRID)


def write_clips(folder: Path, count: int, seed: int, workers: int) -> None:
    """Draw `count` clips to `folder`: frames.u8, classes.u8 and words.pkl."""
    folder.mkdir(parents=True, exist_ok=True)
    np.memmap(folder / "frames.u8", np.uint8, "w+", shape=(count, *_FRAMES_SHAPE))
    np.memmap(folder / "classes.u8", np.uint8, "w+", shape=(count, *_CLASSES_SHAPE))
    edges = np.linspace(0, count, workers * 8 + 1).astype(int).tolist()
    with ProcessPoolExecutor(workers) as pool:
        shares = [
            pool.submit(_draw_share, folder, count, start, stop, seed)
            for start, stop in pairwise(edges)
        ]
        words = [w for share in shares for w in share.result()]
    (folder / "words.pkl").write_bytes(pickle.dumps(words))


@dataclass(frozen=True)
class Clips:
    """Clips read back: `frames` uint8 `[N, 8, 72, 128, 3]`, `classes` uint8 `[N, 8, 16, 16]`."""

    frames: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.uint8]
    words: list[Words]

    @classmethod
    def read(cls, folder: Path) -> Clips:
        """Open what `write_clips` wrote."""
        words = pickle.loads((folder / "words.pkl").read_bytes())  # noqa: S301 - our own file
        n = len(words)
        return cls(
            np.memmap(folder / "frames.u8", np.uint8, "c", shape=(n, *_FRAMES_SHAPE)),
            np.memmap(folder / "classes.u8", np.uint8, "c", shape=(n, *_CLASSES_SHAPE)),
            words,
        )


@dataclass(frozen=True)
class Batch:
    """One step's rows; `[B, ROW_TOKENS]` each, but the first two."""

    clips: IntArray  # [B] which clips
    frame_order: IntArray  # [B, 8] which of the clip's frames stands where
    ids: IntArray
    feature: IntArray  # which visual feature stands here, -1 for text
    segment: IntArray  # 0 prefix, 1.. questions, -1 padding
    position: IntArray
    target: IntArray  # the next token where it is supervised, else -100


class Packer:
    """Packs words into rows of tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._image_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
        self.encode = cache(self._encode)

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False).input_ids)

    def pack(self, words: list[Words], clips: IntArray, rng: np.random.Generator) -> Batch:
        """One batch of the chosen clips, their order, questions and wordings drawn at random."""
        size = len(clips)
        batch = Batch(
            clips,
            np.tile(np.arange(FRAMES), (size, 1)),
            np.zeros((size, ROW_TOKENS), np.int64),
            np.full((size, ROW_TOKENS), -1, np.int64),
            np.full((size, ROW_TOKENS), -1, np.int64),
            np.zeros((size, ROW_TOKENS), np.int64),
            np.full((size, ROW_TOKENS), -100, np.int64),
        )
        for row, clip in enumerate(clips):
            backward = rng.random() < 0.5
            order = words[clip].backward if backward else words[clip].forward
            used = len(order.times_s)
            if backward:
                batch.frame_order[row, :used] = np.arange(used)[::-1]
            at = self._put_prefix(batch, row, order, rng)
            for segment, (question, answer) in enumerate(draw_questions(order, rng), 1):
                at = self._put_question(batch, row, at, segment, question, answer)
        return batch

    def _put_prefix(self, batch: Batch, row: int, order: Order, rng: np.random.Generator) -> int:
        times = order.times_s
        extra = rng.choice([0.0, times[-1] / len(times)])
        ids = np.array(self.encode(video_prefix(times, times[-1] + extra, TOKENS_PER_FRAME)))
        n = len(ids)
        batch.ids[row, :n] = ids
        image = ids == self._image_id
        batch.feature[row, :n][image] = np.arange(image.sum())
        batch.segment[row, :n] = 0
        batch.position[row, :n] = np.arange(n)
        return n

    def _put_question(
        self, batch: Batch, row: int, at: int, segment: int, question: str, answer: str
    ) -> int:
        asked = self.encode(question_suffix(question))
        said = self.encode(f" {answer}{END_TOKEN}")
        ids = asked + said[:-1]
        end = at + len(ids)
        if end > ROW_TOKENS:
            return at  # a rare long row goes without its last question
        prefix = int((batch.segment[row] == 0).sum())
        batch.ids[row, at:end] = ids
        batch.segment[row, at:end] = segment
        batch.position[row, at:end] = prefix + np.arange(len(ids))
        batch.target[row, end - len(said) : end] = said
        return end


def draw_questions(order: Order, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    """A description, where there is a true one, and yes/no questions, half of them with yes."""
    if order.descriptions:
        wording = DESCRIBE_WORDINGS[
            0 if rng.random() < 0.7 else rng.integers(len(DESCRIBE_WORDINGS))
        ]
        yield wording, order.descriptions[rng.integers(len(order.descriptions))]
    true = [k for k, a in order.answers.items() if a is True]
    false = [k for k, a in order.answers.items() if a is False]
    rng.shuffle(true)
    rng.shuffle(false)
    kinds = true[: QUESTIONS_A_CLIP // 2]
    kinds += false[: QUESTIONS_A_CLIP - len(kinds)]
    for kind in kinds:
        wordings = QUESTIONS[kind]
        answer = "Yes." if order.answers[kind] else "No."
        yield wordings[rng.integers(len(wordings))], answer
