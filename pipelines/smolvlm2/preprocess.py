"""How do pixels become the encoder's input?

Knows no model: uint8 pictures in, uint8 tensors out. The steps are those of the model's own video
path (`transformers/models/smolvlm/video_processing_smolvlm.py`): the long edge to the frame size,
then squashed to a square, both with Lanczos filtering; never split into tiles. Its last step, to
[-1, 1], is each engine's first: a quarter of the bytes travel to a GPU.

Pillow's filter is written as two small matrix products, one an axis: neither torchvision nor
Pillow is needed at run time, and OpenCV's Lanczos neither widens its filter when it shrinks a
picture nor has the same number of lobes. Frames that already have the right long edge, as those
in the ring do, cost one product.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from pipelines.types import Image

LOBES = 3  # of Pillow's LANCZOS filter
MAX_EDGE_PX = 4096  # the processor's upper bound


def long_edge_size(height_px: int, width_px: int, edge_px: int) -> tuple[int, int]:
    """(height, width) of a picture whose long edge becomes `edge_px`, the short one even."""
    edge_px = min(edge_px, MAX_EDGE_PX)
    aspect_ratio = width_px / height_px
    if width_px >= height_px:
        short_px = int(edge_px / aspect_ratio)
        return max(short_px + short_px % 2, 1), edge_px
    short_px = int(edge_px * aspect_ratio)
    return edge_px, max(short_px + short_px % 2, 1)


def preprocess(images: Sequence[Image], frame_size_px: int) -> Tensor:
    """Pictures of any sizes to one batch.

    `images`: uint8 RGB `[H, W, 3]` each. Returns uint8 `[N, 3, frame_size_px, frame_size_px]`.
    Raises `ValueError` for another shape or type.
    """
    shape = (len(images), 3, frame_size_px, frame_size_px)
    pixels = torch.empty(shape, dtype=torch.uint8)  # [N, 3, S, S]
    for i, image in enumerate(images):
        check_picture(image)
        # Planes in one piece: on pixel-interleaved strides the product takes 60 times as long.
        planes = np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)
        pixels[i] = make_square(torch.from_numpy(planes), frame_size_px)
    return pixels


def check_picture(image: Image) -> None:
    """Raise `ValueError` for what is no uint8 RGB picture."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"a frame must be uint8 [H, W, 3], not {image.dtype} {image.shape}")


def make_square(pictures: Tensor, frame_size_px: int) -> Tensor:
    """Pictures of one size to the model's: float32 grey levels [..., 3, H, W] to [..., 3, S, S].

    In two steps, as the model's video path goes. On the device where the pictures are.
    """
    height, width = long_edge_size(pictures.shape[-2], pictures.shape[-1], frame_size_px)
    pictures = resize(pictures, height, width)
    return resize(pictures, frame_size_px, frame_size_px)


def resize(pictures: Tensor, height_px: int, width_px: int) -> Tensor:
    """[..., H, W] grey levels to [..., height_px, width_px], rounded after each axis as Pillow."""
    size, device = pictures.shape[-2:], pictures.device
    if size[1] != width_px:
        pictures = pictures @ _lanczos_weights(size[1], width_px, device).T
        pictures = pictures.round_().clamp_(0, 255)
    if size[0] != height_px:
        pictures = _lanczos_weights(size[0], height_px, device) @ pictures
        pictures = pictures.round_().clamp_(0, 255)
    return pictures


@lru_cache(maxsize=32)  # a few sizes a camera; 4 MB at most each (1024 x 1024)
def _lanczos_weights(size_in: int, size_out: int, device: torch.device) -> Tensor:
    """[size_out, size_in]: row i holds what each input pixel adds to output pixel i.

    When shrinking, the filter is widened by the ratio, which is what keeps it free of aliases.
    """
    ratio = size_in / size_out
    widening = max(ratio, 1.0)
    centres = (np.arange(size_out) + 0.5) * ratio  # [size_out]
    distances = (np.arange(size_in)[None, :] + 0.5 - centres[:, None]) / widening
    weights = np.sinc(distances) * np.sinc(distances / LOBES)
    weights[np.abs(distances) >= LOBES] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    return torch.from_numpy(weights.astype(np.float32)).to(device)
