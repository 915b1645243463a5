"""How does systemd learn that we are ready, and that we still make progress?

Knows no thread: heartbeats and times come in. Outside systemd (no `NOTIFY_SOCKET`) nothing is
sent. See sd_notify(3) and sd_watchdog_enabled(3).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sdnotify

_SEND_TIMEOUT_S = 1.0  # a datagram socket blocks while systemd's queue is full


class Notifier:
    """Tells systemd what state the service is in. Whether it listens is never known."""

    def __init__(self) -> None:
        self._systemd: sdnotify.SystemdNotifier | None = None
        if os.environ.get("NOTIFY_SOCKET"):
            self._systemd = sdnotify.SystemdNotifier()
            if self._systemd.socket is not None:
                self._systemd.socket.settimeout(_SEND_TIMEOUT_S)

    def ready(self) -> None:
        """Starting is over."""
        self._send("READY=1")

    def reloading(self, now_s: float) -> None:
        """The configuration is being changed; `ready` ends it. See systemd.service(5), Type=."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now_s * 1e6:.0f}")

    def status(self, text: str) -> None:
        """Show one line in `systemctl status`."""
        line = " ".join(text.split())  # a line end would begin another message
        self._send(f"STATUS={line}")

    def watchdog(self) -> None:
        """Say that the service is alive."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the service ends on purpose."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Close the socket; nothing is sent afterwards."""
        if self._systemd is not None and self._systemd.socket is not None:
            self._systemd.socket.close()
        self._systemd = None

    def _send(self, message: str) -> None:
        if self._systemd is not None:
            # sdnotify encodes as Latin-1 and drops what that cannot hold; systemd reads UTF-8.
            self._systemd.notify(message.encode().decode("latin-1"))


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """When a part of the daemon last made progress, and how long that may take."""

    name: str  # as shown to people: "capture porch"
    last_s: float  # monotonic
    bound_s: float

    def is_late(self, now_s: float) -> bool:
        """Whether the part is stuck."""
        return now_s - self.last_s > self.bound_s


class Watchdog:
    """Feeds systemd's watchdog while every part makes progress, and only then.

    `interval_s` is the shortest time between two feeds, see `watchdog_interval_s`; None sends
    none, but still finds who is stuck.
    """

    def __init__(self, notifier: Notifier, interval_s: float | None) -> None:
        self._notifier = notifier
        self._interval_s = interval_s
        self._fed_s: float | None = None
        self._stuck: tuple[str, ...] = ()

    def check(self, heartbeats: Iterable[Heartbeat], now_s: float) -> tuple[str, ...]:
        """Feed if nobody is stuck; else name those that are, here and in the unit's status.

        To be called about once a second, from the main thread. `now_s` is monotonic.
        """
        stuck = tuple(beat.name for beat in heartbeats if beat.is_late(now_s))
        if stuck and stuck != self._stuck:
            self._notifier.status(f"stuck: {', '.join(stuck)}; waiting for the watchdog")
        self._stuck = stuck
        if not stuck and self._is_due(now_s):
            self._fed_s = now_s
            self._notifier.watchdog()
        return stuck

    def _is_due(self, now_s: float) -> bool:
        if self._interval_s is None:
            return False
        return self._fed_s is None or now_s - self._fed_s >= self._interval_s


def watchdog_interval_s(env: Mapping[str, str], pid: int) -> float | None:
    """How often to feed: a third of `WatchdogSec=`, or None if systemd does not wait for it.

    A third, so that one late feed is forgiven.
    """
    if env.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    microseconds = env.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    return int(microseconds) / 1e6 / 3
