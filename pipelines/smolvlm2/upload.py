"""How do pictures get onto the GPU?

Knows no model but the size of its frames. Bytes travel as the camera gave them, from pinned memory:
a quarter of what floats would take; resizing happens where they arrive.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pipelines.smolvlm2.preprocess import check_picture, make_square
from pipelines.types import Image


class FrameUpload:
    """Fills the encoder's input. For one thread.

    There are two places in pinned memory: while one is on its way, the next pictures are put into
    the other, and the GPU meanwhile works on those before.
    """

    def __init__(self, device: torch.device, frame_size_px: int) -> None:
        self._device = device
        self._frame_size_px = frame_size_px
        self._places = [_Place(device), _Place(device)]

    def fill(self, levels: Tensor, images: Sequence[Image]) -> None:
        """Pictures of any sizes into the first rows of uint8 [N, 3, S, S].

        `images`: uint8 RGB [H, W, 3]. Pictures of one size go together. Raises `ValueError`.
        """
        rows: dict[tuple[int, ...], list[int]] = {}
        for row, image in enumerate(images):
            check_picture(image)
            rows.setdefault(image.shape, []).append(row)
        for some in rows.values():
            self._places.reverse()
            pictures = self._places[0].send([images[row] for row in some])  # [n, H, W, 3]
            planes = pictures.permute(0, 3, 1, 2).float().contiguous()
            square = make_square(planes, self._frame_size_px).to(torch.uint8)
            if some[-1] - some[0] == len(some) - 1:  # an index would wait for the work before
                levels[some[0] : some[-1] + 1] = square
            else:
                levels[some] = square


class _Place:
    """A piece of memory from which the GPU fetches by itself."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._on_gpu = device.type == "cuda"
        self._bytes = torch.empty(0, dtype=torch.uint8)
        self._sent = torch.cuda.Event() if self._on_gpu else None  # type: ignore[no-untyped-call]

    def send(self, images: Sequence[Image]) -> Tensor:
        """Copy pictures of one size, [n, H, W, 3], to the device."""
        if self._sent is not None:
            self._sent.synchronize()  # what lies here may still be on its way
        num_bytes = len(images) * images[0].nbytes
        if num_bytes > len(self._bytes):
            self._bytes = torch.empty(num_bytes, dtype=torch.uint8, pin_memory=self._on_gpu)
        staged = self._bytes[:num_bytes].view(len(images), *images[0].shape)
        for target, image in zip(staged.numpy(), images, strict=True):
            np.copyto(target, image)
        pictures = staged.to(self._device, non_blocking=True)
        if self._sent is not None:
            self._sent.record()
        return pictures
