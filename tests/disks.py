"""How does a test get a disk of its own, to fill up and to break?

Knows mounts and loop devices; nothing of what is written there. Needs root, else tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A file system in memory."""
    folder.mkdir()
    _run_or_skip("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, name: str, leave_bytes: int) -> Path:
    """Take all room but so much."""
    state = os.statvfs(folder)
    path = folder / name
    with path.open("wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, state.f_bavail * state.f_frsize - leave_bytes)
    return path


class Stick:
    """An ext4 on a loop device, as a USB stick is: it fails, is pulled out and put in again."""

    def __init__(self, image: Path, folder: Path, num_bytes: int) -> None:
        self.folder = folder
        self._image = image
        with image.open("wb") as disk:
            disk.truncate(num_bytes)
        _run_or_skip("mkfs.ext4", "-q", "-m", "0", str(image))
        folder.mkdir()
        self.put_in()

    def put_in(self) -> None:
        _run_or_skip("mount", "-o", "loop,errors=remount-ro", str(self._image), str(self.folder))

    def pull_out(self) -> None:
        """Whoever has files open there keeps the file system that is gone."""
        subprocess.run(["umount", "-l", str(self.folder)], check=True)

    def fail(self) -> None:
        """What Linux does with a disk on which it finds an error: nobody writes there any more.

        What was written before is on it.
        """
        subprocess.run(["sync", "-f", str(self.folder)], check=True)
        source = next(
            line.split()[0]
            for line in Path("/proc/mounts").read_text().splitlines()
            if line.split()[1] == str(self.folder)
        )
        trigger = Path("/sys/fs/ext4") / Path(source).name / "trigger_fs_error"
        if not trigger.exists():
            pytest.skip("this kernel's ext4 cannot be made to fail")
        trigger.write_text("a test")

    def mend(self) -> None:
        """Check it, on another device: the one that failed is held by whoever has files open."""
        copy = self._image.with_name(f"{self._image.name}.mended")
        shutil.copyfile(self._image, copy)
        done = subprocess.run(["e2fsck", "-fy", str(copy)], capture_output=True, check=False)
        assert done.returncode in {0, 1}, done.stdout  # 1: errors were corrected
        self._image = copy


@contextmanager
def stick(scratch: Path, num_bytes: int = 256 << 20) -> Iterator[Stick]:
    """One that is put in."""
    one = Stick(scratch / "stick.img", scratch / "stick", num_bytes)
    try:
        yield one
    finally:
        subprocess.run(["umount", "-l", str(one.folder)], check=False, capture_output=True)


def _run_or_skip(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no file system can be made or mounted here: {done.stderr.strip()}")
