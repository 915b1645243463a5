"""Are pixels prepared as transformers' own image processor prepares them?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from pipelines.smolvlm2.preprocess import long_edge_size, preprocess

SIZES = [(72, 128), (128, 72), (720, 1280), (1080, 1920), (333, 77), (96, 96), (30, 40), (512, 512)]


def pictures(height: int, width: int) -> dict[str, np.ndarray]:
    rows, columns = np.mgrid[:height, :width]
    waves = (np.sin(rows / 5) + np.cos(columns / 9) + 2) * 63
    return {
        "noise": np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8),
        "waves": np.stack([waves, waves[::-1], 255 - waves], axis=-1).astype(np.uint8),
        "edges": np.repeat((columns // 7 % 2 * 255)[..., None], 3, axis=-1).astype(np.uint8),
    }


@pytest.mark.parametrize("frame_size_px", [64, 384, 512])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_pixels_are_those_of_the_pil_processor(height, width, frame_size_px):
    processor = SmolVLMImageProcessorPil(
        size={"longest_edge": frame_size_px},
        max_image_size={"longest_edge": frame_size_px},
        do_image_splitting=False,
    )
    for name, picture in pictures(height, width).items():
        expected = processor([picture], return_tensors="pt")["pixel_values"][0, 0]
        prepared = preprocess([picture], frame_size_px) / 127.5 - 1.0  # as an engine scales it
        assert prepared.shape == (1, 3, frame_size_px, frame_size_px)
        error = (prepared[0] - expected).abs().mean().item()
        assert error < 2 / 255, f"{name}: {error}"


def test_each_picture_is_prepared_alone():
    small, large = pictures(48, 64)["noise"], pictures(90, 160)["waves"]
    both = preprocess([small, large], 64)
    assert torch.equal(both[0], preprocess([small], 64)[0])
    assert torch.equal(both[1], preprocess([large], 64)[0])


def test_black_and_white_are_the_ends_of_the_range():
    black = np.zeros((36, 64, 3), np.uint8)
    assert preprocess([black], 64).unique().tolist() == [0]
    assert preprocess([black + 255], 64).unique().tolist() == [255]


@pytest.mark.parametrize(
    ("size", "expected"),
    [((720, 1280), (288, 512)), ((1280, 720), (512, 288)), ((479, 640), (384, 512))],
)
def test_long_edge_size_keeps_the_aspect_and_an_even_short_edge(size, expected):
    assert long_edge_size(*size, edge_px=512) == expected


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_rgb_picture_is_refused(picture):
    with pytest.raises(ValueError, match="uint8"):
        preprocess([picture], 64)
