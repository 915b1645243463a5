"""How are the steps of an installation taken?

Knows files, rights and commands, and not what they are for. Each step is told before it is taken;
the first that fails ends it, and doing it again goes on from there.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Final

from daemon.install_plan import (
    RECORD,
    SYSTEMD_NEEDED,
    Keep,
    Remove,
    Run,
    Step,
    Write,
    record_of,
)
from pipelines.errors import SmolwatchError

_COMMAND_TIMEOUT_S: Final = 120.0
# Hidden from the service: ProtectHome= and PrivateTmp= in its unit.
_HIDDEN: Final = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - not used
_FRESH: Final = (
    "sudo python3 -m venv /opt/smolwatch && sudo /opt/smolwatch/bin/pip install smolwatch"
)

Say = Callable[[str], None]


class InstallError(SmolwatchError):
    """It cannot be installed; the message says what to do."""


class Machine:
    """The file system below `root`, and its commands."""

    def __init__(self, root: Path, say: Say, *, dry_run: bool = False) -> None:
        self._root = root
        self._say = say
        self._dry_run = dry_run

    def read(self, path: PurePosixPath) -> str | None:
        """A file's text; None if it is not there. Raises `InstallError`."""
        try:
            return self._at(path).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise InstallError(f"{self._at(path)} cannot be read: {error}") from error

    def record(self) -> dict[str, str]:
        """What an earlier installation wrote. Raises `InstallError`."""
        text = self.read(RECORD)
        try:
            known = json.loads(text) if text is not None else {}
        except ValueError as error:
            where = self._at(RECORD)
            raise InstallError(f"{where} is damaged ({error}): delete it and try again") from error
        return {str(path): str(digest) for path, digest in known.items()}

    def take(self, steps: Iterable[Step]) -> None:
        """Take the steps, telling each. Raises `InstallError`."""
        for step in steps:
            if isinstance(step, Keep | Remove) and not os.path.lexists(self._at(step.path)):
                continue
            self._say(f"{'would ' if self._dry_run else ''}{_told(step, self._root)}")
            if self._dry_run or isinstance(step, Keep):
                continue
            try:
                self._take(step)
            except OSError as error:
                raise InstallError(f"{_told(step, self._root)}: {error.strerror}") from error

    def _take(self, step: Write | Remove | Run) -> None:
        if isinstance(step, Write):
            _write(self._at(step.path), step.text, step.mode)
        elif isinstance(step, Remove):
            _remove(self._at(step.path))
        else:
            _run(step)

    def _at(self, path: PurePosixPath) -> Path:
        return self._root / path.relative_to("/")


def install(machine: Machine, steps: list[Step], wanted: dict[PurePosixPath, str]) -> None:
    """Take the steps of `plan_install`, and write down what was written. Raises `InstallError`."""
    files = [step for step in steps if not isinstance(step, Run)]
    machine.take(files)
    record = json.dumps(record_of(files, wanted), indent=1, sort_keys=True)
    machine.take([Write(RECORD, f"{record}\n")])
    machine.take([step for step in steps if isinstance(step, Run)])


def systemd_version() -> int:
    """Which systemd this machine has. Raises `InstallError` where there is none, or too old."""
    tool = shutil.which("systemctl")
    if tool is None:
        raise InstallError("systemctl is not here: smolwatch's service needs systemd")
    done = subprocess.run(  # noqa: S603 - the path is `which`'s
        [tool, "--version"], capture_output=True, text=True, timeout=30, check=False
    )
    try:
        found = int(done.stdout.split()[1].partition(".")[0])
    except (IndexError, ValueError) as error:
        raise InstallError(f"{tool} --version says no version: {done.stdout!r}") from error
    if found < SYSTEMD_NEEDED:
        raise InstallError(f"systemd {found} is here; the service needs {SYSTEMD_NEEDED} or newer")
    return found


def check_reachable(command: Path, *needed: Path) -> None:
    """Refuse a smolwatch that the service could not start.

    `needed`: folders that it reads, such as the interpreter's. Raises `InstallError`.
    """
    if not command.is_file():
        raise InstallError(
            f"there is no {command}: install smolwatch itself, for example {_FRESH}; or name its "
            "environment with --prefix"
        )
    for path in (command, *needed):
        for seen in (path, path.resolve()):
            if seen.as_posix().startswith(tuple(f"{hidden}/" for hidden in _HIDDEN)):
                raise InstallError(
                    f"{seen} is where a service cannot look (ProtectHome=, PrivateTmp=): install "
                    f"smolwatch where it can, for example {_FRESH}"
                )
            _check_open(seen)


def _check_open(path: Path) -> None:
    for folder in path.parents:
        if not folder.stat().st_mode & stat.S_IXOTH:
            raise InstallError(
                f"{folder} is closed to the user smolwatch, and {path} is below it: "
                f"chmod o+x {shlex.quote(str(folder))}, or install smolwatch elsewhere"
            )


def _told(step: Step, root: Path) -> str:
    if isinstance(step, Run):
        return f"run     {shlex.join(step.command)}"
    path = root / step.path.relative_to("/")
    if isinstance(step, Write):
        return f"write   {path}{f'  ({step.why})' if step.why else ''}"
    if isinstance(step, Keep):
        return f"keep    {path}  ({step.why})"
    return f"remove  {path}"


def _write(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    # Beside it first: half a unit is never there, nor a readable moment of what is not for all.
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
    part.replace(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
        return
    path.unlink(missing_ok=True)
    if path.parent.name.endswith(".service.d"):
        with contextlib.suppress(OSError):  # not empty: somebody's own drop-ins
            path.parent.rmdir()


def _run(step: Run) -> None:
    tool = shutil.which(step.command[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if tool is None:
        raise InstallError(f"{step.command[0]} is not here: install the package systemd")
    try:
        done = subprocess.run(  # noqa: S603 - our own commands
            [tool, *step.command[1:]], timeout=_COMMAND_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise InstallError(f"{shlex.join(step.command)} took too long") from error
    if done.returncode and not step.may_fail:
        raise InstallError(f"{shlex.join(step.command)} failed; its words are above")
