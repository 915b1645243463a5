"""Which frames of a recording does the model get?"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pipelines.clock import SystemClock
from pipelines.errors import NotFound, SourceError
from pipelines.footage import duration_s, is_live, plan_spans, read_live, read_spans
from pipelines.scenes.clips import encode_h264
from pipelines.sources import SourceUrl

CLOCK = SystemClock()


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> SourceUrl:
    """20 s at 10 fps; the grey level of each frame is its number."""
    path = tmp_path_factory.mktemp("video") / "numbered.mp4"
    images = [np.full((72, 128, 3), 20 + i, np.uint8) for i in range(200)]
    encode_h264(images, 10, 10, str(path))
    return SourceUrl(str(path))


def test_a_short_recording_is_one_span_from_first_frame_to_last(numbered: SourceUrl) -> None:
    total_s = duration_s(numbered, CLOCK)
    assert total_s == pytest.approx(20.0, abs=0.1)
    (span,) = read_spans(numbered, plan_spans(total_s), CLOCK, 64)
    assert len(span.images) == 8
    assert span.images[0].shape == (36, 64, 3)
    assert span.times_s[0] == 0.0
    assert span.times_s[-1] == pytest.approx(19.9, abs=0.01)
    assert np.diff(span.times_s) == pytest.approx(199 / 70, abs=0.06)
    levels = [float(image.mean()) for image in span.images]
    assert levels == pytest.approx([20 + t * 10 for t in span.times_s], abs=2)


def test_a_long_recording_is_cut_into_equal_spans(numbered: SourceUrl) -> None:
    spans = plan_spans(139.4)
    assert len(spans) == 17
    assert spans[0][0] == 0.0
    assert spans[-1][1] == pytest.approx(139.4)
    assert all(a[1] == b[0] for a, b in pairwise(spans))
    cut = list(read_spans(numbered, [(0.0, 5.0), (5.0, 10.0), (10.0, 20.0)], CLOCK, 64))
    assert [span.times_s[0] for span in cut] == pytest.approx([0.0, 5.0, 10.0])
    assert cut[1].times_s[-1] == pytest.approx(9.9)


def test_a_span_the_file_has_no_frames_for_is_left_out(numbered: SourceUrl) -> None:
    assert len(list(read_spans(numbered, [(0.0, 10.0), (30.0, 40.0)], CLOCK, 64))) == 1


def test_what_has_an_end_is_no_camera() -> None:
    assert not is_live(SourceUrl("clip.mp4"))
    assert not is_live(SourceUrl("file:///clip.mp4"))
    assert is_live(SourceUrl("rtsp://camera/stream"))
    assert is_live(SourceUrl("/dev/video0"))
    assert is_live(SourceUrl("scene://porch"))


def test_a_live_stream_gives_its_next_frames() -> None:
    class Quick(SystemClock):
        def monotonic_s(self) -> float:
            return super().monotonic_s() * 20

        def wait(self, stop, timeout_s):  # type: ignore[no-untyped-def]
            return super().wait(stop, timeout_s / 20)

    span = read_live(SourceUrl("scene://yard?width=160&seed=4"), Quick(), 64)
    assert len(span.images) == 8
    assert np.diff(span.times_s) == pytest.approx(1.0, abs=0.4)


def test_a_file_that_is_missing_or_no_video_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        duration_s(SourceUrl(str(tmp_path / "none.mp4")), CLOCK)
    text = tmp_path / "notes.mp4"
    text.write_text("hello")
    with pytest.raises(SourceError, match="not a video"):
        duration_s(SourceUrl(str(text)), CLOCK)
