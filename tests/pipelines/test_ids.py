"""Are ids what they say?"""

from __future__ import annotations

from ulid import ULID

from pipelines.ids import new_ulid


def test_ids_are_ulids_that_differ() -> None:
    ids = [new_ulid() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert [str(ULID.from_str(text)) for text in ids] == ids
