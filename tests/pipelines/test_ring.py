"""Does the ring keep the newest frames, and are the ones it hands out safe?"""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.ring import FrameRing
from pipelines.types import Frame


def frame(
    seq: int, *, size: tuple[int, int] = (4, 6), epoch: int = 0, at_s: float | None = None
) -> Frame:
    """A frame whose pixels all spell its `seq`."""
    image = np.full((*size, 3), seq % 256, np.uint8)
    return Frame("cam", epoch, seq, float(seq) if at_s is None else at_s, 0.0, image, 0.0)


def test_newest_frame_wins_and_the_oldest_goes() -> None:
    ring = FrameRing(3)
    for seq in range(5):
        ring.put(frame(seq))
    assert [kept.seq for kept in ring.frames_since(-1)] == [2, 3, 4]
    assert [kept.seq for kept in ring.frames_since(3)] == [4]
    newest = ring.newest()
    assert newest is not None
    assert newest.seq == 4
    assert ring.dropped == 2  # 0 and 1 went before anyone looked


def test_frames_that_were_handed_out_are_not_counted_as_dropped() -> None:
    ring = FrameRing(2)
    for seq in range(2):
        ring.put(frame(seq))
    ring.take([0, 1])
    for seq in range(2, 5):
        ring.put(frame(seq))
    assert ring.dropped == 1  # 2; not 0 and 1, which a window had


def test_a_frame_in_use_is_not_overwritten_when_the_ring_goes_round() -> None:
    ring = FrameRing(2)
    ring.put(frame(1))
    held = ring.newest()
    assert held is not None
    for seq in range(2, 12):
        ring.put(frame(seq))
    assert held.image.min() == held.image.max() == 1


def test_what_is_put_may_be_reused_by_the_caller() -> None:
    ring = FrameRing(2)
    picture = frame(1)
    ring.put(picture)
    picture.image[...] = 99
    newest = ring.newest()
    assert newest is not None
    assert newest.image.max() == 1


def test_frames_handed_out_are_read_only() -> None:
    ring = FrameRing(2)
    ring.put(frame(1))
    for handed in (ring.newest(), *ring.frames_since(-1), *(ring.take([1]) or ())):
        assert handed is not None
        with pytest.raises(ValueError, match="read-only"):
            handed.image[0, 0, 0] = 0


def test_another_resolution_empties_the_ring() -> None:
    ring = FrameRing(3)
    ring.put(frame(1))
    ring.put(frame(2, size=(8, 2), epoch=1))
    assert [kept.image.shape for kept in ring.frames_since(-1)] == [(8, 2, 3)]


def test_taking_a_frame_that_is_gone_gives_nothing() -> None:
    ring = FrameRing(2)
    for seq in range(4):
        ring.put(frame(seq))
    assert ring.take([1, 2]) is None
    assert [kept.seq for kept in ring.take([3, 2]) or ()] == [3, 2]


def test_a_seq_that_came_before_is_refused() -> None:
    ring = FrameRing(2)
    ring.put(frame(5))
    with pytest.raises(ValueError, match="after frame 5"):
        ring.put(frame(5))


@settings(deadline=None)  # a busy machine is slow, and that is no failure
@given(
    capacity=st.integers(1, 6),
    steps=st.lists(st.tuples(st.integers(1, 3), st.sampled_from([(2, 2), (3, 2)])), max_size=30),
)
def test_it_holds_the_last_frames_of_one_size_and_every_pixel_of_them(
    capacity: int, steps: list[tuple[int, tuple[int, int]]]
) -> None:
    ring = FrameRing(capacity)
    put: list[Frame] = []
    seq = 0
    for gap, size in steps:
        seq += gap
        put.append(frame(seq, size=size))
        ring.put(put[-1])
    expected: list[Frame] = []
    for past in reversed(put):
        if past.image.shape != put[-1].image.shape or len(expected) == capacity:
            break
        expected.insert(0, past)
    kept = ring.frames_since(-1)
    assert [one.seq for one in kept] == [one.seq for one in expected]
    assert [stamp.seq for stamp in ring.stamps()] == [one.seq for one in expected]
    for got, want in zip(kept, expected, strict=True):
        np.testing.assert_array_equal(got.image, want.image)


def test_a_reader_never_sees_half_a_frame_while_another_thread_writes() -> None:
    ring = FrameRing(3)
    written = threading.Event()

    def write() -> None:
        for seq in range(2000):
            ring.put(frame(seq, size=(32, 32)))
        written.set()

    writer = threading.Thread(target=write)
    writer.start()
    torn = looked = 0
    while not written.is_set() or looked == 0:
        for got in ring.frames_since(-1):
            looked += 1
            torn += bool((got.image != got.seq % 256).any())
    writer.join(10)
    assert torn == 0


def test_waiting_ends_with_a_frame_with_the_time_or_with_stop() -> None:
    ring = FrameRing(2)
    stop = threading.Event()
    assert not ring.wait_newer(-1, stop, 0.0)
    threading.Timer(0.05, ring.put, [frame(0)]).start()
    assert ring.wait_newer(-1, stop, 20.0)
    threading.Timer(0.05, stop.set).start()
    assert not ring.wait_newer(0, stop, 20.0)
