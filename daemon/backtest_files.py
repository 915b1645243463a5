"""Which recordings are tried, how long are they, and when were they made?

Knows files and folders; nothing of what they show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import av
import av.error

from pipelines.clock import Clock
from pipelines.errors import NotFound
from pipelines.footage import duration_s
from pipelines.sources import SourceUrl

SUFFIXES: Final = frozenset(
    f".{name}"
    for name in (
        "3gp", "avi", "flv", "h264", "h265", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "ts",
        "webm", "wmv",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recording:
    """A file that can be opened."""

    path: Path
    name: str  # the file's name, or as much of its path as tells it from the others
    length_s: float
    begun: float  # Unix seconds
    begun_by: str  # where that is from, for people


def find_recordings(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The files, and the video files in the folders, each once. Raises `NotFound` for none."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = (p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            found.update(dict.fromkeys(sorted(inside)))
        else:
            found[path] = None
    if not found:
        folders = ", ".join(str(path) for path in paths)
        raise NotFound(f"{folders}: no video file is in there ({', '.join(sorted(SUFFIXES))})")
    return tuple(found)


def names_of(paths: Sequence[Path]) -> dict[Path, str]:
    """A short name for each, no two alike."""
    parts = 1
    names = {path: "/".join(path.parts[-parts:]) for path in paths}
    while len(set(names.values())) < len(paths) and parts < max(len(p.parts) for p in paths):
        parts += 1
        names = {path: "/".join(path.parts[-parts:]) for path in paths}
    return names


def open_recording(path: Path, name: str, clock: Clock, begins: float | None) -> Recording:
    """Look at one file; `begins` (Unix seconds) where somebody said so. Raises `SourceError`."""
    length_s = duration_s(url_of(path), clock)
    if begins is not None:
        return Recording(path, name, length_s, begins, "--begins")
    made = _creation_time(path)
    if made is not None:
        return Recording(path, name, length_s, made, "the file's creation_time")
    return Recording(
        path, name, length_s, path.stat().st_mtime - length_s, "when the file was last written"
    )


def url_of(path: Path) -> SourceUrl:
    """The file's address. Absolute, so that no name is taken for something else."""
    return SourceUrl(str(path.resolve()))


def _creation_time(path: Path) -> float | None:
    try:
        with av.open(f"file:{path}") as container:
            text = container.metadata.get("creation_time", "")
    except (av.error.FFmpegError, OSError):
        return None
    try:
        made = datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
    return made if made > 0.0 else None  # 1904 and 1970 stand for "not set"
