"""Is the machine's limit what it can do, and a share never more than all of it?"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from daemon.bench_child import QUESTIONS, stream
from daemon.bench_products import product_rates, shapes_of
from daemon.bench_roofline import achieved, frame_flops, prompt_flops
from daemon.bench_rows import MAIN, Measured, Roofline, Scenario
from daemon.bench_tokens import Prompts
from pipelines.smolvlm2.random_weights import FULL_SIZES, checkpoint_config
from pipelines.smolvlm2.tokens import Tokens
from pipelines.smolvlm2.wording import Wording
from tests.checkpoints import write_tiny_checkpoint

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
SMALL = [(64, 48, 96), (64, 96, 48)]
CONFIG = checkpoint_config(**FULL_SIZES["256m"], vocab_size=49280, image_id=49190)


@pytest.mark.parametrize("model_type", ["smolvlm", "idefics3"])
def test_tokens_are_those_that_the_model_reads(tmp_path: Path, model_type: str):
    directory = write_tiny_checkpoint(tmp_path / "tiny", model_type=model_type)
    prompts = Prompts(directory)
    of_time = model_type == "smolvlm"
    wording = Wording(Tokens.from_file(directory / "tokenizer.json"), 16, of_time=of_time)
    window = next(stream("porch", 64, 1))
    read = wording.prefix_ids(window, None) + wording.suffix_ids(QUESTIONS[0])
    assert prompts.window(QUESTIONS[:1]) == len(read)
    cut = wording.picture_ids((3, 4)) + wording.suffix_ids(QUESTIONS[0], (3, 4))
    assert prompts.picture((3, 4), QUESTIONS[0]) == len(cut) > 13 * prompts.per_frame


def test_the_products_are_the_models_own():
    shapes = shapes_of(CONFIG, 700)
    assert {(1024, 768, 3072), (1024, 3072, 768), (700, 576, 1536)} <= set(shapes)
    assert shapes[0] == (700, 576, 576)  # the smallest first, for processors that take seconds


def test_operations_of_a_frame_are_those_of_its_layers():
    # 12 layers: 2 * 1024 * (4 * 768^2 + 2 * 768 * 3072) and attention's 4 * 1024^2 * 768 each.
    layers = 12 * (2 * 1024 * (4 * 768**2 + 2 * 768 * 3072) + 4 * 1024**2 * 768)
    assert layers < frame_flops(CONFIG) < 1.02 * layers
    # Each token by itself: 2 operations for each of the weights of all layers but the last.
    weights = 2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536
    assert 29 * 2 * weights < prompt_flops(CONFIG, 1) < 30 * 2 * weights


def test_a_format_is_measured_where_it_ran():
    assert product_rates("cpu", "int8", SMALL, 0.01).keys() == {"f32"}
    assert product_rates("npu", "f32", SMALL, 0.01).keys() == {"f32"}
    rates = product_rates("cpu", "bf16", SMALL, 0.01)
    assert rates.keys() == {"f32", "bf16"}
    assert min(rates.values()) > 0
    assert product_rates("cpu", "f32", [], 0.01) == {}


@NEEDS_GPU
def test_a_gpu_has_rates_too():
    rates = product_rates("cuda", "bf16", [])
    assert rates["bf16"] > rates["f32"] > 0


def test_no_share_is_above_all_of_it():
    line = Roofline({"f32": 100.0}, 40.0, 101.0).line("f32")["roofline"]
    assert line["encode_share"] == 0.4
    assert line["prefill_share"] is None
    assert line["prefill_gflops"] == 101.0
    assert Roofline({"f32": 100.0}, 40.0, 50.0).line("int8")["roofline"]["encode_share"] is None


def test_achieved_is_work_over_time(tmp_path: Path):
    prompts = Prompts(write_tiny_checkpoint(tmp_path / "tiny"))
    rows = [
        Measured(Scenario("cold", 4, new_frames=8), 9.0, 8.0, 1.0, 0.0, 5, 900),
        Measured(MAIN, 3.0, 1.0, 2.0, 0.0, 5, 900),
    ]
    encode, prefill = achieved(prompts, QUESTIONS, rows)
    assert encode == pytest.approx(frame_flops(prompts.config) / 1e6)  # 8 frames in 8 ms
    read = prompt_flops(prompts.config, prompts.window(QUESTIONS[:4]))
    assert prefill == pytest.approx(read / 2e6)
