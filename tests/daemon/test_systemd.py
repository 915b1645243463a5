"""Does systemd hear what it should, and is the unit as tight as it says?"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.systemd import Heartbeat, Notifier, Watchdog, watchdog_interval_s

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "systemd" / "smolwatch.service"


class Systemd:
    """The receiving end of a notification socket."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)  # what was sent on this machine is already there

    def heard(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    address = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    receiver = Systemd(address)
    yield receiver
    receiver.close()


@pytest.fixture
def notifier(systemd: Systemd) -> Iterator[Notifier]:
    sender = Notifier()
    yield sender
    sender.close()


def test_the_life_of_a_service(systemd: Systemd, notifier: Notifier) -> None:
    notifier.status("loading 256m")
    notifier.ready()
    notifier.watchdog()
    notifier.stopping()
    assert systemd.heard() == ["STATUS=loading 256m", "READY=1", "WATCHDOG=1", "STOPPING=1"]


def test_a_status_is_one_line_in_any_script(systemd: Systemd, notifier: Notifier) -> None:
    notifier.status("Kamera „Straße“ 玄関\nWATCHDOG=1")
    assert systemd.heard() == ["STATUS=Kamera „Straße“ 玄関 WATCHDOG=1"]


def test_abstract_sockets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = f"smolwatch-test-{tmp_path}"
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    receiver, sender = Systemd(f"\0{name}"), Notifier()
    sender.ready()
    assert receiver.heard() == ["READY=1"]
    sender.close()
    receiver.close()


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = Notifier()
    assert notifier._systemd is None  # nothing to send to
    notifier.ready()
    notifier.close()


def test_a_systemd_that_has_gone_is_no_error(systemd: Systemd, notifier: Notifier) -> None:
    systemd.close()
    notifier.watchdog()
    notifier.close()
    notifier.watchdog()
    assert notifier._systemd is None


def test_fed_while_all_make_progress(systemd: Systemd, notifier: Notifier) -> None:
    watchdog = Watchdog(notifier, interval_s=20)
    fed_at = []
    for now_s in range(100, 160):
        beats = [Heartbeat("inference", now_s - 5, bound_s=30)]
        assert watchdog.check(beats, now_s) == ()
        fed_at += [now_s for _ in systemd.heard()]
    assert fed_at == [100, 120, 140]


def test_not_fed_while_one_is_stuck_and_its_name_is_told(
    systemd: Systemd, notifier: Notifier
) -> None:
    watchdog = Watchdog(notifier, interval_s=1)
    capture = Heartbeat("capture porch", last_s=100, bound_s=10)
    assert watchdog.check([Heartbeat("inference", 110, 10), capture], 110) == ()
    assert systemd.heard() == ["WATCHDOG=1"]
    for now_s in (111, 112, 113):
        inference = Heartbeat("inference", now_s, 10)
        assert watchdog.check([inference, capture], now_s) == ("capture porch",)
    assert systemd.heard() == ["STATUS=stuck: capture porch; waiting for the watchdog"]
    assert watchdog.check([Heartbeat("capture porch", 114, 10)], 114) == ()
    assert systemd.heard() == ["WATCHDOG=1"]


def test_without_a_watchdog_the_stuck_are_still_found(systemd: Systemd, notifier: Notifier) -> None:
    watchdog = Watchdog(notifier, interval_s=None)
    assert watchdog.check([Heartbeat("inference", 0, 10)], 5) == ()
    assert watchdog.check([Heartbeat("inference", 0, 10)], 50) == ("inference",)
    assert not any("WATCHDOG" in message for message in systemd.heard())


@pytest.mark.parametrize(
    ("env", "seconds"),
    [
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}, 20.0),
        ({"WATCHDOG_USEC": "60000000"}, 20.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0", "WATCHDOG_PID": "7"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_how_often_systemd_wants_to_hear(env: dict[str, str], seconds: float | None) -> None:
    assert watchdog_interval_s(env, pid=7) == seconds


def systemd_tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    tool = shutil.which(name)
    if tool is None:
        pytest.skip(f"{name} is not installed (Debian package systemd)")
    return subprocess.run(
        [tool, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


UNITS = sorted((ROOT / "systemd").glob("*.service"))
DROP_INS = sorted((ROOT / "systemd").glob("*.service.d/*.conf"))


def systemd_version() -> int:
    said = systemd_tool("systemd-analyze", "--version").stdout
    return int(said.split()[1].partition(".")[0])


def laid_out(folder: Path, unit: Path, *drop_ins: Path) -> Path:
    """`unit` with some of its drop-ins; beside it in the repository they are all."""
    for drop_in in drop_ins:
        place = folder / drop_in.parent.name
        place.mkdir(exist_ok=True)
        shutil.copy(drop_in, place)
    return Path(shutil.copy(unit, folder))


def complaints(unit: Path) -> list[str]:
    # It returns 0 even for values it ignores: what counts is what it says.
    said = systemd_tool("systemd-analyze", "verify", str(unit)).stderr.splitlines()
    return [line for line in said if "is not executable: No such file" not in line]


def exposure(unit: Path) -> float:
    run = systemd_tool(
        "systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", str(unit)
    )
    if "unrecognized option" in run.stderr:
        pytest.skip("this systemd-analyze is older than 250 and judges no files")
    found = re.search(r"Overall exposure level for \S+\.service: ([0-9.]+)", run.stdout)
    assert found, run.stdout + run.stderr
    return float(found.group(1))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_nothing_wrong_with_a_unit(unit: Path, tmp_path: Path) -> None:
    assert complaints(laid_out(tmp_path, unit)) == []


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda drop_in: drop_in.name)
def test_systemd_finds_nothing_wrong_with_a_drop_in(drop_in: Path, tmp_path: Path) -> None:
    if drop_in.name == "notify-reload.conf" and systemd_version() < 253:
        # An older one must say so: else the test sees no drop-ins at all.
        assert any(
            "notify-reload" in line for line in complaints(laid_out(tmp_path, UNIT, drop_in))
        )
        pytest.skip("notify-reload is for systemd 253 and newer")
    assert complaints(laid_out(tmp_path, UNIT, drop_in)) == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_is_exposed_at_most_1_5(unit: Path, tmp_path: Path) -> None:
    assert exposure(laid_out(tmp_path, unit)) <= 1.5


def test_with_gpu_the_unit_is_exposed_at_most_1_5(tmp_path: Path) -> None:
    gpu = UNIT.with_name("smolwatch.service.d") / "gpu.conf"
    assert exposure(laid_out(tmp_path, UNIT, gpu)) <= 1.5


def test_exposure_is_seen(tmp_path: Path) -> None:
    unit = tmp_path / "bare.service"
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    assert exposure(unit) > 9


def test_the_model_is_fetched_to_where_the_daemon_looks() -> None:
    def settings(name: str) -> set[str]:
        lines = UNIT.with_name(name).read_text().splitlines()
        return {
            line for line in lines if line.startswith(("User=", "CacheD", "Environment=HF_HOME"))
        }

    assert settings("smolwatch-model@.service") == settings("smolwatch.service")


def test_the_user_can_be_made() -> None:
    conf = ROOT / "systemd" / "sysusers.d" / "smolwatch.conf"
    run = systemd_tool("systemd-sysusers", "--dry-run", str(conf))
    assert (run.returncode, run.stderr.count("ignoring")) == (0, 0), run.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to root")
def test_the_folders_are_made_with_their_modes(tmp_path: Path) -> None:
    conf = ROOT / "systemd" / "tmpfiles.d" / "smolwatch.conf"
    tool = "systemd-tmpfiles"
    run = systemd_tool(tool, "--create", f"--root={tmp_path}", str(conf))
    folders = (tmp_path / "etc" / "smolwatch", tmp_path / "etc" / "smolwatch" / "credentials")
    assert [f.stat().st_mode & 0o7777 for f in folders] == [0o755, 0o700], run.stderr


def test_the_unit_says_what_it_must_and_not_what_breaks_torch_or_cameras() -> None:
    settings = [line for line in UNIT.read_text().splitlines() if not line.startswith("#")]
    for harmful in ("MemoryDenyWriteExecute", "PrivateDevices", "ProcSubset", "PrivateNetwork"):
        assert not [line for line in settings if line.startswith(harmful)]
    for needed in (
        "DeviceAllow=char-video4linux rw",
        "DevicePolicy=closed",
        "IPAddressDeny=any",
        "RestartPreventExitStatus=78",
        "SystemCallFilter=~@privileged",
    ):
        assert needed in settings
