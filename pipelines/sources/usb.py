"""How are USB cameras read?

Knows V4L2 through OpenCV; nothing of compressed video but the JPEG that such cameras send.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from cv2.typing import MatLike

from pipelines.clock import Clock
from pipelines.errors import AccessDenied, DeviceBusy, EndOfStream, NotFound, SourceError
from pipelines.sources.base import Picture, SampleGrid
from pipelines.sources.url import SourceUrl

# YUYV fills a USB 2 bus at 640x480; JPEG brings 1080p through it.
_FOURCC = "MJPG"
_KERNEL_BUFFERS = 2  # fewer pictures waiting means newer pictures


class Capture(Protocol):
    """The part of `cv2.VideoCapture` that is used here."""

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

    Paths under `/dev/v4l/by-id/` stay the same when cameras are plugged in another order.
    """

    def __init__(
        self, url: SourceUrl, clock: Clock, capture: Callable[[str], Capture] = open_v4l2
    ) -> None:
        self._url = url
        self._clock = clock
        number = url.secret.removeprefix("usb:")
        self._device = f"/dev/video{number}" if number.isdigit() else url.secret
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
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*_FOURCC))
        capture.set(cv2.CAP_PROP_BUFFERSIZE, _KERNEL_BUFFERS)
        self._capture = capture
        self._grid = SampleGrid()

    def read(self, sample_interval_s: float, stop: threading.Event) -> Picture | None:
        """See `FrameSource.read`. OpenCV waits 10 s for a camera that hangs, and not longer."""
        if self._capture is None:
            raise SourceError(f"{self._url}: read before it was opened.")
        if stop.is_set():
            return None
        # `grab` takes the JPEG out of the queue, `retrieve` decodes it.
        if not self._capture.grab():
            raise EndOfStream(f"{self._device}: the camera sends no more. Was it unplugged?")
        if not self._grid.due(self._clock.monotonic_s(), sample_interval_s):
            return Picture(None)
        found, image = self._capture.retrieve()  # [H, W, 3] BGR
        if not found:
            return Picture(None, damaged=True)
        return Picture(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8))

    def close(self) -> None:
        """See `FrameSource.close`."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None
