"""Is whatever can be wrong with a model directory said, with what to do about it?"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.errors import ModelError
from pipelines.smolvlm2.checkpoint import load_checkpoint
from pipelines.smolvlm2.files import fingerprint
from tests.checkpoints import write_tiny_checkpoint

CPU = torch.device("cpu")


@pytest.fixture
def model_copy(tiny_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_dir, tmp_path / "copy"))


def edit_config(directory: Path, **changes: object) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(directory: Path, edit: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(directory / "model.safetensors")
    edit(weights)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def failure(directory: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_checkpoint(directory, torch.float32, CPU)
    assert str(directory) in str(caught.value)  # where
    return str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_named(model_copy: Path, name):
    (model_copy / name).unlink()
    assert f"has no {name}" in failure(model_copy)


def test_pickled_weights_are_refused(model_copy: Path):
    (model_copy / "model.safetensors").rename(model_copy / "pytorch_model.bin")
    assert "can run code" in failure(model_copy)


@pytest.mark.parametrize("kept", [0, 5, 0.5, 0.999])
def test_truncated_weights_are_said(model_copy: Path, kept):
    path = model_copy / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    message = failure(model_copy)
    assert "damaged or was not fetched to its end" in message
    assert "fetch it anew" in message


def test_weights_that_are_something_else_are_said(model_copy: Path):
    (model_copy / "model.safetensors").write_bytes(b"<!DOCTYPE html>" * 1000)
    assert "damaged" in failure(model_copy)


@pytest.mark.parametrize("content", ["{", "[]", "\x00"])
def test_a_damaged_config_is_said(model_copy: Path, content):
    (model_copy / "config.json").write_text(content)
    assert "fetch it anew" in failure(model_copy)


def test_another_architecture_is_named(model_copy: Path):
    edit_config(model_copy, model_type="qwen2_vl")
    assert "for a 'qwen2_vl' model" in failure(model_copy)


def test_missing_tensors_are_named(model_copy: Path):
    name = "model.text_model.layers.1.mlp.up_proj.weight"
    edit_weights(model_copy, lambda weights: weights.pop(name))
    message = failure(model_copy)
    assert "lack 1 tensors" in message
    assert name in message


def test_tensors_of_another_size_are_said(model_copy: Path):
    def halve(weights: dict[str, torch.Tensor]) -> None:
        weights["lm_head.weight"] = weights["lm_head.weight"][:256].clone()

    edit_weights(model_copy, halve)
    assert "do not fit each other" in failure(model_copy)


def test_a_foreign_tokenizer_is_said(model_copy: Path):
    edit_config(model_copy, image_token_id=17)
    assert "from different models" in failure(model_copy)


def test_shards_are_read_and_a_missing_one_is_named(model_copy: Path):
    weights = load_file(model_copy / "model.safetensors")
    (model_copy / "model.safetensors").unlink()
    places = {}
    for number, names in enumerate((list(weights)[::2], list(weights)[1::2])):
        file = f"model-{number}.safetensors"
        part = {name: weights[name] for name in names}
        save_file(part, model_copy / file, metadata={"format": "pt"})
        places |= dict.fromkeys(names, file)
    index = model_copy / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))

    module, _ = load_checkpoint(model_copy, torch.float32, CPU)
    assert torch.equal(module.lm_head.weight, weights["lm_head.weight"])
    (model_copy / "model-1.safetensors").unlink()
    assert "names model-1.safetensors, which is not there" in failure(model_copy)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_come_in_the_asked_format(tiny_dir: Path, dtype):
    module, _ = load_checkpoint(tiny_dir, dtype, CPU)
    assert {p.dtype for p in module.parameters()} == {dtype}
    assert not module.training


def test_the_keys_of_the_published_configurations_are_understood(tiny_dir: Path):
    # Written by transformers 4.47: the base of the rotary positions has moved since, and the
    # vision sizes that are left out stand for SigLIP's.
    module, _ = load_checkpoint(tiny_dir, torch.float32, CPU)
    step = module.model.text_model.rotary_emb.inv_freq[1]
    assert step.item() == pytest.approx(100000 ** (-2 / 16))
    assert module.config.vision_config.hidden_act == "gelu_pytorch_tanh"
    assert module.lm_head.weight is not module.model.text_model.embed_tokens.weight


def test_the_fingerprint_follows_the_weights(tiny_dir: Path, tmp_path: Path):
    same = write_tiny_checkpoint(tmp_path / "same", seed=0)
    other = write_tiny_checkpoint(tmp_path / "other", seed=1)
    assert fingerprint(same) == fingerprint(tiny_dir) != fingerprint(other)
