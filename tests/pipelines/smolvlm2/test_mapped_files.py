"""Is a file that was mapped and read no longer counted, and still there?"""

from __future__ import annotations

import mmap
from pathlib import Path

from pipelines.smolvlm2.mapped_files import let_go

BYTES = 32 << 20


def resident_kib(path: Path) -> int:
    """What /proc says is in memory of a mapped file."""
    smaps = Path("/proc/self/smaps").read_text().splitlines()
    at = next(i for i, line in enumerate(smaps) if line.endswith(str(path)))
    return next(int(line.split()[1]) for line in smaps[at:] if line.startswith("Rss:"))


def test_pages_of_mapped_files_are_let_go(tmp_path: Path):
    (tmp_path / "model").mkdir()
    weights, other = tmp_path / "model" / "text.bin", tmp_path / "model.bin"
    for path in (weights, other):
        path.write_bytes(bytes(range(256)) * (BYTES // 256))
    with (
        weights.open("rb") as one,
        other.open("rb") as two,
        mmap.mmap(one.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        mmap.mmap(two.fileno(), 0, access=mmap.ACCESS_READ) as kept,
    ):
        assert mapped[:] == kept[:]
        assert resident_kib(weights) == resident_kib(other) == BYTES >> 10
        let_go(tmp_path / "model")
        assert resident_kib(weights) == 0
        assert resident_kib(other) == BYTES >> 10
        assert mapped[1000:1003] == bytes([232, 233, 234])
