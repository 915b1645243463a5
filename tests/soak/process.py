"""How does the daemon live, and what does it cost?

Knows the process: its signals, what it tells systemd, and what /proc says of it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

WATCHDOG_S: Final = 60.0  # as in systemd/smolwatch.service
STOP_S: Final = 20.0  # a stop has 5 s on a machine that has time
_REPOSITORY: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the process."""

    at_s: float  # since the soak began
    memory: int  # bytes of its own, without files that are mapped
    files: int
    threads: int


@dataclass(slots=True)
class Life:
    """From one start of the process to its end."""

    begun_s: float
    samples: list[Sample] = field(default_factory=list)
    ready_s: float | None = None
    ended_s: float = 0.0
    how: str = ""  # `killed`, `stopped`
    code: int | None = None
    stop_took_s: float = 0.0
    longest_unfed_s: float = 0.0  # between two words to the watchdog


class Process:
    """`smolwatch run` in a process of its own, told of a notify socket as systemd would."""

    def __init__(self, folder: Path, config: Path, began_s: float) -> None:
        self.lives: list[Life] = []
        self.log = folder / "daemon.log"
        self._folder = folder
        self._config = config
        self._began_s = began_s
        self._process: subprocess.Popen[bytes] | None = None
        self._notify: socket.socket | None = None
        self._fed_s = 0.0

    @property
    def life(self) -> Life:
        """The one that goes on, or the last one."""
        return self.lives[-1]

    @property
    def ready(self) -> bool:
        """Whether it has said so."""
        return self._process is not None and self.life.ready_s is not None

    def start(self) -> None:
        path = self._folder / "notify"
        path.unlink(missing_ok=True)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(path))
        self._notify.setblocking(False)
        env = os.environ | {
            "NOTIFY_SOCKET": str(path),
            "WATCHDOG_USEC": str(round(WATCHDOG_S * 1e6)),
            "PYTHONPATH": str(_REPOSITORY),
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "daemon.cli", "run", "-c", str(self._config)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd=self._folder,
            )  # fmt: skip
        self.lives.append(Life(self._now_s()))

    def look(self) -> None:
        """Take a sample, and hear what systemd is told. Fails if it has ended by itself."""
        if self._process is None or self._notify is None:
            return
        code = self._process.poll()
        assert code is None, f"the daemon ended by itself with {code}: see {self.log}"
        self._hear(self._notify)
        status = _fields(Path(f"/proc/{self._process.pid}/status"))
        files = len(os.listdir(f"/proc/{self._process.pid}/fd"))  # noqa: PTH208
        self.life.samples.append(
            Sample(self._now_s(), status["RssAnon"] * 1024, files, status["Threads"])
        )

    def hang_up(self) -> None:
        """SIGHUP, once it obeys it."""
        if self.ready and self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """As a power cut would, but for the disk."""
        self._end(signal.SIGKILL, "killed")

    def stop(self) -> None:
        """As systemd would."""
        self._end(signal.SIGTERM, "stopped")

    def _end(self, number: signal.Signals, how: str) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        asked_s = time.monotonic()
        process.send_signal(number)
        try:
            self.life.code = process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            self.life.code = process.wait(STOP_S)
        self.life.stop_took_s = time.monotonic() - asked_s
        self.life.ended_s, self.life.how = self._now_s(), how
        if self._notify is not None:
            self._notify.close()

    def _hear(self, notify: socket.socket) -> None:
        now_s = self._now_s()
        while True:
            try:
                said = notify.recv(4096).decode()
            except BlockingIOError:
                break
            if "READY=1" in said and self.life.ready_s is None:
                self.life.ready_s = self._fed_s = now_s
            if "WATCHDOG=1" in said:
                self._fed_s = now_s
        if self.life.ready_s is not None:
            unfed_s = now_s - self._fed_s
            self.life.longest_unfed_s = max(self.life.longest_unfed_s, unfed_s)

    def _now_s(self) -> float:
        return time.monotonic() - self._began_s


def _fields(path: Path) -> dict[str, int]:
    """The numbers of /proc/PID/status; memory is in kB."""
    found = {}
    for line in path.read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        number = value.split()[:1]
        if number and number[0].isdigit():
            found[name] = int(number[0])
    return found
