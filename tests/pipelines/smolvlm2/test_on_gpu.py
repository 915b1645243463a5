"""What only a GPU has (recorded graphs, compiled operations, bfloat16): does it hold?"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipelines.smolvlm2.cache import EncoderCache
from pipelines.smolvlm2.checkpoint import load_checkpoint
from pipelines.smolvlm2.cuda_engine import CudaEngine
from pipelines.smolvlm2.fused_ops import FusedOps
from pipelines.smolvlm2.model import SmolVLM2
from pipelines.smolvlm2.presets import BUNDLED_DIR
from pipelines.smolvlm2.torch_engine import TorchEngine
from pipelines.types import Look, Observation
from tests.pipelines.smolvlm2.conftest import QUESTIONS
from tests.pipelines.smolvlm2.test_cuda_engine import MAX_TOKENS, looks_at

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs an NVIDIA GPU: there is none here"
)


def load(directory: Path, dtype: torch.dtype, ops: FusedOps | None = None) -> SmolVLM2:
    module, tokens = load_checkpoint(directory, dtype, torch.device("cuda"))
    engine = CudaEngine(module, tokens.end_id, ops=ops)
    cache = EncoderCache(1)  # bytes: nothing is kept, the second run encodes too
    return SmolVLM2(engine, tokens, "gpu", cache=cache, max_description_tokens=MAX_TOKENS)


def reference(directory: Path) -> SmolVLM2:
    module, tokens = load_checkpoint(directory, torch.float32, torch.device("cpu"))
    engine, cache = TorchEngine(module, tokens.end_id), EncoderCache(1 << 26)
    return SmolVLM2(engine, tokens, "cpu", cache=cache, max_description_tokens=MAX_TOKENS)


def gap(seen: Observation, expected: Observation) -> float:
    return max((abs(seen.answers[q] - expected.answers[q]) for q in expected.answers), default=0.0)


@pytest.mark.parametrize("ops", [None, FusedOps()], ids=["compiled", "plain"])
def test_float32_on_the_gpu_says_what_the_reference_says(model_dir: Path, ops: FusedOps | None):
    expected, model = reference(model_dir), load(model_dir, torch.float32, ops)
    looks = looks_at(7, model.frame_edge_px)
    for _ in range(2):  # recorded, then replayed
        for look, seen in zip(looks, model.observe_many(looks), strict=True):
            alone = expected.observe(look.window, look.questions, look.prompt)
            assert isinstance(seen, Observation), seen
            assert gap(seen, alone) < 1e-3
            assert seen.description == alone.description


def test_bfloat16_decides_as_the_reference_does():
    if not BUNDLED_DIR.is_dir():
        pytest.skip("there is no pipelines/scenes/model yet")
    expected, model = reference(BUNDLED_DIR), load(BUNDLED_DIR, torch.bfloat16)
    looks = [Look(look.window, QUESTIONS, None) for look in looks_at(24, model.frame_edge_px)]
    gaps = []
    for look, seen in zip(looks, model.observe_many(looks), strict=True):
        alone = expected.observe(look.window, QUESTIONS, None)
        assert isinstance(seen, Observation), seen
        gaps.append(gap(seen, alone))
        for question, p_yes in alone.answers.items():
            if abs(p_yes - 0.5) > 0.1:
                assert (seen.answers[question] > 0.5) == (p_yes > 0.5)
    assert sorted(gaps)[len(gaps) // 2] < 0.05


def test_one_window_says_the_same_alone_and_in_company(model_dir: Path):
    model = load(model_dir, torch.float32)
    looks = looks_at(9, model.frame_edge_px)
    for look, seen in zip(looks, model.observe_many(looks), strict=True):
        alone = model.observe(look.window, look.questions, look.prompt)
        assert isinstance(seen, Observation), seen
        assert gap(seen, alone) < 1e-3
        assert seen.description == alone.description


def test_stores_grow_and_nothing_that_was_recorded_reads_the_old_place(tiny_dir: Path):
    expected, model = reference(tiny_dir), load(tiny_dir, torch.float32)
    short, several = looks_at(1, 64), looks_at(6, 64)
    many = [Look(look.window, tuple(f"{n}: {q}" for n in range(9) for q in QUESTIONS), None)
            for look in several]  # fmt: skip
    for looks in (short, several, many, short, several):
        for look, seen in zip(looks, model.observe_many(looks), strict=True):
            alone = expected.observe(look.window, look.questions, look.prompt)
            assert isinstance(seen, Observation), seen
            assert gap(seen, alone) < 1e-3
            assert seen.description == alone.description


def test_a_text_is_written_as_by_the_reference(tiny_dir: Path):
    expected, model = reference(tiny_dir), load(tiny_dir, torch.float32)
    task = "Say what happened. " * 9
    assert list(model.write(task, 40)) == list(expected.write(task, 40))
