"""Is as little decoded as can be, and is it what a full decode would give, to the pixel?"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources import DecodeMode, Picture, SampleGrid, SourceUrl, open_source
from pipelines.sources.gop import GopDecoder
from tests.fakes import FakeClock
from tests.h264 import read_number, write_numbered_clip

FOOTAGE = Path(__file__).parents[2].parent / "shared" / "footage"
FPS = 10


def write_moving_clip(path: Path, options: dict[str, str], codec: str = "libx264") -> Path:
    """100 pictures at 10 a second, each unlike the others; a keyframe every 20."""
    rng = np.random.default_rng(11)
    background = rng.integers(0, 255, (120, 160, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.gop_size = 20
        for number in range(100):
            image = np.roll(background, number, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module", params=["plain", "b_frames", "open_gop", "h265"])
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    fixed = {"sc_threshold": "0", "preset": "ultrafast"}
    path = tmp_path_factory.mktemp("decoding") / f"{request.param}.mp4"
    if request.param == "h265":
        return write_moving_clip(path, {"x265-params": "log-level=none:bframes=2"}, "libx265")
    options = {
        "plain": {"bf": "0"},
        "b_frames": {"bf": "3", "b-pyramid": "normal"},
        "open_gop": {"bf": "3", "x264-params": "open-gop=1"},
    }[request.param]
    return write_moving_clip(path, fixed | options)


def read_all(path: Path, mode: DecodeMode, interval_s: float) -> list[Picture]:
    source = open_source(SourceUrl(str(path)), FakeClock(), decode=mode, realtime=False)
    source.open()
    try:
        stop = threading.Event()
        return list(iter(lambda: source.read(interval_s, stop), None))
    finally:
        source.close()


def sampled(pictures: list[Picture]) -> dict[float, np.ndarray]:
    """Time stamp -> image."""
    return {
        round(picture.pts_s, 4): picture.image
        for picture in pictures
        if picture.image is not None and picture.pts_s is not None
    }


@contextmanager
def counting() -> Iterator[list[int]]:
    """How many packets each call gave to the decoder."""
    fed: list[int] = []
    feed = GopDecoder._feed

    def counted(self: GopDecoder, packets: list[object]) -> object:
        fed.append(sum(packet.size > 0 for packet in packets))  # type: ignore[attr-defined]
        return feed(self, packets)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GopDecoder, "_feed", counted)
        yield fed


@pytest.mark.parametrize("interval_s", [0.1, 0.7, 2.0])
@pytest.mark.parametrize("mode", ["auto", "keyframes"])
def test_pictures_are_those_of_a_full_decode(
    clip: Path, mode: DecodeMode, interval_s: float
) -> None:
    truth = sampled(read_all(clip, "all", 1e-4))
    assert len(truth) == 100
    pictures = read_all(clip, mode, interval_s)
    assert not any(picture.damaged for picture in pictures)
    found = sampled(pictures)
    assert found
    for pts_s, image in found.items():
        np.testing.assert_array_equal(image, truth[pts_s])


@pytest.mark.parametrize("interval_s", [0.1, 0.5, 1.0, 2.0])
def test_on_demand_keeps_the_rate(clip: Path, interval_s: float) -> None:
    times = sorted(sampled(read_all(clip, "auto", interval_s)))
    gaps = np.diff(times)
    assert len(times) >= int(10 / interval_s) - 1
    assert gaps.max() <= interval_s + 1e-3
    assert gaps.min() >= 0.75 * interval_s - 1e-3


@pytest.mark.parametrize(
    ("mode", "interval_s", "most"),
    [("all", 2.0, 40), ("auto", 0.1, 40), ("auto", 0.5, 16), ("auto", 2.0, 8), ("keyframes", 2, 8)],
)
def test_only_what_is_sampled_is_decoded(
    tmp_path: Path, mode: DecodeMode, interval_s: float, most: int
) -> None:
    path = write_numbered_clip(tmp_path / "numbers.mp4", frames=40, fps=FPS, gop=5)
    with counting() as fed:
        pictures = read_all(path, mode, interval_s)
    assert len(pictures) == 40
    assert sum(picture.image is not None for picture in pictures) == min(40, 4 / interval_s)
    # Of five in a group the first is enough for 0.5 s, and all are needed for 0.1 s.
    assert sum(fed) <= most


def test_keyframes_come_without_waiting_for_what_follows(tmp_path: Path) -> None:
    path = write_moving_clip(tmp_path / "b.mp4", {"bf": "3", "sc_threshold": "0"})
    pictures = read_all(path, "keyframes", 2.0)
    at = [index for index, picture in enumerate(pictures) if picture.image is not None]
    assert at == [0, 20, 40, 60, 80]


def test_a_group_without_end_is_decoded_as_it_comes(tmp_path: Path) -> None:
    path = write_numbered_clip(tmp_path / "long.mp4", frames=600, fps=FPS, gop=1000)
    with counting() as fed:
        found = sampled(read_all(path, "auto", 50.0))
    assert [read_number(image) for image in found.values()] == [0, 500 % 256]
    assert max(fed) <= 257  # what may wait, and the one that is wanted


@pytest.mark.skipif(not FOOTAGE.exists(), reason="no ../shared/footage beside the project")
@pytest.mark.parametrize("name", ["car-detection", "one-by-one-person-detection"])
def test_real_footage_on_demand_equals_a_full_decode(name: str) -> None:
    path = FOOTAGE / f"{name}.mp4"
    found = sampled(read_all(path, "auto", 1.0)[:300])
    keys = sampled(read_all(path, "keyframes", 1.0)[:300])
    assert len(found) >= len(keys) > 2
    source = open_source(SourceUrl(str(path)), FakeClock(), decode="all", realtime=False)
    source.open()
    stop = threading.Event()
    while found or keys:
        picture = source.read(1e-4, stop)
        assert picture is not None, f"made up: {list(found)} {list(keys)}"
        for some in (found, keys):
            image = some.pop(round(picture.pts_s or 0.0, 4), None)
            if image is not None:
                np.testing.assert_array_equal(image, picture.image)
    source.close()


@given(fps=st.sampled_from([10.0, 15.0, 29.97]), gop=st.integers(5, 100))
def test_keyframes_near_the_grid_are_taken_and_the_rate_stays(fps: float, gop: int) -> None:
    grid = SampleGrid()
    times = [
        step / fps
        for step in range(int(60 * fps))
        if grid.due(step / fps, 1.0, 0.25 if step % gop == 0 else 0.0)
    ]
    gaps = np.diff(times)
    assert gaps.min() >= 0.75 - 1 / fps
    assert gaps.max() <= 1.0 + 1 / fps + 0.02
