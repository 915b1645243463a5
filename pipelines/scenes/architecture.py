"""How is the bundled model built?

Knows no training: SmolVLM2's own architecture, small. 128-pixel frames, patch 8, pixel-shuffle 4,
so 16 tokens a frame; about 8 million parameters, 16 MB in bf16.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from transformers import PreTrainedTokenizerFast, SmolVLMConfig, SmolVLMForConditionalGeneration
from transformers.models.smolvlm.configuration_smolvlm import SmolVLMVisionConfig

from pipelines.smolvlm2.prompt import END_TOKEN, IMAGE_TOKEN

FRAME_PX: Final = 128
TOKENS_PER_FRAME: Final = 16
VISION_WIDTH: Final = 192


def build_model(tokenizer: PreTrainedTokenizerFast) -> SmolVLMForConditionalGeneration:
    """The untrained model, float32, for this tokenizer's vocabulary."""
    end_id = tokenizer.get_vocab()[END_TOKEN]
    image_id = tokenizer.get_vocab()[IMAGE_TOKEN]
    text: dict[str, Any] = {
        "model_type": "llama",
        "vocab_size": len(tokenizer),
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100_000.0},
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": end_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }
    config = SmolVLMConfig(
        vision_config=SmolVLMVisionConfig(
            hidden_size=VISION_WIDTH,
            intermediate_size=768,
            num_hidden_layers=6,
            num_attention_heads=3,
            image_size=FRAME_PX,
            patch_size=8,
        ),
        text_config=text,
        scale_factor=4,
        image_token_id=image_id,
        tie_word_embeddings=True,
    )
    model = SmolVLMForConditionalGeneration(config)
    model.generation_config.eos_token_id = end_id
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def save_model(model: SmolVLMForConditionalGeneration, folder: Path) -> None:
    """Write bf16 safetensors and configuration to `folder`, leaving the model as it is."""
    kept = {
        name: tensor.detach().to(torch.bfloat16).cpu()
        for name, tensor in model.state_dict().items()
    }
    half: Any = SmolVLMForConditionalGeneration(model.config)
    half = half.to(torch.bfloat16)
    half.load_state_dict(kept)
    half.generation_config = model.generation_config
    half.save_pretrained(folder)
