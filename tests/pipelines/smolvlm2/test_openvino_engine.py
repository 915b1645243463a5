"""Does OpenVINO say what transformers says, in whatever order it is asked?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

pytest.importorskip("openvino")

from pipelines.smolvlm2.cache import EncoderCache
from pipelines.smolvlm2.cache_dir import cache_dir
from pipelines.smolvlm2.checkpoint import load_checkpoint
from pipelines.smolvlm2.model import SmolVLM2
from pipelines.smolvlm2.openvino_engine import OpenVinoEngine, OpenVinoPrefix
from pipelines.smolvlm2.openvino_loading import load_openvino
from pipelines.smolvlm2.preprocess import preprocess
from pipelines.smolvlm2.prompt import DESCRIBE_PROMPT
from pipelines.smolvlm2.tokens import Tokens
from pipelines.smolvlm2.torch_engine import TorchEngine
from tests.pipelines.smolvlm2.conftest import QUESTIONS
from tests.pipelines.smolvlm2.reference import Reference
from tests.pipelines.smolvlm2.test_model import prompt_of, sliding_windows

MOST_ERROR = 1e-3
MAX_TOKENS = 24


class Watched:
    """The real engine, which keeps the logits and ids that it gave."""

    def __init__(self, engine: OpenVinoEngine) -> None:
        self.engine = engine
        self.frame_size_px = engine.frame_size_px
        self.tokens_per_frame = engine.tokens_per_frame
        self.max_tokens = engine.max_tokens
        self.encode, self.prefill = engine.encode, engine.prefill

    def answer(
        self, prefix: OpenVinoPrefix, suffixes: Sequence[Sequence[int]], token_ids: Sequence[int]
    ) -> Tensor:
        self.logits = self.engine.answer(prefix, suffixes, range(len(self.engine._embeddings)))
        return self.logits[:, list(token_ids)]

    def decode(
        self,
        prefix: OpenVinoPrefix,
        suffix: Sequence[int],
        max_tokens: int,
        draft: Sequence[int] = (),
    ) -> list[int]:
        self.decoded = self.engine.decode(prefix, suffix, max_tokens, draft)
        return self.decoded


def load(directory: Path, environ: dict[str, str]) -> tuple[OpenVinoEngine, Tokens]:
    engine, tokens, running = load_openvino(
        directory,
        precision="f32",
        device="auto",
        calibration=None,
        num_threads=1,
        cache=cache_dir(environ),
    )
    assert running == ("openvino", "f32", "cpu")
    return engine, tokens


@pytest.fixture(scope="module")
def tiny(tiny_dir: Path) -> tuple[OpenVinoEngine, Tokens]:
    return load(tiny_dir, dict(os.environ))


def test_logits_and_words_are_those_of_transformers(model_dir: Path):
    engine, tokens = load(model_dir, dict(os.environ))
    watched = Watched(engine)
    model = SmolVLM2(
        watched, tokens, "test", cache=EncoderCache(1 << 24), max_description_tokens=MAX_TOKENS
    )
    reference = Reference(model_dir)
    for window in sliding_windows(model.frame_edge_px):
        observation = model.observe(window, QUESTIONS, DESCRIBE_PROMPT)
        levels = preprocess([frame.image for frame in window.frames], model.frame_edge_px)
        pixels = levels / 127.5 - 1.0
        for row, question in enumerate(QUESTIONS):
            prompt = prompt_of(question, window, engine.tokens_per_frame)
            expected = reference.first_logits(prompt, pixels)
            assert (watched.logits[row] - expected).abs().max() < MOST_ERROR
        prompt = prompt_of(DESCRIBE_PROMPT, window, engine.tokens_per_frame)
        assert watched.decoded == reference.generate(prompt, pixels, MAX_TOKENS, tokens.end_id)
        assert observation.description == tokens.decode(watched.decoded)
    assert model.cache.hits == 14


class Asked:
    """One prompt, and what the reference says to whatever is asked behind it."""

    def __init__(self, directory: Path, engine: OpenVinoEngine, seed: int, length: int) -> None:
        module, tokens = load_checkpoint(directory, torch.float32, torch.device("cpu"))
        generator = torch.Generator().manual_seed(seed)
        size = engine.frame_size_px
        levels = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=generator)
        image = [module.config.image_token_id] * engine.tokens_per_frame
        self.ids = [*self._words(length, generator), *image, 7, *image, 9]
        self.engine, self.reference = engine, TorchEngine(module, tokens.end_id)
        self.features = self.reference.encode(levels)
        assert (engine.encode(levels) - self.features).abs().max() < MOST_ERROR
        self.right = self.reference.prefill(self.ids, self.features, 200)
        self.prefix = engine.prefill(self.ids, self.features, 200)

    @staticmethod
    def _words(length: int, generator: torch.Generator) -> list[int]:
        return torch.randint(20, 300, (length,), generator=generator).tolist()

    def answers_right(self, *suffixes: list[int]) -> None:
        ids = range(40)
        given = self.engine.answer(self.prefix, suffixes, ids)
        right = self.reference.answer(self.right, suffixes, ids)
        assert given.shape == (len(suffixes), 40)
        assert (given - right).abs().max() < MOST_ERROR

    def decodes_right(
        self, suffix: list[int], max_tokens: int = 12, draft: Sequence[int] = ()
    ) -> list[int]:
        given = self.engine.decode(self.prefix, suffix, max_tokens, draft)
        assert given == self.reference.decode(self.right, suffix, max_tokens)
        return given


def test_a_prefix_serves_calls_in_any_order(tiny, tiny_dir: Path):
    asked = Asked(tiny_dir, tiny[0], seed=1, length=12)
    said = asked.decodes_right([30, 31])  # runs the prompt with it
    asked.answers_right([40, 41, 42], [43], [44, 45])
    asked.answers_right([43])
    assert asked.decodes_right([30, 31]) == said
    asked.answers_right([44, 45], [40, 41, 42])


def test_a_guess_changes_no_words(tiny, tiny_dir: Path):
    asked = Asked(tiny_dir, tiny[0], seed=5, length=12)
    said = asked.decodes_right([30, 31], 20)
    assert len(set(said)) > 3, "a text that repeats itself shows nothing"
    for wrong_at in (None, 0, 3, 11):
        draft = [299 if place == wrong_at else token for place, token in enumerate(said)]
        asked.decodes_right([30, 31], 20, draft)  # with the state behind a prompt that was run
        asked.answers_right([40, 41, 42], [43])
        fresh = Asked(tiny_dir, tiny[0], seed=5, length=12)
        fresh.decodes_right([30, 31], 20, draft)  # and in one pass with the prompt
        fresh.answers_right([40, 41, 42], [43])


def test_a_text_goes_on_behind_a_wrong_guess(tiny, tiny_dir: Path):
    asked = Asked(tiny_dir, tiny[0], seed=6, length=12)
    said = asked.decodes_right([30, 31], 9)
    assert asked.decodes_right([30, 31], 6, [*said[:2], 299, *said[3:]]) == said[:6]
    asked.decodes_right([30, 31, *said[:6]], 9)


def test_prefixes_do_not_disturb_each_other(tiny, tiny_dir: Path):
    one, other = (Asked(tiny_dir, tiny[0], seed, length=9 + seed) for seed in (2, 3))
    one.answers_right([40, 41])
    other.decodes_right([30])
    one.decodes_right([31])
    other.answers_right([40, 41])
    other.prefix = other.engine.prefill(other.ids, other.features, 200)
    one.answers_right([42])
    other.answers_right([42])
    assert one.prefix.request is not other.prefix.request


def test_a_text_is_written_on_from_where_it_was(tiny, tiny_dir: Path):
    asked = Asked(tiny_dir, tiny[0], seed=8, length=11)
    written = asked.decodes_right([30], 5)
    slots = asked.prefix.slots
    more = asked.decodes_right([30, *written], 5)
    assert (len(written), len(more)) == (5, 5)
    assert asked.prefix.slots == slots + 5  # the last word read, and four of the new ones
    written += more
    asked.answers_right([40, 41], [42])  # something else, in between
    asked.decodes_right([30, *written], 5)
    asked.decodes_right([30, 33, *written], 5)  # not a continuation


def test_what_earlier_calls_left_is_cleared_before_it_grows(tiny, tiny_dir: Path):
    asked = Asked(tiny_dir, tiny[0], seed=5, length=10)
    most = asked.prefix.num_tokens + 4 * asked.prefix.room
    for first in range(20, 32):
        asked.answers_right([first] * 90, [40, 41])
        assert asked.prefix.slots <= most
    for first in range(20, 32):  # some of them in the middle of their words
        asked.decodes_right([first] * 100, 80)
        assert asked.prefix.slots <= most


def test_requests_of_prefixes_that_are_gone_are_used_again(tiny, tiny_dir: Path):
    asked = Asked(tiny_dir, tiny[0], seed=6, length=10)
    asked.answers_right([40])
    request = asked.prefix.request
    asked.prefix = asked.engine.prefill(asked.ids, asked.features, 200)
    asked.answers_right([41], [42, 43])
    assert asked.prefix.request is request


def test_what_does_not_fit_is_refused(tiny, tiny_dir: Path):
    engine, tokens = tiny
    frames = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    features = engine.encode(frames)
    with pytest.raises(ValueError, match="more than the model's 8192"):
        engine.prefill([5] * 8000, features, 400)
    with pytest.raises(ValueError, match="0 image tokens for 16 rows"):
        engine.prefill([5] * 10, features, 10)
    with pytest.raises(ValueError, match="1 image tokens for 0 rows"):
        engine.prefill([tokens.image_id], None, 10)
