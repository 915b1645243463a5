"""How does systemd see the service, and may this user talk to it?

Knows `systemctl show` and the control socket; changes nothing.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from daemon.control import ControlError, NotRunning, knock
from daemon.findings import Finding

_ASKED: Final = (
    "LoadState", "UnitFileState", "ActiveState", "SubState", "Result", "NRestarts", "MemoryMax",
    "MemoryCurrent", "LimitNOFILE", "WatchdogUSec", "StatusText",
)  # fmt: skip
_BOOTED: Final = Path("/run/systemd/system")
_PATIENCE_S: Final = 10.0
_FEW_FILES: Final = 1024
_OFTEN: Final = 5


def unit() -> Iterator[Finding]:
    """The unit's state and limits; nothing to say where there is no systemd."""
    systemctl = shutil.which("systemctl")
    if systemctl is None or not _BOOTED.exists():
        yield Finding("ok", "service", "no systemd here: whoever starts smolwatch watches over it")
        return
    try:
        run = subprocess.run(  # noqa: S603 - a fixed command
            [systemctl, "show", "smolwatch.service", "-p", ",".join(_ASKED)],
            capture_output=True, text=True, timeout=_PATIENCE_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Finding("warn", "service", f"systemctl gives no answer: {type(error).__name__}")
        return
    lines = (line.partition("=") for line in run.stdout.splitlines())
    yield from judged({key: value for key, _, value in lines})


def judged(told: Mapping[str, str]) -> Iterator[Finding]:
    """What the properties of the unit mean."""
    if told.get("LoadState") != "loaded":
        yield Finding("warn", "service", "not installed", "sudo smolwatch install")
        return
    state = f"{told.get('ActiveState', '?')} ({told.get('SubState', '?')})"
    status = told.get("StatusText", "")
    restarts = int(told.get("NRestarts", "0") or 0)
    text = f"{state}, {restarts} restarts{f': {status}' if status else ''}"
    logs = "journalctl -u smolwatch -p warning -n 50 says why"
    if told.get("ActiveState") == "failed":
        yield Finding("fail", "service", f"{text}; last result: {told.get('Result', '?')}", logs)
    elif told.get("ActiveState") == "inactive":
        yield Finding("warn", "service", text, "sudo systemctl start smolwatch")
    elif restarts >= _OFTEN:
        yield Finding("warn", "service", text, logs)
    else:
        yield Finding("ok", "service", text)
    if told.get("UnitFileState") == "disabled":
        fix = "sudo systemctl enable smolwatch"
        yield Finding("warn", "service", "it does not start with the machine", fix)
    yield from _limits(told)


def _limits(told: Mapping[str, str]) -> Iterator[Finding]:
    most, used = told.get("MemoryMax", ""), told.get("MemoryCurrent", "")
    if most.isdecimal() and used.isdecimal() and int(used) > 0.9 * int(most):
        yield Finding(
            "warn", "limits", f"{int(used) >> 20} of {int(most) >> 20} MiB of memory are used",
            "raise MemoryMax (systemctl edit smolwatch), or take a smaller model",
        )  # fmt: skip
    files = told.get("LimitNOFILE", "")
    if files.isdecimal() and int(files) < _FEW_FILES:
        fix = f"LimitNOFILE={_FEW_FILES} in `systemctl edit smolwatch`"
        yield Finding("warn", "limits", f"only {files} open files are allowed", fix)
    if told.get("WatchdogUSec") in {"0", "infinity"}:
        fix = "WatchdogSec=60s in `systemctl edit smolwatch`, as in the unit that comes with it"
        yield Finding("warn", "limits", "no watchdog: a daemon that hangs is not restarted", fix)


def talking(path: Path) -> Finding:
    """Whether a daemon answers at its socket, and answers this user."""
    try:
        knock(path)
    except NotRunning:
        return Finding(
            "warn", "socket", f"no daemon answers at {path}",
            "start it (systemctl start smolwatch), or name its socket in control.path",
        )  # fmt: skip
    except ControlError as error:
        said, _, fix = str(error).partition(": ")[2].partition(": ")
        return Finding("fail", "socket", f"{path}: {said}", fix or None)
    return Finding("ok", "socket", f"the daemon listens at {path}")
