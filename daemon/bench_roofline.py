"""How many operations does a window take, and how many could the machine do?

Knows sizes from config.json and the time of plain matrix products; no model.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from daemon.bench_rows import INTERVAL_S, MAIN, NUM_FRAMES, Measured
from pipelines.smolvlm2.cpu_linear import PackedLinear, packs_bf16
from pipelines.smolvlm2.device import OPENVINO_DEVICES
from pipelines.smolvlm2.prompt import question_suffix, video_prefix
from pipelines.smolvlm2.tokens import Tokens

_EDGE = 2048  # of the square products
_MEASURE_S = 1.0


def product_rates(name: str, precision: str) -> dict[str, float]:
    """Measured rates of large matrix products in GFLOP/s: float32, and the format that ran.

    PyTorch's, so none for int8, and the CPU's for devices that only OpenVINO knows.
    """
    device = torch.device("cpu" if name in OPENVINO_DEVICES else name)
    rates = {"f32": _rate(device, torch.float32)}
    if precision == "bf16":
        rates["bf16"] = _rate(device, torch.bfloat16)
    return rates


def achieved(
    directory: Path, questions: Sequence[str], rows: Sequence[Measured]
) -> tuple[float, float]:
    """GFLOP/s of encoding (all frames new) and of the prompt with its questions, in `rows`."""
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    cold = next(m for m in rows if m.scenario.new_frames == NUM_FRAMES)
    main = next(m for m in rows if m.scenario == MAIN)
    encoded = NUM_FRAMES * frame_flops(config)
    asked = questions[: MAIN.questions]
    read = prompt_flops(config, prompt_tokens(directory, config, asked))
    return encoded / cold.encode_ms / 1e6, read / main.prefill_ms / 1e6


def prompt_tokens(directory: Path, config: dict[str, Any], questions: Sequence[str]) -> int:
    """How many tokens a window of eight frames and these questions has."""
    tokens = Tokens.from_file(directory / "tokenizer.json")
    vision = config["vision_config"]
    side = vision["image_size"] // vision["patch_size"] // config["scale_factor"]
    times_s = [number * INTERVAL_S for number in range(NUM_FRAMES)]
    texts = [video_prefix(times_s, times_s[-1], side**2), *map(question_suffix, questions)]
    return sum(len(tokens.encode(text)) for text in texts)


def frame_flops(config: dict[str, Any]) -> float:
    """Operations for one frame: two for a multiplication and its sum."""
    vision = config["vision_config"]
    hidden, layers = vision["hidden_size"], vision.get("num_hidden_layers", 12)
    mlp = vision.get("intermediate_size", 3072)
    patches = (vision["image_size"] // vision["patch_size"]) ** 2
    products = patches * (4 * hidden * hidden + 2 * hidden * mlp)
    attention = 2 * patches * patches * hidden
    first = patches * 3 * vision["patch_size"] ** 2 * hidden
    last = patches * hidden * config["text_config"]["hidden_size"]  # pixel shuffle, projection
    return float(2 * (layers * (products + attention) + first + last))


def prompt_flops(config: dict[str, Any], tokens: int) -> float:
    """Operations for a prompt; attention counts the half that causality leaves."""
    text = config["text_config"]
    hidden, mlp, head = text["hidden_size"], text["intermediate_size"], text["head_dim"]
    heads, kv_heads = text["num_attention_heads"], text["num_key_value_heads"]
    products = hidden * head * (2 * heads + 2 * kv_heads) + 3 * hidden * mlp
    attention = tokens * heads * head  # half of scores and half of sums
    return float(2 * text["num_hidden_layers"] * tokens * (products + attention))


def _rate(device: torch.device, dtype: torch.dtype) -> float:
    """GFLOP/s of the best of some products."""
    a = torch.randn(_EDGE, _EDGE, device=device).to(dtype)
    b = torch.randn(_EDGE, _EDGE, device=device).to(dtype)
    ways: list[Callable[[], object]] = [lambda: a @ b]
    if device.type == "cpu" and dtype == torch.bfloat16 and packs_bf16():
        packed = PackedLinear(b, None, _EDGE)
        ways.append(lambda: packed(a))
    best_s = float("inf")
    with torch.inference_mode():
        for way in ways:
            until_s = time.perf_counter() + _MEASURE_S
            while time.perf_counter() < until_s:
                began_s = time.perf_counter()
                way()
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                best_s = min(best_s, time.perf_counter() - began_s)
    return 2 * _EDGE**3 / best_s / 1e9
