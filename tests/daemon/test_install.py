"""Is a service installed whole, again without harm, and gone when it is to be gone?

Real systemd tools write to a root of their own; tests/test_service_container.py starts what they
install.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
from click.testing import Result
from typer.testing import CliRunner

from daemon.cli import app
from daemon.install import InstallError, check_reachable
from daemon.install_plan import (
    CONFIG,
    SERVICE,
    UNITS,
    Keep,
    Remove,
    Run,
    Step,
    Wish,
    Write,
    digest,
    files_wanted,
    plan_install,
    plan_uninstall,
    record_of,
)
from daemon.shipped import shipped

WISH = Wish("/opt/smolwatch/bin/smolwatch", systemd=252)
UNIT = UNITS / SERVICE


def text_of(name: str) -> str:
    return shipped(name).read_text()


def planned(
    there: dict[PurePosixPath, str], record: dict[str, str], wish: Wish = WISH
) -> list[Step]:
    return list(plan_install(wish, files_wanted(wish, text_of), there.get, record))


def written(steps: list[Step]) -> dict[PurePosixPath, str]:
    return {step.path: step.text for step in steps if isinstance(step, Write)}


def test_a_bare_machine_gets_all() -> None:
    steps = planned({}, {})
    assert set(written(steps)) >= {UNIT, UNITS / "smolwatch-model@.service", CONFIG}
    commands = [step.command for step in steps if isinstance(step, Run)]
    assert [command[0] for command in commands] == [
        "systemd-sysusers",
        "systemd-tmpfiles",
        "systemctl",
        "systemctl",
    ]
    assert commands[-1] == ("systemctl", "enable", SERVICE)


def test_a_second_time_changes_nothing() -> None:
    first = planned({}, {})
    there = written(first)
    again = planned(there, record_of(first, files_wanted(WISH, text_of)))
    assert written(again) == {}
    assert not [step for step in again if isinstance(step, Remove)]


def test_an_update_writes_what_nobody_edited() -> None:
    first = planned({}, {})
    there = {**written(first), UNIT: "of an older release"}
    record = {**record_of(first, {}), str(UNIT): digest("of an older release")}
    assert set(written(planned(there, record))) == {UNIT}


def test_what_was_edited_stays_and_the_new_one_is_beside_it() -> None:
    first = planned({}, {})
    there = {**written(first), UNIT: "edited", CONFIG: "cameras: {}"}
    steps = planned(there, record_of(first, {}))
    beside = UNIT.with_name("smolwatch.service.new")
    assert set(written(steps)) == {beside}
    assert not [step for step in steps if isinstance(step, Remove) and step.path == UNIT]
    # And once more, with what is beside it now:
    again = planned({**there, **written(steps)}, record_of(steps, files_wanted(WISH, text_of)))
    assert set(written(again)) == {beside}


def test_what_is_wanted_no_longer_goes() -> None:
    with_gpu = Wish("/opt/smolwatch/bin/smolwatch", systemd=253, gpu=True)
    first = planned({}, {}, with_gpu)
    there, record = written(first), record_of(first, {})
    gone = [step for step in planned(there, record) if isinstance(step, Remove)]
    assert {step.path.name for step in gone} == {"gpu.conf", "notify-reload.conf"}
    edited = {path: f"{text}# mine" for path, text in there.items()}
    assert not [step for step in planned(edited, record) if isinstance(step, Remove)]


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("/srv/watch/bin/smolwatch", "ExecStart=/srv/watch/bin/smolwatch run -c"),
        ("/srv/my cams/bin/smolwatch", 'ExecStart="/srv/my cams/bin/smolwatch" run -c'),
        ("/srv/100%/bin/smolwatch", "ExecStart=/srv/100%%/bin/smolwatch run -c"),
    ],
)
def test_the_units_start_this_environment(command: str, line: str) -> None:
    units = files_wanted(Wish(command, 252), text_of)
    assert line in units[UNIT]
    assert not any("/opt/smolwatch" in text for path, text in units.items() if path == UNIT)


def test_uninstalling_keeps_what_is_yours() -> None:
    first = planned({}, {})
    there = {**written(first), CONFIG: "cameras: {}"}
    steps = list(plan_uninstall(WISH, there.get, record_of(first, {}), purge=False))
    removed = {step.path for step in steps if isinstance(step, Remove)}
    assert removed > set(there) - {CONFIG}
    assert CONFIG not in removed
    assert PurePosixPath("/var/lib/smolwatch") in {s.path for s in steps if isinstance(s, Keep)}


def test_an_edited_unit_stays_but_with_purge() -> None:
    there = {UNIT: "edited"}
    keeping = list(plan_uninstall(WISH, there.get, {str(UNIT): digest("ours")}, purge=False))
    assert next(step.path for step in keeping if isinstance(step, Keep)) == UNIT
    purging = list(plan_uninstall(WISH, there.get, {}, purge=True))
    assert UNIT in {step.path for step in purging if isinstance(step, Remove)}


needs_tools = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("systemctl") or not shutil.which("systemd-sysusers"),
    reason="needs root and systemd's tools",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    (made / "etc").mkdir(parents=True)
    return made


def run(command: str, root: Path, *arguments: str) -> Result:
    place = ["--root", str(root)]
    environment = ["--prefix", "/opt/smolwatch"] if command == "install" else []
    return CliRunner().invoke(app, [command, *place, *environment, *arguments])


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


@needs_tools
def test_into_an_image_and_out_again(root: Path) -> None:
    done = run("install", root, "--gpu")
    assert done.exit_code == 0, done.output
    etc = root / "etc"
    config = etc / "smolwatch" / "smolwatch.yaml"
    group = next(line for line in (etc / "group").read_text().splitlines() if "smolwatch:" in line)
    assert (config.stat().st_mode & 0o7777, config.stat().st_uid) == (0o640, 0)
    assert config.stat().st_gid == int(group.split(":")[2])
    assert (etc / "smolwatch" / "credentials").stat().st_mode & 0o7777 == 0o700
    units = etc / "systemd" / "system"
    assert (units / "multi-user.target.wants" / "smolwatch.service").is_symlink()
    assert (units / "smolwatch.service.d" / "gpu.conf").is_file()

    config.write_text("# mine\n")
    again = run("install", root)
    assert (again.exit_code, config.read_text()) == (0, "# mine\n")
    assert not (units / "smolwatch.service.d").exists()  # --gpu was left out

    (root / "var/lib/smolwatch").mkdir(parents=True)
    gone = run("uninstall", root)
    assert gone.exit_code == 0, gone.output
    left = {path for path in tree(root) if "smolwatch" in path}
    assert left == {"etc/smolwatch/smolwatch.yaml"}
    assert (root / "var/lib/smolwatch").is_dir()

    assert run("uninstall", root, "--purge").exit_code == 0
    assert not (etc / "smolwatch").exists()
    assert not (root / "var/lib/smolwatch").exists()
    assert "smolwatch" not in (etc / "passwd").read_text()


@needs_tools
def test_a_dry_run_says_all_and_changes_nothing(root: Path) -> None:
    done = run("install", root, "--dry-run")
    assert done.exit_code == 0, done.output
    assert f"would write   {root}/etc/systemd/system/smolwatch.service" in done.output
    assert "would run     systemd-sysusers" in done.output
    assert tree(root) == set()
    run("install", root)
    before = tree(root)
    gone = run("uninstall", root, "--dry-run", "--purge")
    assert f"would remove  {root}/etc/smolwatch" in gone.output
    assert tree(root) == before


@needs_tools
def test_a_damaged_record_is_told(root: Path) -> None:
    run("install", root)
    (root / "etc/smolwatch/.installed.json").write_text("{")
    again = run("install", root)
    assert again.exit_code == 1
    assert ".installed.json is damaged" in again.output


def test_without_root_it_says_what_to_type(tmp_path: Path) -> None:
    if not shutil.which("systemctl"):
        pytest.skip("systemctl is not here, and that is told first")
    code = (
        "import os, sys; sys.argv = ['smolwatch', 'uninstall', '--purge']\n"
        "os.geteuid = lambda: 1000\n"
        "from daemon.cli import app; app()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert f"Type: sudo {Path(sys.prefix) / 'bin' / 'smolwatch'} uninstall --purge" in done.stderr


def test_an_environment_that_the_service_cannot_see_is_refused(tmp_path: Path) -> None:
    command = tmp_path / "bin" / "smolwatch"
    with pytest.raises(InstallError, match="install smolwatch itself"):
        check_reachable(command)
    command.parent.mkdir()
    command.touch()
    with pytest.raises(InstallError, match=r"ProtectHome=|chmod o\+x"):
        check_reachable(command, Path("/root/.pyenv/versions/3.12"))
    check_reachable(Path(shutil.which("true") or "/bin/true"))
