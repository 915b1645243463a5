"""How does a directory become a model in memory?

Knows no names and no network: a directory in the format of the Hugging Face hub (config.json,
tokenizer.json, safetensors). Whatever is missing, damaged or foreign is said before a weight is
read, as far as names and headers can tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import (
    AutoConfig,
    Idefics3ForConditionalGeneration,
    SmolVLMForConditionalGeneration,
)
from transformers.utils import logging as transformers_logging

from pipelines.errors import ModelError, ModelUnavailable
from pipelines.smolvlm2.files import check_files, read_json
from pipelines.smolvlm2.tokens import Tokens

MODULES: Mapping[str, Any] = MappingProxyType(  # by config.json's model_type: same parts and names
    {"smolvlm": SmolVLMForConditionalGeneration, "idefics3": Idefics3ForConditionalGeneration}
)
MAPPED_BYTES = 64 << 20  # of a weights file at once


def load_checkpoint(
    directory: Path, dtype: torch.dtype, device: torch.device
) -> tuple[Any, Tokens]:
    """Read the module of `MODULES` that it is for, in eval mode, and its tokenizer.

    Weights are in memory once, as `dtype`.

    Raises `ModelError` for a missing, damaged or foreign file.
    """
    weights_files = check_files(directory)
    config = read_json(directory / "config.json")
    if config.get("model_type") not in MODULES:
        raise ModelError(
            f"{directory}/config.json is for a {config.get('model_type')!r} model; smolwatch runs "
            "SmolVLM2, whose model_type is 'smolvlm', and the first SmolVLM, whose is 'idefics3'"
        )
    tokens = Tokens.from_file(directory / "tokenizer.json")
    for path in weights_files:
        _check_header(path)
    module = _load_weights(MODULES[config["model_type"]], directory, weights_files, dtype, device)
    _check_fit(directory, module, tokens)
    return module, tokens


def knows_time(directory: Path) -> bool:
    """Whether it was tuned on frames with their times; the first SmolVLM was on pictures alone."""
    return read_json(directory / "config.json").get("model_type") == "smolvlm"


def _check_header(path: Path) -> None:
    """Raise `ModelError` if the file is no safetensors file, or its length not what it says."""
    try:
        with safe_open(path, framework="pt") as tensors:
            tensors.keys()
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} is damaged or was not fetched to its end ({error}); delete it and fetch it "
            "anew"
        ) from error


def _load_weights(
    kind: Any,
    directory: Path,
    weights_files: Sequence[Path],
    dtype: torch.dtype,
    device: torch.device,
) -> Any:
    """Build the modules around the weights. Raises `ModelError`."""
    try:
        with _no_progress_bar():
            loaded: Any = kind.from_pretrained(
                None,
                config=AutoConfig.from_pretrained(directory, trust_remote_code=False),
                state_dict=_read_weights(weights_files, dtype),
                dtype=dtype,
                attn_implementation="sdpa",
                output_loading_info=True,
            )
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "alloc" not in str(error).lower():
            raise _unfit(directory, error) from error
        raise ModelUnavailable(  # torch.OutOfMemoryError, and what the CPU's allocator says
            f"there is not memory enough for {directory} ({error}): end other programs, or use a "
            "smaller model"
        ) from error
    except (ValueError, TypeError, OSError, SafetensorError) as error:
        raise _unfit(directory, error) from error
    module, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"the weights in {directory} lack {len(missing)} tensors of the model, such as "
            f"{missing[0]}: they are not a complete SmolVLM2; fetch them anew"
        )
    module.requires_grad_(requires_grad=False)
    return module.eval().to(device)


def _unfit(directory: Path, error: Exception) -> ModelError:
    return ModelError(
        f"{directory} does not load: config.json and weights do not fit each other ({error})"
    )


def _read_weights(weights_files: Sequence[Path], dtype: torch.dtype) -> dict[str, Tensor]:
    """All tensors by name, as `dtype`.

    A file is mapped into memory, and what was read of it counts as this process's until it is
    closed: read in one go, the 256M model in bfloat16 peaked at 1855 MB, and 928 MB this way.
    """
    weights: dict[str, Tensor] = {}
    for path in weights_files:
        names: list[str] | None = None
        while names is None or names:
            with safe_open(path, framework="pt") as tensors:
                if names is None:  # the largest last, to be read first: there is room yet
                    names = sorted(tensors.keys(), key=lambda name: _size(tensors, name))
                mapped_bytes = 0
                while names and mapped_bytes < MAPPED_BYTES:
                    name = names.pop()
                    stored = tensors.get_tensor(name)
                    mapped_bytes += stored.nbytes
                    weights[name] = stored.to(dtype, copy=True)
                    del stored  # or its mapping lives on
    return weights


def _size(tensors: Any, name: str) -> int:
    return math.prod(tensors.get_slice(name).get_shape())


def _check_fit(directory: Path, module: Any, tokens: Tokens) -> None:
    """Raise `ModelError` if the tokenizer is not the one that the weights were trained with."""
    vocab_size = module.config.text_config.vocab_size
    if tokens.vocab_size > vocab_size or tokens.image_id != module.config.image_token_id:
        raise ModelError(
            f"tokenizer.json and config.json in {directory} are from different models: "
            f"{tokens.vocab_size} tokens for {vocab_size} embeddings, image token "
            f"{tokens.image_id} for {module.config.image_token_id}"
        )


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Keep transformers' bar over a few hundred tensors out of a daemon's log."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
