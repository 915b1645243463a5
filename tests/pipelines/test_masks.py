"""Does no masked pixel ever leave?"""

from __future__ import annotations

import re
import threading
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipelines.capture import CaptureWorker
from pipelines.clip import read_snapshot, write_clip
from pipelines.mask import Mask
from pipelines.packet_ring import PacketRing
from pipelines.polygons import Polygon, problem_of
from pipelines.ring import FrameRing
from pipelines.sources import Picture, SourceUrl, open_source
from pipelines.sources.coded import Coded
from tests.fakes import FakeClock, FakeSource
from tests.h264 import write_numbered_clip

SHARE = st.floats(0.0, 1.0).map(lambda value: round(value, 3))
POLYGONS = st.lists(
    st.lists(st.tuples(SHARE, SHARE), min_size=3, max_size=5)
    .map(tuple)
    .filter(lambda polygon: problem_of(polygon) is None),
    min_size=1,
    max_size=3,
)


def inside(polygon: Polygon, width_px: int, height_px: int) -> np.ndarray:
    """[H, W]: whose middle lies within the polygon, by counting edges to the right of it."""
    x, y = np.meshgrid(
        (np.arange(width_px) + 0.5) / width_px, (np.arange(height_px) + 0.5) / height_px
    )
    odd = np.zeros((height_px, width_px), bool)
    for (ax, ay), (bx, by) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        if ay != by:
            at_x = ax + (y - ay) * (bx - ax) / (by - ay)
            odd ^= ((ay <= y) != (by <= y)) & (x < at_x)
    return odd


@settings(deadline=None, max_examples=60)
@given(polygons=POLYGONS, width=st.integers(16, 200), height=st.integers(16, 200))
def test_no_masked_pixel_leaves(polygons: list[Polygon], width: int, height: int) -> None:
    secret = np.zeros((height, width, 3), np.uint8)  # white is what must not be seen, and all else
    for polygon in polygons:  # is black, so that any light that comes out has leaked
        secret[inside(polygon, width, height)] = 255
    assume(secret.any())
    before = secret.copy()
    packet = Coded(b"unmasked", 0.0, 0.0, True, None)  # type: ignore[arg-type]
    stop = threading.Event()
    clock = FakeClock()
    pictures = [Picture(secret, 0.2 * n, coded=packet) for n in range(4)]
    ring, frames = PacketRing(keep_s=60.0), FrameRing(8)
    CaptureWorker(
        "door", FakeSource([*pictures, stop], clock, frame_s=0.2), frames, clock,
        sample_interval_s=0.2, frame_edge_px=64, recording=ring, mask=Mask(polygons),
    ).run_once(stop)  # fmt: skip
    seen = frames.frames_since(-1)
    assert len(seen) == 4
    kept = ring.cut(0.0, clock.monotonic_s())
    assert len(kept) == 4
    for frame in seen:
        assert not frame.image.any()
        jpeg = np.frombuffer(read_snapshot(ring, frame.captured_s), np.uint8)
        assert not cv2.imdecode(jpeg, cv2.IMREAD_COLOR).any()
    assert all(b"unmasked" not in one.data and one.coded is None for one in kept)
    np.testing.assert_array_equal(secret, before)  # what the source has is its own


def test_what_is_not_masked_stays() -> None:
    image = np.full((100, 200, 3), 255, np.uint8)
    burnt = Mask([((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))]).burn(image)
    assert not burnt[:, :100].any()
    assert (burnt[:, 103:] == 255).all()


def test_clips_of_a_masked_camera_are_made_of_masked_pictures(tmp_path: Path) -> None:
    video = write_numbered_clip(tmp_path / "a.mp4", frames=40, gop=5)
    clock = FakeClock(start_s=0.0)
    source = open_source(SourceUrl(str(video)), clock, realtime=False)
    read = source.read

    def ticking(sample_interval_s: float, stop: threading.Event) -> Picture | None:
        clock.advance(0.1)
        return read(sample_interval_s, stop)

    source.read = ticking  # type: ignore[method-assign]
    ring = PacketRing(keep_s=60.0)
    upper_half = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (0.0, 0.5))  # where the number stands
    CaptureWorker(
        "door", source, FrameRing(8), clock,
        sample_interval_s=1.0, frame_edge_px=320, recording=ring, mask=Mask([upper_half]),
    ).run_once(threading.Event())  # fmt: skip
    clip = tmp_path / "clip.mp4"
    write_clip(ring.cut(0.0, 4.0), clip)
    with av.open(str(clip)) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(images) >= 15
    for image in images:
        assert image[:110].max() < 8
        assert image[130:, :, 0].min() > 150  # below it is as it was


@pytest.mark.parametrize(
    ("polygon", "problem"),
    [
        ([(0.1, 0.1), (0.9, 0.1)], "at least three"),
        ([], "at least three"),
        ([(0.1, 0.1), (1.2, 0.1), (0.5, 0.9)], r"\[1.2, 0.1\]"),
        ([(-0.1, 0.1), (0.2, 0.1), (0.5, 0.9)], "from 0"),
        ([(0.1, 0.1), (0.9, 0.9), (0.9, 0.1), (0.1, 0.9)], "crosses itself"),
        ([(0.1, 0.1), (0.5, 0.1), (0.9, 0.1)], "line"),
        ([(0.1, 0.1), (0.1, 0.1), (0.1, 0.1)], "line"),
        ([(0.1, 0.1), (0.9, 0.1), (0.5, 0.1), (0.5, 0.9), (0.3, 0.1)], "crosses itself"),
    ],
)
def test_a_polygon_that_means_nothing_is_refused(
    polygon: list[tuple[float, float]], problem: str
) -> None:
    found = problem_of(polygon)
    assert found is not None
    assert re.search(problem, found)


def test_polygons_that_are_sound_are_taken() -> None:
    assert problem_of([(0.1, 0.1), (0.9, 0.1), (0.5, 0.9)]) is None
    assert problem_of([(0, 0), (1, 0), (1, 1), (0.5, 0.5), (0, 1)]) is None  # a dent
