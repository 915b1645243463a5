"""Does a name lead to a directory, and a failure to what can be done about it?"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.errors import ModelError
from pipelines.smolvlm2.presets import BUNDLED_DIR, PRESETS, find_checkpoint

# In a process of its own, since the hub's client reads its settings on import.
FIND = """
import sys
from pipelines.errors import ModelError
from pipelines.smolvlm2.presets import find_checkpoint
try:
    print(*find_checkpoint(sys.argv[1]))
except ModelError as error:
    print(error, file=sys.stderr)
    sys.exit(3)
"""


def find_in_process(name: str, hub_home: Path, **settings: str) -> subprocess.CompletedProcess:
    environment = {
        **os.environ,
        "HF_HOME": str(hub_home),
        "HF_ENDPOINT": "http://127.0.0.1:9",  # discard: nobody listens
        **settings,
    }
    environment.pop("HF_HUB_CACHE", None)
    return subprocess.run(
        [sys.executable, "-c", FIND, name],
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def cached_snapshot(hub_home: Path, name: str) -> Path:
    preset = PRESETS[name]
    repository = hub_home / "hub" / f"models--{preset.hub_id.replace('/', '--')}"
    snapshot = repository / "snapshots" / preset.revision
    snapshot.mkdir(parents=True)
    return snapshot


def test_every_preset_is_pinned_to_a_commit():
    sizes = {"256m", "500m", "2.2b"}
    assert set(PRESETS) == sizes | {f"smolvlm-{size}" for size in sizes}
    assert len({preset.revision for preset in PRESETS.values()}) == len(PRESETS)
    for preset in PRESETS.values():
        assert re.fullmatch(r"[0-9a-f]{40}", preset.revision)


def test_a_directory_is_itself(tmp_path: Path):
    assert find_checkpoint(tmp_path) == (tmp_path, None)
    assert find_checkpoint(str(tmp_path)) == (tmp_path, None)


def test_bundled_lies_beside_the_scenes():
    assert find_checkpoint("bundled") == (BUNDLED_DIR, None)
    assert BUNDLED_DIR.parts[-3:] == ("pipelines", "scenes", "model")


def test_an_unknown_name_lists_the_known_and_the_close_one():
    with pytest.raises(ModelError) as caught:
        find_checkpoint("265m")
    assert "did you mean '256m'?" in str(caught.value)
    for name in ("bundled", *PRESETS):
        assert name in str(caught.value)


def test_a_path_that_is_not_there_is_no_misspelt_name(tmp_path: Path):
    with pytest.raises(ModelError, match=r"no model directory .*/absent"):
        find_checkpoint(str(tmp_path / "absent"))


@pytest.mark.parametrize(
    "settings",
    [
        {"HF_HUB_OFFLINE": "1"},
        pytest.param({}, marks=pytest.mark.slow),  # the hub's client retries for half a minute
    ],
)
def test_without_a_network_it_says_how_to_get_the_files(tmp_path: Path, settings):
    found = find_in_process("256m", tmp_path, **settings)
    assert found.returncode == 3, found.stderr
    preset = PRESETS["256m"]
    assert f"hf download {preset.hub_id} --revision {preset.revision}" in found.stderr
    assert "'bundled' works at once" in found.stderr


def test_what_is_in_the_local_cache_needs_no_network(tmp_path: Path):
    snapshot = cached_snapshot(tmp_path, "500m")
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (snapshot / name).write_text("{}")
    found = find_in_process("500m", tmp_path)
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == [str(snapshot), "SmolVLM2-500M-Video-Instruct@7b375e1"]


def test_a_fetch_that_was_cut_short_is_not_taken_for_a_model(tmp_path: Path):
    (cached_snapshot(tmp_path, "256m") / "config.json").write_text("{}")
    found = find_in_process("256m", tmp_path, HF_HUB_OFFLINE="1")
    assert found.returncode == 3, found.stdout
    assert "cannot be fetched" in found.stderr
