"""Does what is built carry all that smolwatch needs, and does it run outside a checkout?

Knows git and the wheel's format. Wheel and sdist are built once, with the build tools of this
environment; the installed smolwatch borrows this environment's packages, for PyTorch's sake.
"""

from __future__ import annotations

import email
import email.message
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Built(NamedTuple):
    wheel: Path
    sdist: Path


def clean_environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "SETUPTOOLS_SCM"))}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1"}


def out_of(*command: str | Path, cwd: Path, timeout: float = 300) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("what belongs into a release is what git tracks, and this is no clone")
    return set(out_of("git", "ls-files", cwd=ROOT).splitlines())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    out = tmp_path_factory.mktemp("dist")
    # Without --wheel or --sdist the wheel is built from the sdist: that it can be is shown, too.
    out_of(sys.executable, "-m", "build", "--no-isolation", "-o", out, ROOT, cwd=out)
    (wheel,) = out.glob("*.whl")
    (sdist,) = out.glob("*.tar.gz")
    return Built(wheel, sdist)


def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_the_wheel_carries_code_model_units_and_configurations_and_no_more(
    built: Built, tracked: set[str]
) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        held = {n for n in archive.namelist() if ".dist-info/" not in n}
        model = archive.getinfo("pipelines/scenes/model/model.safetensors").file_size
    shared = {
        f"daemon/share/{n}" for n in tracked if n.startswith(("configs/", "docs/", "systemd/"))
    }
    assert held == {n for n in tracked if n.startswith(("daemon/", "pipelines/"))} | shared
    assert model > 10_000_000


def test_the_sdist_is_the_repository(built: Built, tracked: set[str]) -> None:
    with tarfile.open(built.sdist) as archive:
        held = {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}
    assert held - {"PKG-INFO"} == tracked


def test_the_metadata(built: Built) -> None:
    said = metadata(built.wheel)
    assert said["Name"] == "smolwatch"
    assert said["License-Expression"] == "Apache-2.0"
    assert said["Requires-Python"] == ">=3.11"
    assert any(str(r).startswith("torch<") for r in said.get_all("Requires-Dist", []))
    assert f"-{said['Version']}-py3-none-any" in built.wheel.name
    assert f"-{said['Version']}.tar" in built.sdist.name  # the version survives a build without git
    with zipfile.ZipFile(built.wheel) as archive:
        (points,) = (n for n in archive.namelist() if n.endswith("entry_points.txt"))
        assert "smolwatch = daemon.cli:main" in archive.read(points).decode()


def version_of(clone: Path) -> str:
    return out_of(sys.executable, "-m", "hatchling", "version", cwd=clone).strip()


def git(clone: Path, *arguments: str) -> None:
    who = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    out_of("git", *who, *arguments, cwd=clone)


def test_the_version_is_the_newest_tag(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    assert version_of(tmp_path) == "0.1.0.dev0"  # an archive without git
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    assert version_of(tmp_path).startswith("0.1.0.dev1+g")  # a clone without tags
    git(tmp_path, "tag", "v3.2.1")
    assert version_of(tmp_path) == "3.2.1"
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "two")
    assert version_of(tmp_path).startswith("3.2.2.dev1+g")


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `smolwatch` command of the wheel in an environment of its own."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    quiet = ("-q", "--no-deps", "--no-index", "--disable-pip-version-check")
    out_of(python, "-m", "pip", "install", *quiet, built.wheel, cwd=home)
    (own,) = home.glob("lib/python*/site-packages")
    # A path in a .pth file does not follow the .pth files there: an editable smolwatch stays out.
    (own / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin" / "smolwatch"


def test_installed_it_says_its_version(installed: Path, built: Built, tmp_path: Path) -> None:
    said = out_of(installed, "--version", cwd=tmp_path)
    assert said.strip() == f"smolwatch {metadata(built.wheel)['Version']}"


def test_installed_it_finds_its_files(installed: Path, tracked: set[str], tmp_path: Path) -> None:
    listed = set(out_of(installed, "files", cwd=tmp_path).splitlines())
    assert listed == {n for n in tracked if n.startswith(("configs/", "docs/", "systemd/"))}
    unit = Path(out_of(installed, "files", "systemd/smolwatch.service", cwd=tmp_path).strip())
    assert unit.is_relative_to(installed.parents[1])
    assert unit.read_text() == (ROOT / "systemd" / "smolwatch.service").read_text()


def test_installed_it_checks_a_configuration(installed: Path, tmp_path: Path) -> None:
    said = out_of(installed, "files", "configs/demo.yaml", cwd=tmp_path).strip()
    assert "ok, 2 cameras, 6 rules" in out_of(installed, "check-config", "-c", said, cwd=tmp_path)


def test_installed_the_demo_runs(installed: Path, tmp_path: Path) -> None:
    assert "4 expected" in out_of(installed, "demo", cwd=tmp_path)
