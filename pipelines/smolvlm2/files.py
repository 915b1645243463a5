"""Which files make a model directory, and are they all there?

Knows no tensors and no network: the format of the Hugging Face hub, by names alone.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pipelines.errors import ModelError

FINGERPRINT_BYTES = 1 << 20  # read from either end of a weights file


def check_files(directory: Path) -> list[Path]:
    """Return the weights files. Raises `ModelError` naming the first file that is not there."""
    for name in ("config.json", "tokenizer.json"):
        if not (directory / name).is_file():
            raise ModelError(
                f"{directory} has no {name}; a model directory holds config.json, tokenizer.json "
                "and model.safetensors, all from the same place"
            )
    single = directory / "model.safetensors"
    index = directory / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if not index.is_file():
        raise ModelError(
            f"{directory} has no model.safetensors (other weight formats can run code when they "
            "are read and are refused); fetch the safetensors file of this model"
        )
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise ModelError(f"{index} names no weights; fetch it anew")
    shards = [directory / name for name in sorted(set(names.values()))]
    for shard in shards:
        if not shard.is_file():
            raise ModelError(f"{index} names {shard.name}, which is not there; fetch it")
    return shards


def read_json(path: Path) -> dict[str, Any]:
    """Give the object in a JSON file. Raises `ModelError`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}); fetch it anew") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds no JSON object; fetch it anew")
    return content


def fingerprint(directory: Path) -> str:
    """Name a checkpoint's content in 7 hex digits: config, and both ends of each weights file.

    Not a checksum: reading 9 GB at each start only to name the model would take too long.
    """
    digest = hashlib.sha256((directory / "config.json").read_bytes())
    for path in check_files(directory):
        with path.open("rb") as file:
            digest.update(file.read(FINGERPRINT_BYTES))
            file.seek(max(0, path.stat().st_size - FINGERPRINT_BYTES))
            digest.update(file.read())
    return digest.hexdigest()[:7]
