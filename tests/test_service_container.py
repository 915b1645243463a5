"""Does the service live as it should under a real systemd?

A wheel is built, put into a container as somebody would install it, and watched: start, reload,
refusal of a wrong configuration, a wedged process, stop, removal. The tests follow on each other.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.systemd import watchdog_interval_s
from tests import container
from tests.container import Container, NoContainer, wait_for
from tests.threads_stopped import all_but_main_stopped

ROOT = Path(__file__).parents[1]
SERVICE = "smolwatch.service"
SMOLWATCH = "/opt/smolwatch/bin/smolwatch"
CONFIG = """\
model: {name: bundled, threads: 1}
cameras:
  porch: {source: "scene://porch?seed=36", window: {num_frames: 8, interval_s: 1, stride_s: 1}}
rules:
  package: {ask: "Was a package delivered?"}
"""
STARTED_S = 240.0  # on a busy machine

pytestmark = [pytest.mark.slow, pytest.mark.container, pytest.mark.timeout(900)]


def system_python() -> str:
    """An interpreter that a service may use, of the version whose packages it borrows."""
    name = f"/usr/bin/python3.{sys.version_info.minor}"
    borrowed = sysconfig.get_path("purelib")
    if not Path(name).exists():
        pytest.skip(f"{name} is not here: a service cannot use the interpreter of a home directory")
    if borrowed.startswith((*container.HIDDEN, "/home/", "/root/")):
        pytest.skip(f"{borrowed} is where a service cannot look")
    return name


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    python, scratch = system_python(), tmp_path_factory.mktemp("machine")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", scratch, ROOT]
    try:
        with container.layer(scratch) as root:
            subprocess.run(build, check=True, capture_output=True, timeout=300)
            (wheel,) = scratch.glob("*.whl")
            (root / "opt").mkdir(exist_ok=True)
            shutil.copy(wheel, root / "opt")
            make_environment(root, python, f"/opt/{wheel.name}")
            (root / "etc/smolwatch").mkdir(parents=True)
            (root / "etc/smolwatch/smolwatch.yaml").write_text(CONFIG)
            with container.booted(root, scratch / "boot.log") as up:
                yield up
    except NoContainer as error:
        pytest.skip(f"no container with systemd here: {error}")


def make_environment(root: Path, python: str, wheel: str) -> None:
    container.within(root, python, "-m", "venv", "--without-pip", "/opt/smolwatch")
    (own,) = root.glob("opt/smolwatch/lib/python3*/site-packages")
    # PyTorch, and pip, too. The .pth files there are not followed: an editable smolwatch stays out.
    (own / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = ("/opt/smolwatch/bin/python", "-m", "pip", "install", "--no-deps", "--no-index")
    container.within(root, *pip, "--ignore-installed", "--no-warn-script-location", wheel)


def shown(machine: Container, name: str) -> str:
    return machine.out_of("systemctl", "show", "-P", name, SERVICE)


def journal(machine: Container) -> str:
    return machine.out_of("journalctl", "-u", SERVICE, "-o", "cat", "--no-pager")


def why(machine: Container) -> str:
    """What the running daemon says of now."""
    now = machine.out_of("date", "+%H:%M:%S")
    done = machine.run(SMOLWATCH, "why", "porch", "--at", now, timeout_s=STARTED_S)
    return f"{done.stdout}{done.stderr}"


def set_config(machine: Container, text: str) -> None:
    (machine.root / "etc/smolwatch/smolwatch.yaml").write_text(text)


def test_it_is_installed_and_says_ready(machine: Container) -> None:
    done = machine.run(SMOLWATCH, "install", "--now", timeout_s=STARTED_S)  # until READY=1
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{journal(machine)}"
    assert "keep    /etc/smolwatch/smolwatch.yaml  (yours)" in done.stdout
    assert (shown(machine, "ActiveState"), shown(machine, "SubState")) == ("active", "running")
    assert machine.out_of("systemctl", "is-enabled", SERVICE) == "enabled"
    pid = shown(machine, "MainPID")
    assert machine.out_of("stat", "-c", "%U:%G", f"/proc/{pid}") == "smolwatch:smolwatch"
    status = machine.out_of("cat", f"/proc/{pid}/status")
    assert "NoNewPrivs:\t1" in status
    assert "CapBnd:\t0000000000000000" in status


def test_it_watches_within_its_sandbox(machine: Container) -> None:
    wait_for(
        lambda: "Was a package delivered?" in why(machine),
        STARTED_S,
        lambda: f"{why(machine)}{journal(machine)}",
    )
    assert (machine.root / "var/lib/smolwatch/smolwatch.db").is_file()


def test_a_reload_keeps_the_process(machine: Container) -> None:
    before = shown(machine, "MainPID")
    set_config(machine, CONFIG + '  dog: {ask: "Did a dog walk past?"}\n')
    machine.out_of("systemctl", "reload", SERVICE, timeout_s=STARTED_S)
    wait_for(
        lambda: "Did a dog walk past?" in why(machine),
        STARTED_S,
        lambda: f"the new rule is not asked: {journal(machine)}",
    )
    assert (shown(machine, "MainPID"), shown(machine, "NRestarts")) == (before, "0")


def test_a_wrong_configuration_is_refused_and_the_old_one_kept(machine: Container) -> None:
    before = shown(machine, "MainPID")
    set_config(machine, CONFIG + '  dog: {aks: "Did a dog walk past?"}\n')
    assert machine.run("systemctl", "reload", SERVICE, timeout_s=STARTED_S).returncode != 0
    assert "smolwatch.yaml:6: rules.dog.aks: unknown key. Did you mean ask?" in journal(machine)
    assert (shown(machine, "MainPID"), shown(machine, "ActiveState")) == (before, "active")
    set_config(machine, CONFIG)


def test_a_wedged_process_is_started_again(machine: Container) -> None:
    drop_in = machine.root / "etc/systemd/system/smolwatch.service.d/soon.conf"
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text("[Service]\nWatchdogSec=6s\nRestartSec=1s\n")
    machine.out_of("systemctl", "daemon-reload")
    machine.out_of("systemctl", "restart", SERVICE, timeout_s=STARTED_S)
    pid = int(shown(machine, "MainPID"))
    assert watchdog_interval_s({"WATCHDOG_USEC": "6000000"}, pid) == 2.0
    with all_but_main_stopped(machine.outside_pid(pid)) as stopped:
        assert stopped > 3  # capture, model, publisher or log, store
        wait_for(lambda: shown(machine, "NRestarts") == "1", STARTED_S, lambda: journal(machine))
    assert "watchdog" in journal(machine).lower()
    wait_for(lambda: shown(machine, "ActiveState") == "active", STARTED_S, lambda: journal(machine))
    assert int(shown(machine, "MainPID")) != pid


def test_it_stops_cleanly(machine: Container) -> None:
    machine.out_of("systemctl", "stop", SERVICE)
    assert shown(machine, "Result") == "success"
    assert shown(machine, "ActiveState") == "inactive"


def test_a_wrong_configuration_at_the_start_is_not_tried_again(machine: Container) -> None:
    set_config(machine, "cameras: {}\n")
    assert machine.run("systemctl", "start", SERVICE, timeout_s=STARTED_S).returncode != 0
    assert shown(machine, "ExecMainStatus") == "78"
    assert shown(machine, "ActiveState") == "failed"
    machine.run("systemctl", "reset-failed", SERVICE)


def test_it_is_removed_and_what_is_yours_stays(machine: Container) -> None:
    machine.out_of(SMOLWATCH, "uninstall", timeout_s=STARTED_S)
    assert not (machine.root / "etc/systemd/system" / SERVICE).exists()
    assert (machine.root / "var/lib/smolwatch/smolwatch.db").is_file()
    assert (machine.root / "etc/smolwatch/smolwatch.yaml").is_file()
    machine.out_of(SMOLWATCH, "uninstall", "--purge", timeout_s=STARTED_S)
    assert not (machine.root / "etc/smolwatch").exists()
    assert not (machine.root / "var/lib/smolwatch").exists()
