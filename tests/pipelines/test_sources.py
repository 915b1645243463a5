"""Does each source give the right pictures, at the right time, and clear errors?"""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.clock import SystemClock
from pipelines.errors import (
    AuthFailed,
    EndOfStream,
    NotFound,
    NoVideo,
    SourceError,
    Stalled,
    Unreachable,
)
from pipelines.sources import FrameSource, Picture, SampleGrid, SourceUrl, open_source
from pipelines.sources.file import FileSource
from pipelines.sources.lag import MOST_S
from pipelines.sources.stream import StreamSource
from pipelines.sources.usb import UsbSource
from tests.cameras import until
from tests.fakes import FakeClock
from tests.h264 import draw_numbered, read_number, write_numbered_clip
from tests.rtsp_auth import Login
from tests.rtsp_faults import Faults
from tests.rtsp_server import RtspServer

FOOTAGE = Path(__file__).parents[2].parent / "shared" / "footage" / "car-detection.mp4"
PASSWORD = "geheim:p@ss"
ESCAPED = "geheim%3Ap%40ss"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_numbered_clip(tmp_path_factory.mktemp("clip") / "numbers.mp4")


def read_all(source: FrameSource, interval_s: float, most: int = 1000) -> list[Picture]:
    """Every picture until the end, or `most` of them."""
    stop = threading.Event()
    source.open()
    pictures = []
    try:
        while len(pictures) < most and (picture := source.read(interval_s, stop)) is not None:
            pictures.append(picture)
    finally:
        source.close()
    return pictures


def numbers(pictures: list[Picture]) -> list[int]:
    return [read_number(picture.image) for picture in pictures if picture.image is not None]


# Addresses


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        ("rtsp://admin:geheim@cam/live", "rtsp://***@cam/live"),
        ("rtsp://admin:g@h/e?i=m@cam/live", "rtsp://***@cam/live"),
        ("rtsp://cam:554/live", "rtsp://cam:554/live"),
        ("http://cam/v?user=admin&pwd=geheim", "http://cam/v?user=***&pwd=***"),
        ("rtsp://cam/user=a_password=geheim_channel=1", "rtsp://cam/user=a_password=***_channel=1"),
        ("scene://driveway?event=car_arrive", "scene://driveway?event=car_arrive"),
        ("/videos/a@b.mp4", "/videos/a@b.mp4"),
    ],
)
def test_an_address_prints_masked(secret: str, shown: str) -> None:
    url = SourceUrl(secret)
    assert str(url) == f"{url}" == shown
    assert repr(url) == f"SourceUrl({shown!r})"


@given(
    password=st.text(st.characters(codec="ascii", exclude_characters="#*"), min_size=1).filter(
        lambda text: text.strip() and text not in "SourceUrl('rtsp://***@cam.test/live')"
    )
)
def test_no_password_comes_through(password: str) -> None:
    url = SourceUrl(f"rtsp://admin:{password}@cam.test/live")
    assert password not in str(url)
    assert password not in repr(url)
    assert password not in url.redact(f"failed: {url.secret} and {password!s} once more")


@pytest.mark.parametrize("secret", ["rtsp://10.0.0.5/stream2", "http://10.0.0.5/?channel=1"])
def test_without_a_login_messages_stay_as_they_are(secret: str) -> None:
    assert SourceUrl(secret).redact("Connection refused") == "Connection refused"


def test_an_unknown_scheme_says_what_there_is() -> None:
    with pytest.raises(SourceError, match="rtsp://"):
        open_source(SourceUrl("gopher://cam/"), FakeClock())


def test_each_address_finds_its_source() -> None:
    clock = FakeClock()
    assert isinstance(open_source(SourceUrl("rtsp://cam/"), clock), StreamSource)
    assert isinstance(open_source(SourceUrl("https://cam/"), clock), StreamSource)
    assert isinstance(open_source(SourceUrl("clip.mp4"), clock), FileSource)
    assert isinstance(open_source(SourceUrl("file:///clip.mp4"), clock), FileSource)
    assert isinstance(open_source(SourceUrl("/dev/v4l/by-id/usb-cam-index0"), clock), UsbSource)
    assert isinstance(open_source(SourceUrl("usb:1"), clock), UsbSource)


# Sampling


@given(fps=st.sampled_from([5.0, 12.5, 15.0, 25.0, 29.97]), start_s=st.floats(0, 1e5))
def test_sampling_keeps_to_its_grid(fps: float, start_s: float) -> None:
    grid = SampleGrid()
    due = [step / fps for step in range(int(60 * fps)) if grid.due(start_s + step / fps, 1.0)]
    assert len(due) == 60  # one a second, without drift, at any frame rate
    assert all(at_s - second < 1 / fps + 0.02 for second, at_s in enumerate(due))


def test_sampling_goes_on_after_a_jump_either_way() -> None:
    grid = SampleGrid()
    assert [grid.due(at_s, 1.0) for at_s in (0.0, 0.5, 1.0)] == [True, False, True]
    assert grid.due(5000.0, 1.0)
    assert not grid.due(5000.5, 1.0)
    assert grid.due(7.0, 1.0)


# Files


def test_a_file_read_fast_gives_all_its_pictures_and_ends(clip: Path) -> None:
    clock = FakeClock()
    pictures = read_all(FileSource(SourceUrl(str(clip)), clock, realtime=False), 0.1)
    assert numbers(pictures) == list(range(40))
    assert clock.waits == []


def test_only_pictures_that_are_due_are_converted(clip: Path) -> None:
    pictures = read_all(FileSource(SourceUrl(str(clip)), FakeClock(), realtime=False), 1.0)
    assert len(pictures) == 40
    assert numbers(pictures) == [0, 10, 20, 30]


def test_a_file_in_real_time_takes_its_time(clip: Path) -> None:
    clock = FakeClock()
    begun_s = clock.monotonic_s()
    read_all(FileSource(SourceUrl(str(clip)), clock), 1.0)
    assert clock.monotonic_s() - begun_s == pytest.approx(3.9)


def test_a_looped_file_goes_on_with_its_time_stamps(clip: Path) -> None:
    source = FileSource(SourceUrl(f"file://{clip}?loop=1"), FakeClock(), realtime=False)
    pictures = read_all(source, 0.1, most=100)
    assert numbers(pictures) == [*range(40), *range(40), *range(20)]
    stamps = [picture.pts_s for picture in pictures if picture.pts_s is not None]
    assert np.diff(stamps) == pytest.approx(np.full(99, 0.1))


def test_stop_ends_the_wait_for_the_next_picture(clip: Path) -> None:
    source = FileSource(SourceUrl(str(clip)), SystemClock())
    stop = threading.Event()
    source.open()
    source.read(1.0, stop)
    stop.set()
    assert source.read(1.0, stop) is None
    source.close()


def test_colours_and_sizes_are_those_of_the_file(clip: Path) -> None:
    picture = read_all(FileSource(SourceUrl(str(clip)), FakeClock(), realtime=False), 1.0, 1)[0]
    assert picture.image is not None
    assert picture.image.shape == (240, 320, 3)
    error = np.abs(picture.image.astype(int) - draw_numbered(0, 320, 240)).mean()
    assert error < 6.0  # of 255: chroma is stored at half size


def test_files_that_cannot_be_played_say_why(tmp_path: Path) -> None:
    text = tmp_path / "not:a video.mp4"
    text.write_text("nothing to see" * 100)
    for path, error in ((tmp_path / "none.mp4", NotFound), (text, NoVideo), (tmp_path, NoVideo)):
        source = FileSource(SourceUrl(str(path)), FakeClock())
        with pytest.raises((error, NotFound)) as caught:
            source.open()
        assert str(path) in str(caught.value)


@pytest.mark.skipif(not FOOTAGE.exists(), reason="no ../shared/footage beside the project")
def test_real_footage_is_read_at_its_own_rate() -> None:
    source = FileSource(SourceUrl(str(FOOTAGE)), FakeClock(), decode="all", realtime=False)
    pictures = read_all(source, 1.0)
    assert len(pictures) == 377
    assert sum(picture.image is not None for picture in pictures) == 31


# RTSP


def test_rtsp_gives_the_pictures_of_the_file_as_they_are(clip: Path) -> None:
    with RtspServer(clip) as server:
        pictures = read_all(StreamSource(SourceUrl(server.url), SystemClock()), 0.1, most=30)
    got = numbers(pictures)
    assert got == list(range(got[0], got[0] + len(got)))
    assert len(got) >= 29
    assert not any(picture.damaged for picture in pictures)
    sharp = next(picture.image for picture in pictures if picture.image is not None)
    direct = read_all(FileSource(SourceUrl(str(clip)), FakeClock(), realtime=False), 0.1)
    same = direct[got[0]].image
    assert same is not None
    np.testing.assert_array_equal(sharp, same)


def test_what_follows_a_damaged_picture_is_not_sampled_until_a_keyframe(clip: Path) -> None:
    with RtspServer(clip) as server:
        units = list(server.clip.units)  # a keyframe is every fifth
        slice_nal = units[7].nals[-1]
        units[7] = replace(units[7], nals=(slice_nal[:3] + bytes(reversed(slice_nal[3:])),))
        server.clip = replace(server.clip, units=tuple(units))
        pictures = read_all(StreamSource(SourceUrl(server.url), SystemClock()), 0.1, most=15)
    assert sum(picture.damaged for picture in pictures) >= 2
    assert not {7, 8, 9} & set(numbers(pictures))
    assert {5, 10, 11} <= set(numbers(pictures))


def test_rtsp_pictures_larger_than_a_packet_arrive_whole(tmp_path: Path) -> None:
    big = tmp_path / "noise.mp4"
    rng = np.random.default_rng(3)
    with av.open(str(big), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for _ in range(20):
            noise = rng.integers(0, 255, (240, 320, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(stream.encode(None))
    with RtspServer(big) as server:
        assert max(len(nal) for unit in server.clip.units for nal in unit.nals) > 10_000
        pictures = read_all(StreamSource(SourceUrl(server.url), SystemClock()), 0.5, most=10)
    assert not any(picture.damaged for picture in pictures)


@pytest.mark.parametrize(
    ("address", "error"),
    [
        (f"rtsp://admin:{ESCAPED}@127.0.0.1:PORT/other", NotFound),
        ("rtsp://admin:hunter2@127.0.0.1:PORT/stream", AuthFailed),
        ("rtsp://127.0.0.1:PORT/stream", AuthFailed),
        ("rtsp://admin:hunter2@127.0.0.1:CLOSED/stream", Unreachable),
        ("http://admin:hunter2@127.0.0.1:CLOSED/stream", Unreachable),
    ],
)
def test_rtsp_errors_are_told_apart_and_keep_the_password(
    clip: Path, address: str, error: type[SourceError]
) -> None:
    with RtspServer(clip, login=Login("admin", PASSWORD)) as server:
        closed = RtspServer(clip)
        closed.start()
        closed.stop()
        url = address.replace("PORT", str(server.port)).replace("CLOSED", str(closed.port))
        source = StreamSource(SourceUrl(url), SystemClock())
        with pytest.raises(error) as caught:
            source.open()
        source.close()
    shown = f"{caught.value!s} {caught.value!r} {source.url} {source.url!r}"
    assert "hunter2" not in shown
    assert "geheim" not in shown
    # a traceback prints the whole chain, and FFmpeg's own error quotes the address
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_rtsp_with_the_right_password_plays(clip: Path) -> None:
    with RtspServer(clip, login=Login("admin", PASSWORD)) as server:
        url = f"rtsp://admin:{ESCAPED}@127.0.0.1:{server.port}/stream"
        assert len(read_all(StreamSource(SourceUrl(url), SystemClock()), 1.0, most=3)) == 3


def test_a_killed_server_is_an_end_and_not_silence(clip: Path) -> None:
    server = RtspServer(clip)
    server.start()
    source = StreamSource(SourceUrl(server.url), SystemClock())
    stop = threading.Event()
    source.open()
    source.read(1.0, stop)
    server.stop()
    with pytest.raises(EndOfStream):  # noqa: PT012 - what was on its way comes first
        for _ in range(50):
            source.read(1.0, stop)
    source.close()


def test_a_camera_that_hangs_is_noticed(clip: Path) -> None:
    with RtspServer(clip) as server:
        source = StreamSource(SourceUrl(server.url), SystemClock())
        stop = threading.Event()
        source.open()
        source.read(1.0, stop)
        server.pause()
        with pytest.raises(Stalled):  # noqa: PT012 - what was on its way comes first
            for _ in range(50):
                source.read(1.0, stop)
        source.close()


def test_h265_is_read_as_h264_is(tmp_path: Path) -> None:
    clip = write_numbered_clip(tmp_path / "265.mp4", 20, size_px=(640, 480), codec="hevc")
    with RtspServer(clip) as server:
        assert max(len(nal) for unit in server.clip.units for nal in unit.nals) > 1400  # cut in two
        pictures = read_all(StreamSource(SourceUrl(server.url), SystemClock()), 0.1, most=18)
    got = numbers(pictures)
    assert got == list(range(got[0], got[0] + len(got)))
    assert len(got) >= 17
    assert not any(picture.damaged for picture in pictures)


def test_the_cameras_own_clock_comes_with_its_pictures(clip: Path) -> None:
    with RtspServer(clip, faults=Faults(clock_offset_s=-3600.0)) as server:
        pictures = read_all(StreamSource(SourceUrl(server.url), SystemClock()), 0.1, most=15)
    now = time.time()
    times = [picture.camera_time for picture in pictures if picture.camera_time is not None]
    assert len(times) >= 10
    assert all(now - 60.0 < at + 3600.0 <= now for at in times)
    assert np.diff(times) == pytest.approx(np.full(len(times) - 1, 0.1), abs=0.05)


def test_a_camera_without_reports_has_no_clock(clip: Path) -> None:
    with RtspServer(clip) as server:
        pictures = read_all(StreamSource(SourceUrl(server.url), SystemClock()), 0.1, most=5)
    assert {picture.camera_time for picture in pictures} == {None}


def test_a_late_reader_passes_over_what_waits_up_to_the_newest_keyframe(clip: Path) -> None:
    stop = threading.Event()
    with RtspServer(clip) as server:
        source = StreamSource(SourceUrl(server.url), SystemClock())
        source.open()
        while source.read(0.1, stop).image is None:  # type: ignore[union-attr]
            pass
        until(lambda: server.sent >= 38)  # nearly four seconds go by, and the reader is elsewhere
        pictures = [picture for _ in range(45) if (picture := source.read(0.1, stop))]
        source.close()
    assert max(picture.lag_s or 0.0 for picture in pictures) > MOST_S
    assert sum(picture.skipped for picture in pictures) > 10
    assert not any(picture.damaged for picture in pictures)
    sampled = [picture for picture in pictures if picture.image is not None]
    assert all((picture.lag_s or 0.0) <= MOST_S for picture in sampled)


# HTTP


class _Camera(http.server.BaseHTTPRequestHandler):
    """An MJPEG camera at /mjpeg (numbers count up), and a web page elsewhere."""

    def do_GET(self) -> None:
        self.send_response(200)
        if self.path != "/mjpeg":
            page = b"<html>Please log in</html>" * 200
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)
            return
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=edge")
        self.end_headers()
        for number in range(60):
            bgr = draw_numbered(number, 320, 240)[:, :, ::-1]
            jpeg = cv2.imencode(".jpg", bgr)[1].tobytes()
            head = f"--edge\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg + b"\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def http_port() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Camera)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def test_mjpeg_over_http_is_timed_by_its_arrival(http_port: int) -> None:
    source = StreamSource(SourceUrl(f"http://127.0.0.1:{http_port}/mjpeg"), SystemClock())
    source.open()
    stop = threading.Event()
    pictures: list[Picture] = []
    with pytest.raises(EndOfStream):  # noqa: PT012 - the pictures come first
        while (picture := source.read(1e-6, stop)) is not None:
            pictures.append(picture)
    source.close()
    assert numbers(pictures) == list(range(60))
    assert {picture.pts_s for picture in pictures} == {None}


def test_a_web_page_is_no_video(http_port: int) -> None:
    source = StreamSource(SourceUrl(f"http://127.0.0.1:{http_port}/"), SystemClock())
    with pytest.raises(NoVideo):
        source.open()
    source.close()
