"""What do tests load as a model?

Knows no learning: a SmolVLM2 checkpoint with random weights in the format of the published ones,
tiny and quick. Full-size ones come from `pipelines.smolvlm2.random_weights`.
"""

from __future__ import annotations

from pathlib import Path

import torch

from pipelines.smolvlm2.random_weights import (
    FULL_SIZE_IDS,
    checkpoint_config,
    write_tokenizer,
    write_weights,
)


def write_tiny_checkpoint(directory: Path, seed: int = 0, model_type: str = "smolvlm") -> Path:
    """Write a two-layer model: 64-pixel frames, 16 tokens a frame, half a megabyte.

    `model_type`: `idefics3` for one of the first SmolVLM.
    """
    directory.mkdir(parents=True, exist_ok=True)
    vocab_size = 512
    # Marks of tiles are spelt out, as in the first SmolVLM 2.2B.
    control = [token for token in FULL_SIZE_IDS if not token.startswith("<row_")]
    ids = {token: number for number, token in enumerate(control)}
    write_tokenizer(directory, ids, vocab_size)
    config = checkpoint_config(
        text={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
        },
        vision={
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "image_size": 64,
        },
        patch_size=8,
        scale_factor=2,
        vocab_size=vocab_size,
        image_id=ids["<image>"],
        model_type=model_type,
    )
    # Ten times the usual deviation: with the usual one all logits are so close to each other that
    # rounding could choose the likeliest token, and frames would hardly show in them.
    write_weights(directory, config, seed, deviation=0.2, dtype=torch.float32)
    return directory
