"""What must change on a machine so that smolwatch is its service, or is it no longer?

Decides and changes nothing: what is there comes in as texts, steps come out (`daemon.install` takes
them). Paths are the machine's own; where its root is mounted is not known here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

UNITS: Final = PurePosixPath("/etc/systemd/system")
SETTINGS: Final = PurePosixPath("/etc/smolwatch")
CONFIG: Final = SETTINGS / "smolwatch.yaml"
RECORD: Final = SETTINGS / ".installed.json"  # what we wrote, so that it is known what was edited
SYSUSERS: Final = PurePosixPath("/etc/sysusers.d/smolwatch.conf")
TMPFILES: Final = PurePosixPath("/etc/tmpfiles.d/smolwatch.conf")
DATA: Final = (PurePosixPath("/var/lib/smolwatch"), PurePosixPath("/var/cache/smolwatch"))
SERVICE: Final = "smolwatch.service"

SYSTEMD_NEEDED: Final = 250  # LoadCredential= of a folder
_NOTIFY_RELOAD: Final = 253
_SHIPPED_PREFIX: Final = "/opt/smolwatch/bin/smolwatch"
_DROP_INS: Final = f"{SERVICE}.d"
_MODEL_UNIT: Final = "smolwatch-model@.service"
_OURS: Final = frozenset({UNITS / SERVICE, UNITS / _MODEL_UNIT, SYSUSERS, TMPFILES})


@dataclass(frozen=True, slots=True)
class Write:
    """Write a file, after making its folder."""

    path: PurePosixPath
    text: str
    mode: int = 0o644
    why: str = ""


@dataclass(frozen=True, slots=True)
class Keep:
    """Leave a file as it is."""

    path: PurePosixPath
    why: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete a file, or a folder with all that is in it, where it is there."""

    path: PurePosixPath


@dataclass(frozen=True, slots=True)
class Run:
    """Run a command."""

    command: tuple[str, ...]
    may_fail: bool = False


Step = Write | Keep | Remove | Run
Read = Callable[[PurePosixPath], str | None]  # a file's text; None: it is not there


@dataclass(frozen=True, slots=True)
class Wish:
    """What whoever installs has chosen, and what the machine is like."""

    command: str  # the smolwatch that the units start, as the machine sees it
    systemd: int
    root: Path = Path("/")
    gpu: bool = False
    enable: bool = True
    now: bool = False
    running: bool = True  # systemd runs this root

    @property
    def is_image(self) -> bool:
        """Whether another root than this machine's is changed."""
        return self.root != Path("/")


def digest(text: str) -> str:
    """What stands in the record for a file's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def files_wanted(wish: Wish, text_of: Callable[[str], str]) -> dict[PurePosixPath, str]:
    """Each file that an update writes anew, with its text; `text_of`: of one that is shipped."""
    command = _quoted(wish.command)
    wanted = {
        UNITS / name: text_of(f"systemd/{name}").replace(_SHIPPED_PREFIX, command)
        for name in (SERVICE, _MODEL_UNIT)
    }
    drop_ins = {"gpu.conf": wish.gpu, "notify-reload.conf": wish.systemd >= _NOTIFY_RELOAD}
    for name, is_wanted in drop_ins.items():
        if is_wanted:
            wanted[UNITS / _DROP_INS / name] = text_of(f"systemd/{_DROP_INS}/{name}")
    wanted[SYSUSERS] = text_of("systemd/sysusers.d/smolwatch.conf")
    wanted[TMPFILES] = text_of("systemd/tmpfiles.d/smolwatch.conf")
    for name in ("smolwatch.example.yaml", "config.schema.json"):
        wanted[SETTINGS / name] = text_of(f"configs/{name}")
    return wanted


def plan_install(
    wish: Wish, wanted: Mapping[PurePosixPath, str], read: Read, record: Mapping[str, str]
) -> Iterator[Step]:
    """The steps, in their order. `record`: path -> digest of what an earlier install wrote."""
    files = [_written(p, text, read(p), record.get(str(p))) for p, text in wanted.items()]
    yield from files
    had = {PurePosixPath(name) for name in record} - set(wanted) - {step.path for step in files}
    yield from _dismissed(had, read, record, purge=False)  # an earlier release or choice had them
    if read(CONFIG) is None:
        example = wanted[SETTINGS / "smolwatch.example.yaml"]
        yield Write(CONFIG, example, 0o640, "to be edited: name your broker and cameras")
    else:
        yield Keep(CONFIG, "yours")
    # By name, not by path: a path would not be looked for within the root.
    yield Run(("systemd-sysusers", *_at_root(wish), SYSUSERS.name))
    yield Run(("systemd-tmpfiles", "--create", *_at_root(wish), TMPFILES.name))
    if wish.running:
        yield Run(("systemctl", "daemon-reload"))
    if wish.enable:
        now = ("--now",) if wish.now and wish.running else ()
        yield Run(("systemctl", *_at_root(wish), "enable", *now, SERVICE))


def plan_uninstall(
    wish: Wish, read: Read, record: Mapping[str, str], *, purge: bool
) -> Iterator[Step]:
    """The steps that undo it. Without `purge` configuration, credentials and data stay."""
    now = ("--now",) if wish.running else ()
    yield Run(("systemctl", *_at_root(wish), "disable", *now, SERVICE), may_fail=True)
    had = {PurePosixPath(name) for name in record} | _OURS
    yield from _dismissed(had, read, record, purge=purge)
    yield Remove(RECORD)
    if purge:
        yield Remove(UNITS / _DROP_INS)  # with whatever `systemctl edit` put there
        yield from (Remove(path) for path in (SETTINGS, *DATA))
    else:
        reason = "yours; --purge deletes it"
        yield from (Keep(path, reason) for path in (CONFIG, SETTINGS / "credentials", *DATA))
    if wish.running:
        yield Run(("systemctl", "daemon-reload"))
    if purge:
        prefix = ("--prefix", str(wish.root)) if wish.is_image else ()
        yield Run(("userdel", *prefix, "smolwatch"), may_fail=True)


def record_of(steps: Iterable[Step], wanted: Mapping[PurePosixPath, str]) -> dict[str, str]:
    """The record once the steps of `plan_install` have been taken."""
    found: dict[str, str] = {}
    for step in steps:
        if isinstance(step, Write) and step.path != CONFIG:
            found[str(step.path)] = digest(step.text)
        elif isinstance(step, Keep) and step.path in wanted:
            found[str(step.path)] = digest(wanted[step.path])  # it was there already
    return found


def _written(path: PurePosixPath, text: str, there: str | None, known: str | None) -> Write | Keep:
    if there == text:
        return Keep(path, "unchanged")
    if there is not None and digest(there) != known:
        beside = path.with_name(f"{path.name}.new")
        return Write(beside, text, why=f"{path.name} has been edited and stays as it is; compare")
    return Write(path, text)


def _dismissed(
    paths: Iterable[PurePosixPath], read: Read, record: Mapping[str, str], *, purge: bool
) -> Iterator[Step]:
    for path in sorted(paths):
        text = read(path)
        if text is not None and (purge or digest(text) == record.get(str(path))):
            yield Remove(path)
        elif text is not None:
            yield Keep(path, "edited; `smolwatch uninstall --purge` deletes it")


def _at_root(wish: Wish) -> tuple[str, ...]:
    return (f"--root={wish.root}",) if wish.is_image else ()


def _quoted(command: str) -> str:
    """`command` as ExecStart= takes it (systemd.service(5), "Command lines")."""
    escaped = command.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if set(escaped) & set(" \"\\'") else escaped
