"""How is a checkpoint of a published size made where the published one is not to be had?

Knows no learning: random weights in the format of the published checkpoints, whose speed and memory
are theirs and whose answers mean nothing. The configuration keys are those of the published
config.json files (transformers 4.47), the ids of the control tokens those of their tokenizer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig

from pipelines.freed import trim
from pipelines.smolvlm2.checkpoint import MODULES

# The words that prompts and answers are made of, so that a few merges cover them.
SENTENCES = [
    "User: You are provided the following series of eight frames from a 0:00:07 video.",
    "Frame from 00:00: Frame from 00:01:",
    "Did a person leave? Did a person arrive? Is there a package? Is a car parked?",
    "Describe what happens in this video.",
    "A blank line at the end is one token, as in SmolLM2's vocabulary:\n\n",
    "Assistant: Yes Assistant: No yes no YES NO Yes No",
]
FULL_SIZE_VOCAB = 49280
FULL_SIZE_IDS = {
    "<|endoftext|>": 0,
    "<|im_start|>": 1,
    "<|im_end|>": 2,
    "<global-img>": 49152,
    "<fake_token_around_image>": 49189,
    "<image>": 49190,
    "<end_of_utterance>": 49279,
    **{
        f"<row_{row + 1}_col_{column + 1}>": 49153 + 6 * row + column
        for row in range(6)
        for column in range(6)
    },
}
# The first SmolVLM 2.2B came before the others: marks of tiles are spelt out (the model's blog post
# of January 2025), its context twice as long (the post of November 2024).
FIRST_LARGE_VOCAB = 49155
FIRST_LARGE_IDS = {
    "<|endoftext|>": 0,
    "<|im_start|>": 1,
    "<|im_end|>": 2,
    "<fake_token_around_image>": 49152,
    "<image>": 49153,
    "<end_of_utterance>": 49154,
}
FIRST_LARGE_TEXT = {"max_position_embeddings": 16384, "rope_theta": 273768.0}
FULL_SIZES: dict[str, dict[str, Any]] = {  # where the sizes differ, from the published configs
    "256m": {
        "text": {
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
        },
        "vision": {"hidden_size": 768, "num_attention_heads": 12, "image_size": 512},
        "patch_size": 16,
        "scale_factor": 4,
    },
    "500m": {
        "text": {
            "hidden_size": 960,
            "intermediate_size": 2560,
            "num_hidden_layers": 32,
            "num_attention_heads": 15,
            "num_key_value_heads": 5,
        },
        "vision": {"hidden_size": 768, "num_attention_heads": 12, "image_size": 512},
        "patch_size": 16,
        "scale_factor": 4,
    },
    "2.2b": {
        "text": {
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 24,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
        },
        "vision": {
            "hidden_size": 1152,
            "num_attention_heads": 16,
            "image_size": 384,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
        },
        "patch_size": 14,
        "scale_factor": 3,
    },
}


def write_random_checkpoint(
    directory: Path, name: str = "256m", seed: int = 0, dtype: torch.dtype = torch.float32
) -> Path:
    """Write a model of a published size, a name in `presets.PRESETS`.

    `256m` takes 1 GB in float32.
    """
    directory.mkdir(parents=True, exist_ok=True)
    size_name = name.removeprefix("smolvlm-")
    size = FULL_SIZES[size_name]
    ids, vocab_size, text = FULL_SIZE_IDS, FULL_SIZE_VOCAB, size["text"]
    if name == "smolvlm-2.2b":
        ids, vocab_size, text = FIRST_LARGE_IDS, FIRST_LARGE_VOCAB, text | FIRST_LARGE_TEXT
    write_tokenizer(directory, ids, vocab_size)
    config = checkpoint_config(
        **size | {"text": text},
        vocab_size=vocab_size,
        image_id=ids["<image>"],
        model_type="smolvlm" if size_name == name else "idefics3",
    )
    write_preprocessor_config(directory, size["vision"]["image_size"])
    write_weights(directory, config, seed, deviation=0.05, dtype=dtype)
    return directory


def write_preprocessor_config(directory: Path, tile_px: int) -> None:
    """Write how single pictures are cut: into up to four by four tiles, as the published are."""
    config = {
        "do_image_splitting": True,
        "max_image_size": {"longest_edge": tile_px},
        "size": {"longest_edge": 4 * tile_px},
    }
    (directory / "preprocessor_config.json").write_text(json.dumps(config, indent=2))


def checkpoint_config(
    *,
    text: dict[str, Any],
    vision: dict[str, Any],
    patch_size: int,
    scale_factor: int,
    vocab_size: int,
    image_id: int,
    model_type: str = "smolvlm",
) -> dict[str, Any]:
    """Content of a config.json; `text` and `vision` hold what differs between sizes.

    `model_type`: `smolvlm` for SmolVLM2, `idefics3` for the first SmolVLM.
    """
    kind, vision_type = {
        "smolvlm": ("SmolVLM", "smolvlm_vision"),
        "idefics3": ("Idefics3", "idefics3"),
    }[model_type]
    return {
        "architectures": [f"{kind}ForConditionalGeneration"],
        "image_token_id": image_id,
        "model_type": model_type,
        "pad_token_id": 128002,
        "scale_factor": scale_factor,
        "text_config": {
            "architectures": ["VLlama3ForCausalLM"],
            "head_dim": 64,
            "is_llama_config": True,
            "max_position_embeddings": 8192,
            "model_type": "llama",
            "neftune_noise_alpha": 0.0,
            "pad_token_id": 2,
            "pixel_shuffle_factor": scale_factor,
            "qk_layer_norms": False,
            "rms_norm_eps": 1e-05,
            "rope_interleaved": False,
            "rope_theta": 100000,
            "torch_dtype": "bfloat16",
            "use_resampler": False,
            "vocab_size": vocab_size,
            **text,
        },
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "transformers_version": "4.47.1",
        "use_cache": False,
        "use_reentrant_checkpointing": False,
        "vision_config": {
            "max_image_size": {"longest_edge": vision["image_size"]},
            "model_type": vision_type,
            "patch_size": patch_size,
            "size": {"longest_edge": 4 * vision["image_size"]},
            "tie_word_embeddings": False,
            "use_base_siglip": False,
            **vision,
        },
        "vocab_size": vocab_size,
    }


def write_weights(
    directory: Path, config: dict[str, Any], seed: int, *, deviation: float, dtype: torch.dtype
) -> None:
    """Write config.json, generation_config.json and normally distributed weights."""
    (directory / "config.json").write_text(json.dumps(config, indent=2))
    end_id = Tokenizer.from_file(str(directory / "tokenizer.json")).token_to_id(
        "<end_of_utterance>"
    )
    (directory / "generation_config.json").write_text(
        json.dumps({"_from_model_config": True, "bos_token_id": 1, "eos_token_id": end_id})
    )
    with torch.device("meta"):
        module = MODULES[config["model_type"]](AutoConfig.from_pretrained(directory))
    random = torch.Generator().manual_seed(seed)
    weights = {}
    for name, tensor in module.state_dict().items():
        if name.endswith("norm.weight") or "layernorm" in name or "layer_norm" in name:
            weights[name] = torch.full(tensor.shape, float(name.endswith("weight")), dtype=dtype)
        else:
            weights[name] = (torch.randn(tensor.shape, generator=random) * deviation).to(dtype)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    weights.clear()
    trim()  # of the 2.2B glibc kept 4.3 GB, beside the processes that then measure it


def write_tokenizer(directory: Path, control_ids: dict[str, int], vocab_size: int) -> None:
    """Write a byte-level BPE tokenizer in which the control tokens have the given ids."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(control_ids) if vocab_size < 1000 else 500,
        min_frequency=1,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    trained.train_from_iterator(SENTENCES, trainer)
    content = json.loads(trained.to_str())["model"]
    words = sorted(content["vocab"], key=content["vocab"].__getitem__)
    free_ids = (i for i in range(vocab_size) if i not in control_ids.values())
    vocab = {word: next(free_ids) for word in words} | control_ids
    merges = [tuple(merge) for merge in content["merges"]]

    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    # As SmolLM2's: digits one by one, then bytes.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in control_ids]
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {
        "bos_token": "<|im_start|>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "<end_of_utterance>",
        "model_max_length": 8192,
        "pad_token": "<|im_end|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<|endoftext|>",
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))
