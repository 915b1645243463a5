"""How are USB cameras read?

Knows V4L2 through OpenCV; nothing of compressed video but the JPEG that such cameras send.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import structlog
from cv2.typing import MatLike

from pipelines.clock import Clock
from pipelines.errors import AccessDenied, DeviceBusy, EndOfStream, NotFound, SourceError
from pipelines.sources.base import Picture, SampleGrid
from pipelines.sources.url import SourceUrl, local_path

# YUYV fills a USB 2 bus at 640x480; JPEG brings 1080p through it.
_FOURCC = "MJPG"
_BUFFERS = 4  # OpenCV gives the kernel so many by default; V4L2 wants at least two to stream
_PAUSE_S = 0.5  # a reader that was away for longer finds old pictures in them
_SIZE = re.compile(r"(\d+)x(\d+)")
_SETTINGS = ("size", "fps")


class Capture(Protocol):
    """The part of `cv2.VideoCapture` that is used here."""

    def get(self, prop: int, /) -> float: ...  # noqa: D102

    def isOpened(self) -> bool: ...  # noqa: N802, D102 - OpenCV's name

    def set(self, prop: int, value: float, /) -> bool: ...  # noqa: D102

    def grab(self) -> bool: ...  # noqa: D102

    def retrieve(self) -> tuple[bool, MatLike]: ...  # noqa: D102

    def release(self) -> None: ...  # noqa: D102


def open_v4l2(device: str) -> Capture:
    """Open `device` with OpenCV, without asking any other of its backends."""
    return cv2.VideoCapture(device, cv2.CAP_V4L2)


class UsbSource:
    """One V4L2 camera, by its `/dev` path or as `usb:N`. See `FrameSource`.

    Paths under `/dev/v4l/by-id/` stay the same when cameras are plugged in another order. Pictures
    come as JPEG where the camera can, at the camera's own choice of size and rate, or what is asked
    for behind the path: `/dev/v4l/by-id/usb-Cam-index0?size=1280x720&fps=15`. A driver takes the
    nearest that it has, which is logged. Raises `SourceError` for settings that make no sense.
    """

    def __init__(
        self, url: SourceUrl, clock: Clock, capture: Callable[[str], Capture] = open_v4l2
    ) -> None:
        self._url = url
        self._clock = clock
        path, settings = local_path(url)
        number = path.removeprefix("usb:")
        self._device = f"/dev/video{number}" if number.isdigit() else path
        self._wanted = _wanted(url, settings)
        self._read_s = 0.0  # when the last picture was taken out
        self._open_capture = capture
        self._capture: Capture | None = None
        self._grid = SampleGrid()

    @property
    def url(self) -> SourceUrl:
        """See `FrameSource.url`."""
        return self._url

    def open(self) -> None:
        """See `FrameSource.open`. OpenCV says nothing of why it failed, so that is asked first."""
        if not Path(self._device).exists():
            raise NotFound(
                f"{self._device}: no such device. Is the camera plugged in? "
                "`ls -l /dev/v4l/by-id/` lists the cameras there are."
            )
        if not os.access(self._device, os.R_OK | os.W_OK):
            raise AccessDenied(
                f"{self._device}: may not be opened by this user. Add it to the video group: "
                "`sudo usermod -aG video USER`, and log in again."
            )
        capture = self._open_capture(self._device)
        if not capture.isOpened():
            capture.release()
            raise DeviceBusy(
                f"{self._device}: cannot be opened as a camera. Another program may hold it "
                f"(`fuser -v {self._device}` tells), or it is a metadata node: try the next number."
            )
        self._negotiate(capture)
        self._capture = capture
        self._grid = SampleGrid()
        self._read_s = self._clock.monotonic_s()

    def read(self, sample_interval_s: float, stop: threading.Event) -> Picture | None:
        """See `FrameSource.read`. OpenCV waits 10 s for a camera that hangs, and not longer."""
        if self._capture is None:
            raise SourceError(f"{self._url}: read before it was opened.")
        if stop.is_set():
            return None
        # Pictures wait in the kernel's buffers, and the camera stops when they are full: after a
        # pause they are all of its beginning.
        if self._clock.monotonic_s() - self._read_s > _PAUSE_S:
            for _ in range(_BUFFERS):
                self._grab(self._capture)
        self._grab(self._capture)
        self._read_s = self._clock.monotonic_s()
        if not self._grid.due(self._clock.monotonic_s(), sample_interval_s):
            return Picture(None)
        found, image = self._capture.retrieve()  # [H, W, 3] BGR
        if not found:
            return Picture(None, damaged=True)
        return Picture(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8))

    def _grab(self, capture: Capture) -> None:
        """Take the next JPEG out of the queue; `retrieve` would decode it."""
        if not capture.grab():
            raise EndOfStream(f"{self._device}: the camera sends no more. Was it unplugged?")

    def _negotiate(self, capture: Capture) -> None:
        """Ask for a format, and log where the driver chose another. JPEG first: size follows."""
        asked = {cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*_FOURCC), **self._wanted}
        for prop, value in asked.items():
            capture.set(prop, value)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, _BUFFERS)
        given = {prop: capture.get(prop) for prop in asked}
        log = structlog.get_logger(__name__).bind(device=self._device)
        if given != asked:
            log.warning("usb.format", asked=_shown(asked), given=_shown(given))

    def close(self) -> None:
        """See `FrameSource.close`."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def _wanted(url: SourceUrl, settings: Mapping[str, str]) -> dict[int, float]:
    """OpenCV's properties for what is asked for behind the path."""
    unknown = [key for key in settings if key not in _SETTINGS]
    size = _SIZE.fullmatch(settings.get("size", "1x1"))
    fps = settings.get("fps", "1")
    if unknown or size is None or not fps.isdigit() or not int(fps):
        raise SourceError(f"{url}: a USB camera takes ?size=1280x720&fps=15, or one of the two.")
    wanted: dict[int, float] = {}
    if "size" in settings:
        wanted[cv2.CAP_PROP_FRAME_WIDTH] = float(size[1])
        wanted[cv2.CAP_PROP_FRAME_HEIGHT] = float(size[2])
    if "fps" in settings:
        wanted[cv2.CAP_PROP_FPS] = float(fps)
    return wanted


def _shown(format_: Mapping[int, float]) -> str:
    """`MJPG 1280x720 15/s`, as far as it is known."""
    code = int(format_[cv2.CAP_PROP_FOURCC])
    words = ["".join(chr(code >> shift & 0xFF) for shift in (0, 8, 16, 24))]
    if cv2.CAP_PROP_FRAME_WIDTH in format_:
        width, height = (format_[p] for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        words.append(f"{width:.0f}x{height:.0f}")
    if cv2.CAP_PROP_FPS in format_:
        words.append(f"{format_[cv2.CAP_PROP_FPS]:.0f}/s")
    return " ".join(words)
