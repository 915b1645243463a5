"""How does a test get a machine with systemd, to break and throw away?

systemd-nspawn boots this machine's own files, with a layer above them (overlayfs) that takes every
change: nothing is downloaded, and nothing of this machine is written to. It knows no smolwatch.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeVar

T = TypeVar("T")

# What is hidden or empty within: nspawn mounts its own here.
HIDDEN = ("/proc/", "/sys/", "/dev/", "/run/", "/tmp/")
BOOT_S = 180.0
TOOLS = ("systemd-nspawn", "nsenter", "mount", "umount")


class NoContainer(Exception):
    """This machine cannot boot one; the message says why."""


class Container:
    """A booted machine. `root` is its file system, seen from outside."""

    def __init__(self, root: Path, leader: int) -> None:
        self.root = root
        self._leader = leader

    def run(self, *command: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a command as its root, whatever comes out."""
        return subprocess.run(
            ["nsenter", "-a", "-t", str(self._leader), "--", *command],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
        )

    def out_of(self, *command: str, timeout_s: float = 120.0) -> str:
        """What a command prints that must succeed."""
        done = self.run(*command, timeout_s=timeout_s)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def outside_pid(self, pid: int) -> int:
        """The id, outside, of a process that has `pid` within."""
        mine = Path(f"/proc/{self._leader}/ns/pid").readlink()
        for status in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):
                if (status.with_name("ns") / "pid").readlink() != mine:
                    continue
                ids = next(x for x in status.read_text().splitlines() if x.startswith("NSpid"))
                if ids.split()[-1] == str(pid):
                    return int(status.parent.name)
        raise AssertionError(f"no process {pid} within")


@contextlib.contextmanager
def layer(scratch: Path) -> Iterator[Path]:
    """This machine's files with a layer above them. Raises `NoContainer`."""
    if os.geteuid() != 0:
        raise NoContainer("needs root")
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise NoContainer(f"{', '.join(missing)} not installed (Debian: systemd-container)")
    upper, work, root = (scratch / name for name in ("upper", "work", "root"))
    for folder in (upper, work, root):
        folder.mkdir()
    options = f"lowerdir=/,upperdir={upper},workdir={work}"
    done = subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", options, root],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NoContainer(f"no overlayfs here: {done.stderr.strip()}")
    try:
        yield root
    finally:
        subprocess.run(["umount", "-l", root], check=False)


def within(root: Path, *command: str, timeout_s: float = 300.0) -> str:
    """What a command prints in `root` before it is booted."""
    done = subprocess.run(
        [*_nspawn(root), "--as-pid2", "--quiet", "--console=pipe", *command],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def booted(root: Path, log: Path) -> Iterator[Container]:
    """Boot `root`, without a network. Raises `NoContainer`."""
    with log.open("wb") as sink:
        nspawn = _boot(root, sink)
        try:
            leader = _until(lambda: _leader_of(nspawn), BOOT_S)
            if leader is None:
                raise NoContainer(f"it did not boot: {log.read_text(errors='replace')[-2000:]}")
            container = Container(root, leader)
            if _until(lambda: _is_up(container), BOOT_S) is None:
                raise NoContainer(f"it does not come up: {_why_not_up(container, log)}")
            yield container
        finally:
            nspawn.terminate()  # a clean shutdown
            try:
                nspawn.wait(60)
            except subprocess.TimeoutExpired:
                nspawn.kill()
                nspawn.wait(60)


def _nspawn(root: Path) -> list[str]:
    # Neither registered nor given a scope: there may be no systemd outside to do so.
    return ["systemd-nspawn", "-D", str(root), "--register=no", "--keep-unit", "--private-network"]


def _boot(root: Path, sink: IO[bytes]) -> subprocess.Popen[bytes]:
    # basic.target: none of the services that happen to be installed here.
    command = [*_nspawn(root), "--boot", "--console=pipe", "systemd.unit=basic.target"]
    return subprocess.Popen(command, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL)


def _leader_of(nspawn: subprocess.Popen[bytes]) -> int | None:
    for children in Path(f"/proc/{nspawn.pid}/task").glob("*/children"):
        for child in children.read_text().split():
            with contextlib.suppress(OSError):
                if "systemd" in Path(f"/proc/{child}/comm").read_text():
                    return int(child)
    return None


def _why_not_up(container: Container, log: Path) -> str:
    asked = (("is-system-running",), ("list-jobs", "--no-pager"), ("--failed", "--no-pager"))
    told = [container.run("systemctl", *words, timeout_s=30) for words in asked]
    said = [log.read_text(errors="replace")[-2000:], *(f"{one.stdout}{one.stderr}" for one in told)]
    return "\n".join(said)


def _is_up(container: Container) -> bool | None:
    said = container.run("systemctl", "is-system-running", timeout_s=30).stdout.strip()
    return True if said in {"running", "degraded"} else None


def _until(found: Callable[[], T | None], bound_s: float) -> T | None:
    end_s = time.monotonic() + bound_s
    while time.monotonic() < end_s:
        result = found()
        if result is not None:
            return result
        time.sleep(0.2)
    return None


def wait_for(what: Callable[[], bool], bound_s: float, words: Callable[[], str]) -> None:
    """Wait until `what` is so; fail with `words` after `bound_s`."""
    assert _until(lambda: what() or None, bound_s), words()
