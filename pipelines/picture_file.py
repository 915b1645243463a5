"""Is an address that of a single picture, and what is in it?

Knows files by their endings, and OpenCV; no model and no video.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np

from pipelines.errors import AccessDenied, NotFound, NoVideo
from pipelines.sources.url import SourceUrl, local_path
from pipelines.types import Image

_ENDINGS: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


def read_picture(url: SourceUrl) -> Image | None:
    """The picture, uint8 RGB [H, W, 3], upright as its EXIF says; None for any other address.

    Raises `SourceError`.
    """
    if url.scheme not in {"", "file"}:
        return None
    path = Path(local_path(url)[0])
    if path.suffix.lower() not in _ENDINGS:
        return None
    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
    except FileNotFoundError as error:
        raise NotFound(f"{url}: there is no such file") from error
    except OSError as error:
        raise AccessDenied(f"{url} cannot be read: {error.strerror or error}") from error
    try:
        found = cv2.imdecode(content, cv2.IMREAD_COLOR)
    except cv2.error:  # of an empty file, and of one that claims to be larger than OpenCV reads
        found = None
    if found is None:
        raise NoVideo(f"{url} is no picture that can be read; expected a JPEG, PNG or WebP")
    return np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB), dtype=np.uint8)
