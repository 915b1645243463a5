"""Does the encoder cache stay in its bounds and drop what was used longest ago?"""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.smolvlm2.cache import EncoderCache

ROW_BYTES = 4 * 8 * 4


def features(value: float = 0.0) -> torch.Tensor:
    return torch.full((4, 8), value)  # ROW_BYTES


def test_a_frame_is_found_by_camera_epoch_and_seq():
    cache = EncoderCache(10 * ROW_BYTES)
    cache.put(("porch", 0, 7), features(1.0))
    for other in [("yard", 0, 7), ("porch", 1, 7), ("porch", 0, 8)]:
        assert cache.get(other) is None
    found = cache.get(("porch", 0, 7))
    assert found is not None
    assert found.unique().item() == 1.0
    assert (cache.hits, cache.misses) == (1, 3)


def test_what_was_used_longest_ago_goes_first():
    cache = EncoderCache(2 * ROW_BYTES)
    cache.put(("a", 0, 0), features())
    cache.put(("a", 0, 1), features())
    cache.get(("a", 0, 0))
    cache.put(("a", 0, 2), features())
    assert cache.get(("a", 0, 1)) is None
    assert cache.get(("a", 0, 0)) is not None
    assert cache.evictions == 1


def test_a_frame_larger_than_the_cache_is_not_kept():
    cache = EncoderCache(ROW_BYTES - 1)
    cache.put(("a", 0, 0), features())
    assert len(cache) == cache.num_bytes == 0


def test_the_same_frame_twice_counts_once():
    cache = EncoderCache(4 * ROW_BYTES)
    cache.put(("a", 0, 0), features(1.0))
    cache.put(("a", 0, 0), features(2.0))
    assert cache.num_bytes == ROW_BYTES
    found = cache.get(("a", 0, 0))
    assert found is not None
    assert found.unique().item() == 2.0


@given(
    capacity=st.integers(0, 5),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 8)), max_size=60),
)
def test_it_behaves_like_a_list_ordered_by_use(capacity, steps):
    cache = EncoderCache(capacity * ROW_BYTES)
    by_use: list[int] = []
    for is_put, seq in steps:
        if is_put:
            cache.put(("a", 0, seq), features())
            by_use = [s for s in by_use if s != seq] + [seq]
            by_use = by_use[-capacity:] if capacity else []
        else:
            assert (cache.get(("a", 0, seq)) is not None) == (seq in by_use)
            if seq in by_use:
                by_use = [s for s in by_use if s != seq] + [seq]
        assert len(cache) == len(by_use)
        assert cache.num_bytes == len(by_use) * ROW_BYTES <= cache.max_bytes
