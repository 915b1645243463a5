"""Are USB cameras opened, read, lost and found again as they should be?"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from structlog.testing import capture_logs

from pipelines.errors import AccessDenied, DeviceBusy, EndOfStream, NotFound, SourceError
from pipelines.ring import FrameRing
from pipelines.sources import SourceUrl, open_source
from pipelines.sources.usb import UsbSource
from tests.cameras import worker_of
from tests.fakes import FakeClock


class FakeCapture:
    """A V4L2 camera in OpenCV's clothes: blue pictures, the first byte counting up."""

    def __init__(self, pictures: int = 5, *, opens: bool = True) -> None:
        self.left = pictures
        self.opens = opens
        self.decoded = 0
        self.released = False
        self.settings: dict[int, float] = {}
        self.limits: dict[int, float] = {}  # what the camera has at most

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self.opens

    def set(self, prop: int, value: float) -> bool:
        self.settings[prop] = min(value, self.limits.get(prop, value))
        return True

    def get(self, prop: int) -> float:
        return self.settings.get(prop, 0.0)

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def retrieve(self) -> tuple[bool, np.ndarray]:
        self.decoded += 1
        return True, np.full((4, 6, 3), (255, 0, 0), np.uint8)

    def release(self) -> None:
        self.released = True


def usb_source(device: Path, capture: FakeCapture, clock: FakeClock) -> UsbSource:
    return UsbSource(SourceUrl(str(device)), clock, lambda _: capture)


def test_a_usb_camera_decodes_only_what_is_due(tmp_path: Path) -> None:
    device = tmp_path / "video0"
    device.touch()
    clock, capture = FakeClock(), FakeCapture(pictures=8)
    source = usb_source(device, capture, clock)
    stop = threading.Event()
    source.open()
    assert capture.settings[cv2.CAP_PROP_FOURCC] == cv2.VideoWriter.fourcc(*"MJPG")
    pictures = []
    for _ in range(8):
        pictures.append(source.read(1.0, stop))
        clock.advance(0.25)
    images = [picture.image for picture in pictures if picture and picture.image is not None]
    assert capture.decoded == len(images) == 2
    assert tuple(images[0][0, 0]) == (0, 0, 255)  # RGB
    with pytest.raises(EndOfStream, match="unplugged"):
        source.read(1.0, stop)
    source.close()
    assert capture.released


def test_usb_cameras_that_do_not_open_say_what_to_do(tmp_path: Path) -> None:
    device = tmp_path / "video0"
    missing = usb_source(device, FakeCapture(), FakeClock())
    with pytest.raises(NotFound, match="by-id"):
        missing.open()
    device.touch()
    capture = FakeCapture(opens=False)
    with pytest.raises(DeviceBusy, match="fuser"):
        usb_source(device, capture, FakeClock()).open()
    assert capture.released


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_a_usb_camera_without_permission_names_the_group(tmp_path: Path) -> None:
    device = tmp_path / "video0"
    device.touch()
    device.chmod(stat.S_IXUSR)
    with pytest.raises(AccessDenied, match="video group"):
        usb_source(device, FakeCapture(), FakeClock()).open()


def test_size_and_rate_are_asked_for_after_the_format(tmp_path: Path) -> None:
    device = tmp_path / "video0"
    device.touch()
    capture = FakeCapture()
    source = UsbSource(SourceUrl(f"{device}?size=1280x720&fps=15"), FakeClock(), lambda _: capture)
    with capture_logs() as logs:
        source.open()
    wanted = {cv2.CAP_PROP_FRAME_WIDTH: 1280, cv2.CAP_PROP_FRAME_HEIGHT: 720, cv2.CAP_PROP_FPS: 15}
    assert capture.settings.items() >= wanted.items()
    assert next(iter(capture.settings)) == cv2.CAP_PROP_FOURCC  # it changes size and rate
    assert logs == []


def test_what_the_driver_chose_instead_is_logged(tmp_path: Path) -> None:
    device = tmp_path / "video0"
    device.touch()
    capture = FakeCapture()
    capture.limits = {cv2.CAP_PROP_FRAME_WIDTH: 640, cv2.CAP_PROP_FRAME_HEIGHT: 480}
    source = UsbSource(SourceUrl(f"{device}?size=1280x720"), FakeClock(), lambda _: capture)
    with capture_logs() as logs:
        source.open()
    assert (logs[0]["asked"], logs[0]["given"]) == ("MJPG 1280x720", "MJPG 640x480")


@pytest.mark.parametrize("settings", ["size=big", "fps=0", "fps=x", "speed=9"])
def test_settings_that_make_no_sense_are_refused(settings: str) -> None:
    with pytest.raises(SourceError, match="size=1280x720"):
        open_source(SourceUrl(f"/dev/video0?{settings}"), FakeClock())


def test_after_a_pause_the_kernels_buffers_are_emptied(tmp_path: Path) -> None:
    device = tmp_path / "video0"
    device.touch()
    clock, capture = FakeClock(), FakeCapture(pictures=100)
    source = usb_source(device, capture, clock)
    source.open()
    stop = threading.Event()
    source.read(1.0, stop)
    clock.advance(0.1)
    source.read(1.0, stop)
    assert capture.left == 98
    clock.advance(3.0)
    source.read(1.0, stop)
    assert capture.left == 98 - 4 - 1


def test_17_a_camera_that_is_unplugged_is_read_again_when_it_is_plugged_in(tmp_path: Path) -> None:
    device = tmp_path / "video0"
    device.touch()
    stop, ring = threading.Event(), FrameRing(64)
    seen: list[str | None] = []

    class Clock(FakeClock):
        """Between two attempts the plug is pulled, stays out for two, and is put in again."""

        def wait(self, stop: threading.Event, timeout_s: float) -> bool:
            seen.append(worker.health().cause)
            steps: list[Callable[[], object]] = [
                device.unlink,
                lambda: None,
                device.touch,
                stop.set,
            ]
            steps[len(self.waits)]()
            return super().wait(stop, timeout_s)

    captures = [FakeCapture(pictures=5), FakeCapture(pictures=7)]
    opened = iter(captures)
    clock = Clock()
    source = UsbSource(SourceUrl(str(device)), clock, lambda _: next(opened))
    worker = worker_of(source, clock, ring, interval_s=1e-6)
    worker.run(stop)
    assert seen == ["end_of_stream", "not_found", "not_found", "end_of_stream"]
    assert [stamp.epoch for stamp in ring.stamps()] == [0] * 5 + [1] * 7
    assert all(capture.released for capture in captures)
