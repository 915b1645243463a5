"""Which ids mean yes and no, and what is said of a tokenizer that is not SmolVLM2's?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from pipelines.errors import ModelError
from pipelines.smolvlm2.tokens import Tokens


def test_every_casing_and_spacing_of_yes_and_no_counts(tiny_dir: Path):
    path = tiny_dir / "tokenizer.json"
    tokens = Tokens.from_file(path)
    vocab = json.loads(path.read_text())["model"]["vocab"]
    spaced = {"yes": set(), "no": set()}
    for word, number in vocab.items():
        plain = word.replace("\u0120", "").lower()  # byte-level BPE's space
        if plain in spaced:
            spaced[plain].add(number)
    assert set(tokens.yes_ids) == spaced["yes"]
    assert set(tokens.no_ids) == spaced["no"]
    assert len(tokens.yes_ids) > 1
    assert {"\u0120Yes", "\u0120No"} <= vocab.keys()


def test_words_without_control_tokens_come_back(tiny_dir: Path):
    tokens = Tokens.from_file(tiny_dir / "tokenizer.json")
    assert tokens.decode(tokens.encode(" A person!<end_of_utterance>")) == "A person!"


def test_a_damaged_tokenizer_is_said(tmp_path: Path):
    path = tmp_path / "tokenizer.json"
    path.write_text('{"model": {')
    with pytest.raises(ModelError, match=r"tokenizer\.json is no tokenizer file .* fetch it anew"):
        Tokens.from_file(path)


def test_a_foreign_tokenizer_is_refused(tmp_path: Path):
    with pytest.raises(ModelError, match="has no <image>"):
        Tokens(Tokenizer(models.BPE(vocab={"a": 0}, merges=[])))


def test_a_tokenizer_without_one_token_for_yes_is_refused(tiny_dir: Path):
    content = json.loads((tiny_dir / "tokenizer.json").read_text())
    ends = ("yes", "Yes", "YES")
    content["model"]["merges"] = [
        merge for merge in content["model"]["merges"] if not "".join(merge).endswith(ends)
    ]
    content["model"]["vocab"] = {
        (f"unused{number}" if word.endswith(ends) else word): number
        for word, number in content["model"]["vocab"].items()
    }
    with pytest.raises(ModelError, match="no single token for 'yes'"):
        Tokens(Tokenizer.from_str(json.dumps(content)))
