"""Is a missing picture noticed, and only that?"""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.sources.frame_num import LOOK_BYTES, FrameNumbers
from tests.h264 import AccessUnit, load_clip, write_numbered_clip

FOOTAGE = Path(__file__).parents[2].parent / "shared" / "footage"


def packet(unit: AccessUnit) -> bytes:
    return b"".join(b"\0\0\0\1" + nal for nal in unit.nals)[:LOOK_BYTES]


def missing(path: Path, lost: set[int]) -> list[int]:
    """Before which pictures one is found missing if those of `lost` never arrive."""
    numbers = FrameNumbers()
    units = enumerate(load_clip(path).units)
    return [i for i, unit in units if i not in lost and numbers.follow(packet(unit))]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_numbered_clip(tmp_path_factory.mktemp("clip") / "numbers.mp4")


@pytest.mark.parametrize(
    ("lost", "found"),
    [
        (set(), []),
        ({6}, [7]),
        ({7, 8}, [9]),
        ({8, 9}, []),  # a keyframe is next, which needs none of them
        ({10}, [11]),  # the keyframe itself
    ],
)
def test_the_picture_after_a_lost_one_is_found(
    clip: Path, lost: set[int], found: list[int]
) -> None:
    assert missing(clip, lost) == found


def test_what_is_no_annex_b_is_left_alone() -> None:
    numbers = FrameNumbers(b"\x01\x64\x00\x1f")  # as MP4 files have it
    assert not numbers.follow(b"\x00\x00\x02\x10" + bytes(40))
    assert not numbers.follow(b"")
    assert not numbers.follow(b"\x00\x00\x01")
    assert not FrameNumbers(b"\x00\x00\x01\x67").follow(b"\x00\x00\x01\x41")


@pytest.mark.parametrize("name", ["car-detection.mp4", "one-by-one-person-detection.mp4"])
def test_nothing_is_missing_from_real_footage(name: str) -> None:
    if not (FOOTAGE / name).exists():
        pytest.skip("no ../shared/footage beside the project")
    assert missing(FOOTAGE / name, set()) == []
