"""Are converted files believed only when they are whole?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.smolvlm2.openvino_files import Recipe, Sizes, publish, read_sizes

SIZES = Sizes(frame_size_px=64, tokens_per_frame=16, max_tokens=512, image_id=5)
RECIPE = Recipe("abc1234", "f32", "none", "v1")


def made(cache: Path, recipe: Recipe = RECIPE, text: bytes = b"graph" * 1000) -> Path:
    folder = recipe.folder(cache)
    work = cache / "openvino" / ".work"
    work.mkdir(parents=True)
    (work / "encoder.xml").write_bytes(b"<net/>")
    (work / "encoder.bin").write_bytes(text)
    publish(work, folder, SIZES)
    assert not work.exists()
    return folder


def test_what_was_published_is_believed(tmp_path: Path):
    assert read_sizes(RECIPE.folder(tmp_path)) is None
    assert read_sizes(made(tmp_path)) == SIZES


@pytest.mark.parametrize("name", ["encoder.bin", "encoder.xml", "manifest.json"])
@pytest.mark.parametrize("harm", ["cut", "changed", "gone", "empty"])
def test_a_file_that_is_not_whole_is_not_believed(tmp_path: Path, name: str, harm: str):
    folder = made(tmp_path)
    path = folder / name
    content = path.read_bytes()
    if harm == "gone":
        path.unlink()
    elif harm == "changed":
        # In the manifest a digit of a checksum, elsewhere any byte.
        place = content.index(b'": "') + 6 if name == "manifest.json" else len(content) // 2
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    else:
        path.write_bytes(content[: len(content) // 2] if harm == "cut" else b"")
    assert read_sizes(folder) is None


def test_a_damaged_folder_is_replaced(tmp_path: Path):
    folder = made(tmp_path)
    (folder / "encoder.bin").write_bytes(b"")
    (folder / "stray").write_bytes(b"left by a crash")
    assert made(tmp_path) == folder
    assert read_sizes(folder) == SIZES
    assert not (folder / "stray").exists()


def test_each_recipe_has_a_folder_of_its_own(tmp_path: Path):
    others = [
        replace(RECIPE, fingerprint="def5678"),
        replace(RECIPE, precision="int8"),
        replace(RECIPE, calibration="0a1b2c3d"),
        replace(RECIPE, version="v2"),
    ]
    folders = {recipe.folder(tmp_path) for recipe in [RECIPE, *others]}
    assert len(folders) == 5


def test_other_versions_are_deleted_and_nothing_else(tmp_path: Path):
    old, new = replace(RECIPE, version="v0"), RECIPE
    others = [replace(RECIPE, precision="int8"), replace(RECIPE, fingerprint="def5678")]
    for recipe in [old, new, *others]:
        made(tmp_path, recipe)
    new.prune(tmp_path)
    assert not old.folder(tmp_path).exists()
    assert all(read_sizes(recipe.folder(tmp_path)) == SIZES for recipe in [new, *others])
