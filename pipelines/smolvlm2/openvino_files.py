"""Which converted files serve a model, and are they whole?

Knows no tensors and no graphs: a folder for each checkpoint, number format, calibration and
version. It appears at once or not at all, and is believed only if each file has the checksum that
its manifest says.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

ENCODER, TEXT = "encoder.xml", "text.xml"
EMBEDDINGS = "embeddings.npy"  # float32 [vocabulary, hidden]
HEAD_ROWS = "head.npy"  # as EMBEDDINGS, where the model's head has weights of its own
EXAM = "exam.npz"
MANIFEST = "manifest.json"
_CHUNK_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class Sizes:
    """What an engine must know of a model."""

    frame_size_px: int
    tokens_per_frame: int
    max_tokens: int
    image_id: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a conversion depends on."""

    fingerprint: str  # of the checkpoint
    precision: str  # f32, bf16 or int8
    calibration: str  # names the frames of an int8 conversion; "none" for others
    version: str  # of the converting code and its libraries

    def folder(self, cache: Path) -> Path:
        """Where its files are, or are to be."""
        return cache / "openvino" / f"{self._stem}{self.version}"

    @property
    def _stem(self) -> str:
        return f"{self.fingerprint}-{self.precision}-{self.calibration}-"

    def prune(self, cache: Path) -> None:
        """Delete what other versions made from the same: nobody will read it again."""
        for folder in (cache / "openvino").glob(f"{self._stem}*"):
            if folder != self.folder(cache):
                shutil.rmtree(folder, ignore_errors=True)


def read_sizes(folder: Path) -> Sizes | None:
    """The manifest's sizes; None if there is no folder, or it is not whole."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        checksums: dict[str, str] = manifest["files"]
        for name, checksum in checksums.items():
            if _checksum(folder / name) != checksum:
                return None
        return Sizes(**manifest["sizes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def publish(work: Path, folder: Path, sizes: Sizes) -> None:
    """Turn a finished work folder into `folder`. What lies there is replaced."""
    files = {path.name: _checksum(path) for path in sorted(work.iterdir())}
    manifest = json.dumps({"sizes": asdict(sizes), "files": files}, indent=1)
    (work / MANIFEST).write_text(manifest, encoding="utf-8")
    for path in work.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    shutil.rmtree(folder, ignore_errors=True)
    try:
        work.rename(folder)
    except OSError:  # another process was faster; what it made is as good
        if read_sizes(folder) is None:
            raise
        shutil.rmtree(work, ignore_errors=True)


def _checksum(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
