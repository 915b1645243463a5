"""Do clips and snapshots show what the camera sent, from before the event on?"""

from __future__ import annotations

import threading
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.capture import CaptureWorker
from pipelines.clip import ClipError, read_snapshot, write_clip
from pipelines.clock import SystemClock
from pipelines.packet_ring import PacketRing
from pipelines.ring import FrameRing
from pipelines.sources import Picture, SourceUrl, open_source
from pipelines.sources.coded import Coded
from tests.disks import fill, mounted
from tests.fakes import FakeClock, FakeSource
from tests.h264 import draw_numbered, read_number, write_numbered_clip
from tests.pipelines.test_decoding import write_moving_clip
from tests.pipelines.test_leaks import open_files
from tests.rtsp_server import RtspServer

FRAME_S = 0.1


def record(path: Path, ring: PacketRing, interval_s: float = 1.0) -> FrameRing:
    """Play a file into rings, a tenth of a second of fake time a picture."""
    clock = FakeClock(start_s=0.0)
    source = open_source(SourceUrl(str(path)), clock, realtime=False)
    read = source.read

    def ticking(sample_interval_s: float, stop: threading.Event) -> Picture | None:
        clock.advance(FRAME_S)
        return read(sample_interval_s, stop)

    source.read = ticking  # type: ignore[method-assign]
    frames = FrameRing(64)
    CaptureWorker(
        "door", source, frames, clock, sample_interval_s=interval_s, frame_edge_px=320,
        recording=ring,
    ).run_once(threading.Event())  # fmt: skip
    return frames


def shown(path: Path) -> tuple[list[int], list[float]]:
    """The numbers of a clip's pictures, and when they are shown."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert frames[0].key_frame
    numbers = [read_number(frame.to_ndarray(format="rgb24")) for frame in frames]
    return numbers, [float(frame.time) for frame in frames]


def packets_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def starts_fast(path: Path) -> bool:
    """Whether the index stands before the pictures."""
    data = path.read_bytes()
    return 0 < data.index(b"moov") < data.index(b"mdat")


def test_a_clip_holds_the_seconds_before_it_from_a_keyframe_on(tmp_path: Path) -> None:
    source = write_numbered_clip(tmp_path / "a.mp4", frames=100, gop=20)
    ring = PacketRing(keep_s=60.0)
    record(source, ring)
    clip = tmp_path / "clip.mp4"
    write_clip(ring.cut(5.0, 7.0), clip)  # the picture of number n came at (n + 1) / 10 s
    numbers, times = shown(clip)
    assert numbers == list(range(40, 70))
    assert times == pytest.approx([n * FRAME_S for n in range(30)], abs=1e-3)
    assert starts_fast(clip)
    assert packets_of(clip) == packets_of(source)[40:70]  # as they came: nothing is encoded


def test_a_clip_of_a_camera_over_rtsp_plays(tmp_path: Path) -> None:
    source = write_numbered_clip(tmp_path / "a.mp4", frames=40, gop=5)
    ring, frames, clock = PacketRing(keep_s=60.0), FrameRing(64), SystemClock()
    stop = threading.Event()
    with RtspServer(source) as server:
        camera = open_source(SourceUrl(server.url), clock)
        worker = CaptureWorker(
            "door", camera, frames, clock, sample_interval_s=0.5, frame_edge_px=320, recording=ring
        )
        thread = threading.Thread(target=worker.run, args=(stop,), daemon=True)
        thread.start()
        assert frames.wait_newer(3, stop, 30.0)
        stop.set()
        thread.join(30.0)
    newest = frames.newest()
    assert newest is not None
    write_clip(ring.cut(newest.captured_s - 1.0, newest.captured_s), tmp_path / "clip.mp4")
    numbers, times = shown(tmp_path / "clip.mp4")
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert times[-1] >= 0.9
    snapshot = cv2.imdecode(np.frombuffer(read_snapshot(ring, newest.captured_s), np.uint8), 1)
    assert read_number(snapshot) == read_number(newest.image) == numbers[-1]


@pytest.mark.parametrize("codec", ["plain", "b_frames", "h265"])
def test_a_snapshot_is_the_very_picture_of_the_frame(tmp_path: Path, codec: str) -> None:
    if codec == "h265":
        options = {"x265-params": "log-level=none:bframes=2"}
        path = write_moving_clip(tmp_path / "c.mp4", options, "libx265")
    else:
        path = write_moving_clip(tmp_path / "c.mp4", {"bf": "0" if codec == "plain" else "3"})
    ring = PacketRing(keep_s=60.0)
    frames = record(path, ring, interval_s=0.7).frames_since(-1)
    assert len(frames) > 10
    for frame in frames:
        bgr = cv2.imdecode(np.frombuffer(read_snapshot(ring, frame.captured_s), np.uint8), 1)
        small = cv2.resize(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), (320, 240))
        assert bgr.shape == (120, 160, 3)  # the camera's resolution
        assert np.abs(small.astype(int) - frame.image).mean() < 10  # the neighbours are at 30
    write_clip(ring.cut(3.0, 8.0), tmp_path / "clip.mp4")
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert len(list(container.decode(video=0))) >= 48


def test_without_packets_jpegs_are_kept_and_encoded_at_need(tmp_path: Path) -> None:
    clock, stop = FakeClock(), threading.Event()
    asked: list[float] = []
    source = FakeSource([], clock, frame_s=0.2)

    def read(sample_interval_s: float, stop: threading.Event) -> Picture | None:
        asked.append(sample_interval_s)
        clock.advance(0.2)
        if len(asked) > 50:
            stop.set()
            return None
        return Picture(draw_numbered(len(asked), 321, 241))

    source.read = read  # type: ignore[method-assign]
    ring, frames = PacketRing(keep_s=60.0), FrameRing(64)
    CaptureWorker(
        "usb", source, frames, clock, sample_interval_s=1.0, frame_edge_px=320, recording=ring
    ).run_once(stop)
    assert asked[0] == 1.0
    assert set(asked[1:]) == {0.2}
    captured = [frame.captured_s for frame in frames.frames_since(-1)]
    assert np.diff(captured)[1:] == pytest.approx(1.0)  # the model still has one a second
    write_clip(ring.cut(captured[2], captured[5]), tmp_path / "clip.mp4")
    numbers, times = shown(tmp_path / "clip.mp4")
    assert numbers == list(range(numbers[0], numbers[0] + 16))
    assert times[-1] == pytest.approx(3.0, abs=0.01)
    assert starts_fast(tmp_path / "clip.mp4")
    snapshot = cv2.imdecode(np.frombuffer(read_snapshot(ring, captured[2]), np.uint8), 1)
    assert snapshot.shape == (241, 321, 3)
    assert read_number(snapshot) == numbers[0]


@pytest.mark.parametrize("left", [0, 4096])
def test_a_full_disk_leaves_no_file_open(tmp_path: Path, left: int) -> None:
    ring = PacketRing(keep_s=60.0)
    record(write_numbered_clip(tmp_path / "a.mp4", frames=100, gop=20), ring)
    with mounted(tmp_path / "disk", "size=1m") as disk:
        fill(disk, "ballast", left)
        before = open_files()
        for _ in range(3):
            with pytest.raises(OSError, match="No space left on device"):
                write_clip(ring.cut(5.0, 7.0), disk / "clip.mp4")
            (disk / "clip.mp4").unlink()
        assert open_files() == before


def test_the_index_of_a_long_clip_has_room_before_its_pictures(tmp_path: Path) -> None:
    ring = PacketRing(keep_s=60.0)
    record(write_numbered_clip(tmp_path / "a.mp4", frames=100, gop=1), ring)  # all keyframes
    kept = list(ring.cut(0.0, 11.0))
    clip = tmp_path / "clip.mp4"
    write_clip(kept * 60, clip)  # and a jump of time after every hundredth
    assert starts_fast(clip)
    assert len(packets_of(clip)) == 60 * len(kept)


def test_what_the_ring_does_not_hold_is_said(tmp_path: Path) -> None:
    ring = PacketRing(keep_s=60.0)
    with pytest.raises(ClipError, match="nothing"):
        write_clip(ring.cut(0.0, 10.0), tmp_path / "clip.mp4")
    with pytest.raises(ClipError, match="any more"):
        read_snapshot(ring, 5.0)
    record(write_numbered_clip(tmp_path / "a.mp4", frames=40), ring)
    assert not ring.cut(100.0, 110.0)


def test_a_clip_keeps_to_one_connection_and_to_the_time_it_has() -> None:
    one, two = object(), object()
    ring = PacketRing(keep_s=60.0)
    for second in range(10):
        put(ring, float(second), is_key=second % 2 == 0, layout=one if second < 6 else two)
    assert [kept.captured_s for kept in ring.cut(1.0, 9.0)] == [6.0, 7.0, 8.0, 9.0]
    assert [kept.captured_s for kept in ring.cut(3.5, 5.0)] == [2.0, 3.0, 4.0, 5.0]


def put(
    ring: PacketRing, at_s: float, *, is_key: bool, size: int = 1000, layout: object = None
) -> None:
    coded = Coded(b"x" * size, at_s, at_s, is_key, layout)  # type: ignore[arg-type]
    ring.put(Picture(None, at_s, coded=coded), None, at_s)


@settings(deadline=None)
@given(
    pictures=st.lists(st.tuples(st.booleans(), st.integers(1, 40_000)), max_size=120),
    keep_s=st.floats(1.0, 50.0),
)
def test_it_never_holds_more_than_its_bytes_and_begins_with_a_keyframe(
    pictures: list[tuple[bool, int]], keep_s: float
) -> None:
    ring = PacketRing(keep_s, max_bytes=100_000)
    last_key_s = None
    for second, (is_key, size) in enumerate(pictures):
        put(ring, float(second), is_key=is_key, size=size)
        assert ring.num_bytes <= 100_000
        kept = ring.cut(-1.0, float(second))
        assert not kept or kept[0].is_key
        assert ring.num_bytes == sum(len(one.data) + 400 for one in kept)
        last_key_s = second if is_key else last_key_s
        if ring.dropped == 0 and last_key_s is not None:
            # Nothing goes that a clip of `keep_s` would begin with.
            assert kept[0].captured_s <= max(second - keep_s, 0) or not any(
                key for key, _ in pictures[: int(kept[0].captured_s)]
            )


def test_the_first_keyframe_of_a_connection_is_kept(tmp_path: Path) -> None:
    """FFmpeg gives RTSP's first packet no time stamp; no clip must wait for the next keyframe."""
    path = tmp_path / "seldom.mp4"
    write_numbered_clip(path, frames=100, fps=10, gop=100)
    with RtspServer(path) as camera:
        source = open_source(SourceUrl(camera.url), SystemClock())
        source.open()
        pictures = [source.read(0.2, threading.Event()) for _ in range(4)]
        source.close()
    coded = [picture.coded for picture in pictures if picture is not None]
    assert [one is not None and one.is_key for one in coded] == [True, False, False, False]
    stamps = [one.pts_s for one in coded if one is not None]
    assert np.diff(stamps) == pytest.approx(0.1, abs=0.07)
