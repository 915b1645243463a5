"""Which pictures does the configuration name, and can they be shown to the model?

Knows files and their pixels; not what they are for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from pydantic import ValidationInfo

from daemon.config_checks import Context
from daemon.config_errors import Refused
from pipelines.capture import scale_to_edge
from pipelines.types import Image

_SMALLEST_PX: Final = 32
_LONGEST_PX: Final = 12_000
_MOST_BYTES: Final = 20_000_000
_LONGEST_ASPECT: Final = 4.0  # the model sees every picture squashed to a square
_KEPT_EDGE_PX: Final = 1024  # twice the model's own edge


@dataclass(frozen=True, slots=True)
class ReferencePicture:
    """A picture by the path that the configuration gives it; `pixels`: uint8 RGB [H, W, 3]."""

    path: str
    pixels: Image = field(repr=False, compare=False)

    def __str__(self) -> str:
        return self.path


def picture(value: object, info: ValidationInfo) -> ReferencePicture:
    """Read the picture at a path that begins where the configuration lies."""
    if not isinstance(value, str) or not value:
        raise Refused("expected the path of a picture, such as closed.jpg")
    folder = info.context.folder if isinstance(info.context, Context) else Path()
    path = folder / value
    try:
        content = _read(path)
    except OSError as error:
        raise Refused(
            f"{path} cannot be read ({error.strerror or error}); a relative path begins at the "
            "configuration file"
        ) from error
    return ReferencePicture(value, _pixels(path, content))


def _read(path: Path) -> bytes:
    if path.stat().st_size > _MOST_BYTES:
        raise Refused(f"{path} has more than {_MOST_BYTES // 1_000_000} MB; make it smaller")
    return path.read_bytes()


def _pixels(path: Path, content: bytes) -> Image:
    # A photograph is turned upright here by what it says of itself (EXIF).
    try:
        found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # of an empty file, and of one that claims to be larger than OpenCV reads
        found = None
    if found is None:
        raise Refused(f"{path} is no picture that can be read; expected a JPEG, PNG or WebP")
    height_px, width_px = found.shape[:2]
    short_px, long_px = sorted((height_px, width_px))
    if short_px < _SMALLEST_PX or long_px > _LONGEST_PX:
        raise Refused(
            f"{path} has {width_px}x{height_px} pixels; expected {_SMALLEST_PX} to {_LONGEST_PX} "
            "an edge"
        )
    if long_px > _LONGEST_ASPECT * short_px:
        raise Refused(
            f"{path} has {width_px}x{height_px} pixels; cut it to what the camera sees: the model "
            "squashes pictures to squares"
        )
    rgb = np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    return scale_to_edge(rgb, min(long_px, _KEPT_EDGE_PX))
