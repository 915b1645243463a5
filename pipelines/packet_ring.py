"""Where does what has just happened wait, in case somebody wants to see it?

Knows one camera's compressed pictures; not what is done with them (`pipelines.clip`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2

from pipelines.sources.base import Picture
from pipelines.sources.coded import Coded, StreamLayout
from pipelines.types import Image

RING_BYTES: Final = 64 * 2**20
JPEG_INTERVAL_S: Final = 0.2  # between pictures that are compressed here
_JPEG_QUALITY: Final = 90
_ENTRY_BYTES: Final = 400  # of Python objects around one picture, measured with tracemalloc
_MOMENTS: Final = 256  # sampled pictures whose time stamps are known


@dataclass(frozen=True, slots=True)
class Kept:
    """One picture of the ring: the camera's packet, or a JPEG (`coded` is None)."""

    captured_s: float  # monotonic, as the frame's that was sampled from it
    data: bytes
    is_key: bool
    coded: Coded | None


class PacketRing:
    """The last `keep_s` seconds of one camera, compressed, from a keyframe on. Thread-safe.

    The camera's own packets are kept as they came. Where there are none that a browser plays (USB
    cameras, scenes, MJPEG), or none that may be kept (cameras with masks), pictures are kept as
    JPEG, at most one in `JPEG_INTERVAL_S`.

    Memory: at most `max_bytes` + the largest picture, each picture counted with 400 bytes for what
    is around it. When full, the oldest group of pictures goes, counted in `dropped`.
    """

    def __init__(self, keep_s: float, *, max_bytes: int = RING_BYTES) -> None:
        self._keep_s = keep_s
        self._max_bytes = max_bytes
        self._wants_images = False
        self._has_packets = False
        self._lock = threading.Lock()
        self._kept: deque[Kept] = deque()
        self._moments: deque[tuple[float, float | None]] = deque(maxlen=_MOMENTS)
        self._bytes = 0
        self.dropped = 0  # pictures that went before their time, for want of room

    @property
    def wants_images(self) -> bool:
        """Whether it needs decoded pictures, one in `JPEG_INTERVAL_S`."""
        return self._wants_images

    @property
    def num_bytes(self) -> int:
        """What it holds."""
        with self._lock:
            return self._bytes

    def put(self, picture: Picture, image: Image | None, captured_s: float) -> None:
        """Take what a source read: the packet, or else `image` ([H, W, 3] RGB, masked already)."""
        coded = picture.coded
        if coded is not None:
            self._has_packets = True
            self._append(Kept(captured_s, coded.data, coded.is_key, coded))
        elif image is not None and not self._has_packets:
            self._wants_images = True
            self._append(Kept(captured_s, encode_jpeg(image), is_key=True, coded=None))

    def mark(self, captured_s: float, pts_s: float | None) -> None:
        """Note that the frame of `captured_s` was sampled from the picture of `pts_s`."""
        with self._lock:
            self._moments.append((captured_s, pts_s))

    def pts_of(self, captured_s: float) -> float | None:
        """The time stamp of the picture of which the frame of `captured_s` was sampled."""
        with self._lock:
            return next((pts_s for at_s, pts_s in self._moments if at_s == captured_s), None)

    def cut(self, start_s: float, end_s: float) -> Sequence[Kept]:
        """What came from `start_s` to `end_s`, from the last keyframe at or before `start_s` on.

        Of one connection: the one at `end_s`. From the first keyframe after `start_s`, where the
        ring does not reach back so far; empty, where it holds nothing of that time.
        """
        with self._lock:
            kept = [one for one in self._kept if one.captured_s <= end_s]
        if not kept:
            return ()
        begin = len(kept)
        for index in range(len(kept) - 1, -1, -1):
            if _layout(kept[index]) is not _layout(kept[-1]):
                break
            if kept[index].is_key:
                begin = index
                if kept[index].captured_s <= start_s:
                    break
        return kept[begin:] if kept[-1].captured_s >= start_s else ()

    def newest_s(self) -> float | None:
        """When the newest picture came."""
        with self._lock:
            return self._kept[-1].captured_s if self._kept else None

    def _append(self, kept: Kept) -> None:
        with self._lock:
            if not self._kept and not kept.is_key:
                return
            self._kept.append(kept)
            self._bytes += len(kept.data) + _ENTRY_BYTES
            while self._bytes > self._max_bytes:
                self.dropped += self._drop_group()
            while self._second_key_s() <= kept.captured_s - self._keep_s:
                self._drop_group()

    def _second_key_s(self) -> float:
        """When the second group begins: from then on the first one is not needed."""
        keys = (one.captured_s for one in self._kept if one.is_key)
        next(keys, None)
        return next(keys, float("inf"))

    def _drop_group(self) -> int:
        """Drop the oldest keyframe and all up to the next; how many pictures those were."""
        before = len(self._kept)
        while self._kept:
            self._bytes -= len(self._kept.popleft().data) + _ENTRY_BYTES
            if self._kept and self._kept[0].is_key:
                break
        return before - len(self._kept)


def _layout(kept: Kept) -> StreamLayout | None:
    return kept.coded.layout if kept.coded is not None else None


def encode_jpeg(image: Image) -> bytes:
    """`image` ([H, W, 3] uint8 RGB) as a JPEG."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
