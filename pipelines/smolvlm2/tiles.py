"""How is one picture cut, so that small things in it can be read?

Knows no model: a picture becomes rows and columns of tiles, each as large as a frame, and behind
them the whole picture. The steps are those of transformers' Idefics3 image processor
(`transformers/models/idefics3/image_processing_pil_idefics3.py`): the long edge to `longest_px`,
both edges up to whole tiles, cut, and the whole picture squashed to one tile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.errors import ModelError
from pipelines.smolvlm2.files import read_json
from pipelines.smolvlm2.preprocess import check_picture, long_edge_size, resize
from pipelines.types import Image

MOST_TILES = 36  # the processor's row and column tokens go up to six by six


@dataclass(frozen=True, slots=True)
class Tiled:
    """A picture as the model takes it."""

    rows: int
    columns: int  # both 0: not cut
    images: tuple[Image, ...]  # tiles row by row, then the whole; uint8 [S, S, 3] each


@dataclass(frozen=True, slots=True)
class Tiling:
    """How pictures are cut. Sizes in pixels."""

    tile_px: int
    longest_px: int  # of the picture before it is cut

    @classmethod
    def of_checkpoint(cls, directory: Path, tile_px: int) -> Tiling | None:
        """As its preprocessor_config.json says; None where it has none, or says not to cut.

        Raises `ModelError` for one that makes no sense.
        """
        path = directory / "preprocessor_config.json"
        if not path.is_file():
            return None
        config = read_json(path)
        if not config.get("do_image_splitting", True):
            return None
        longest_px = _edge(config.get("size"))
        if _edge(config.get("max_image_size")) != tile_px or longest_px is None:
            raise ModelError(
                f"{path} cuts pictures for another model (max_image_size: "
                f"{config.get('max_image_size')}, size: {config.get('size')}; this one's frames "
                f"have {tile_px} pixels): fetch it anew"
            )
        if not tile_px <= longest_px <= 6 * tile_px:
            raise ModelError(
                f"{path} has a size of {longest_px} pixels: {MOST_TILES} tiles at most"
            )
        return cls(tile_px, longest_px)

    def cut(self, image: Image) -> Tiled:
        """Cut a uint8 RGB picture [H, W, 3] of any size. Raises `ValueError` for another array."""
        check_picture(image)
        tile = self.tile_px
        planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32))
        height_px, width_px = long_edge_size(image.shape[0], image.shape[1], self.longest_px)
        planes = resize(planes, height_px, width_px)
        planes = resize(planes, *self._whole_tiles(height_px, width_px))
        rows, columns = planes.shape[1] // tile, planes.shape[2] // tile
        if rows == columns == 1:
            return Tiled(0, 0, (_picture(planes),))
        tiles = [
            planes[:, row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
            for row in range(rows)
            for column in range(columns)
        ]
        return Tiled(rows, columns, tuple(map(_picture, [*tiles, resize(planes, tile, tile)])))

    def _whole_tiles(self, height_px: int, width_px: int) -> tuple[int, int]:
        """Both edges up to a multiple of a tile's, the long one first."""
        tile, ratio = self.tile_px, width_px / height_px
        if width_px >= height_px:
            width_px = math.ceil(width_px / tile) * tile
            height_px = math.ceil(int(width_px / ratio) / tile) * tile
        else:
            height_px = math.ceil(height_px / tile) * tile
            width_px = math.ceil(int(height_px * ratio) / tile) * tile
        return height_px, width_px


def _edge(size: Any) -> int | None:
    edge = size.get("longest_edge") if isinstance(size, dict) else None
    return edge if isinstance(edge, int) else None


def _picture(planes: Tensor) -> Image:
    """[3, S, S] grey levels to uint8 [S, S, 3]."""
    picture: Image = planes.permute(1, 2, 0).to(torch.uint8).contiguous().numpy()
    return picture
