"""How many operations does a window take, and how many are done a second?

Knows sizes from config.json and times that were measured; no model. What the machine could do is
`daemon.bench_products`' affair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from daemon.bench_rows import MAIN, NUM_FRAMES, Measured
from daemon.bench_tokens import Prompts


def achieved(
    prompts: Prompts, questions: Sequence[str], rows: Sequence[Measured]
) -> tuple[float, float]:
    """GFLOP/s of encoding (all frames new) and of the prompt with its questions, in `rows`."""
    cold = next(m for m in rows if m.scenario.new_frames == NUM_FRAMES)
    main = next(m for m in rows if m.scenario == MAIN)
    encoded = NUM_FRAMES * frame_flops(prompts.config)
    read = prompt_flops(prompts.config, prompts.window(questions[: MAIN.questions]))
    return encoded / cold.encode_ms / 1e6, read / main.prefill_ms / 1e6


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
    """Operations that a prompt needs; attention counts the half that causality leaves.

    Of the last layer only keys and values are needed, but for the few tokens that are asked for.
    """
    text = config["text_config"]
    hidden, mlp, head = text["hidden_size"], text["intermediate_size"], text["head_dim"]
    heads, kv_heads = text["num_attention_heads"], text["num_key_value_heads"]
    kept = 2 * hidden * head * kv_heads
    products = kept + 2 * hidden * head * heads + 3 * hidden * mlp
    attention = tokens * heads * head  # half of scores and half of sums
    layers = text["num_hidden_layers"]
    return float(2 * tokens * ((layers - 1) * (products + attention) + kept))
