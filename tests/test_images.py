"""Would the container images build, and is what they start what the service starts?

There is no Docker here: the files are read and held to what they must say; what can run without
Docker runs (the build from what the context holds, the app's start script).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.config import load_config

ROOT = Path(__file__).parents[1]
APP = ROOT / "configs" / "homeassistant_app"
DOCKERFILES = [ROOT / "Dockerfile", APP / "Dockerfile"]
UNIT = (ROOT / "systemd" / "smolwatch.service").read_text()

# https://developers.home-assistant.io/docs/apps/configuration, "Required configuration options" and
# those of "Optional configuration options" that are used; read in November 2026.
REQUIRED = {"name", "version", "slug", "description", "arch"}
OPTIONAL = {
    "startup": {"initialize", "system", "services", "application", "once"},
    "boot": {"auto", "manual", "manual_only"},
    "stage": {"stable", "experimental", "deprecated"},
}
FREE = {"init", "services", "map", "video", "ports", "tmpfs", "timeout", "backup_exclude"}
FREE |= {"options", "schema"}
MAPS = {"homeassistant_config", "addon_config", "ssl", "addons", "backup", "share", "media"}


def steps(dockerfile: Path) -> list[tuple[str, str]]:
    """Instruction and argument of each step, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.M)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(word, rest) for word, _, rest in (x.partition(" ") for x in lines if x.strip())]


def arguments(dockerfile: Path, instruction: str) -> list[str]:
    return [rest for word, rest in steps(dockerfile) if word == instruction]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda d: d.parent.name)
def test_an_image_is_as_one_expects(dockerfile: Path) -> None:
    for image in arguments(dockerfile, "FROM"):
        assert image == "${BUILD_FROM}" or re.fullmatch(r"[\w/.-]+:(?!latest)\S+( AS \w+)?", image)
    assert not arguments(dockerfile, "ADD")
    assert len(arguments(dockerfile, "HEALTHCHECK")) == 1
    assert not re.search(r"password|token", dockerfile.read_text(), re.I)
    torch = re.search(r"torch==([\d.]+)", (ROOT / "Makefile").read_text())
    assert torch is not None
    assert f"TORCH={torch[1]}" in arguments(dockerfile, "ARG")
    hadolint = shutil.which("hadolint")
    if hadolint:
        found = subprocess.run([hadolint, dockerfile], capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout


def test_the_image_runs_what_the_service_runs() -> None:
    uid = arguments(DOCKERFILES[0], "USER")[-1].partition(":")[0]
    assert int(uid) > 0
    entry, command = (arguments(DOCKERFILES[0], w)[-1] for w in ("ENTRYPOINT", "CMD"))
    started = " ".join(yaml.safe_load(entry) + yaml.safe_load(command))
    assert f"ExecStart={started}\n" in UNIT
    kept = dict(pair.split("=", 1) for pair in arguments(DOCKERFILES[0], "ENV")[0].split())
    for name, value in re.findall(r"^Environment=(\w+)=(\S+)$", UNIT, re.M):
        if name != "HF_HUB_OFFLINE":  # the image fetches its model itself
            assert kept[name] == value.replace("%C", "/var/cache")


@pytest.mark.slow
def test_the_context_is_enough_to_build(tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    let_in = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.M)
    for name in let_in:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, context / name)
    env = {**os.environ, "SETUPTOOLS_SCM_PRETEND_VERSION": "7.8.9"}
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(tmp_path)]
    subprocess.run([*build, str(context)], check=True, capture_output=True, env=env, timeout=300)
    with zipfile.ZipFile(tmp_path / "smolwatch-7.8.9-py3-none-any.whl") as wheel:
        assert "pipelines/scenes/model/model.safetensors" in wheel.namelist()
        assert "daemon/share/configs/demo.yaml" in wheel.namelist()


def test_the_composition() -> None:
    said = yaml.safe_load((ROOT / "configs" / "compose.yaml").read_text())
    service = said["services"]["smolwatch"]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert {v.partition(":")[0] for v in service["volumes"] if v[0] != "."} == set(said["volumes"])
    volumes = yaml.safe_load(arguments(DOCKERFILES[0], "VOLUME")[0])
    assert set(volumes) <= {v.split(":")[1] for v in service["volumes"]}


def app_config() -> dict[str, Any]:
    found = yaml.safe_load((APP / "config.yaml").read_text())
    assert isinstance(found, dict)
    return found


def test_the_app_says_what_home_assistant_expects() -> None:
    said = app_config()
    assert set(said) >= REQUIRED
    assert set(said) - REQUIRED <= set(OPTIONAL) | FREE
    for key, allowed in OPTIONAL.items():
        assert said[key] in allowed
    assert {entry["type"] for entry in said["map"]} <= MAPS
    assert set(said["arch"]) <= {"amd64", "aarch64"}
    built = yaml.safe_load((APP / "build.yaml").read_text())["build_from"]
    assert set(built) == set(said["arch"])
    assert all(image.partition("/")[0] == "ghcr.io" and ":" in image for image in built.values())
    assert list(ROOT.glob("configs/**/config.yaml")) == [
        APP / "config.yaml"
    ]  # it searches for them


def test_the_app_explains_its_options() -> None:
    said = app_config()
    told = yaml.safe_load((APP / "translations" / "en.yaml").read_text())
    assert set(told["configuration"]) == set(said["schema"])
    assert set(said["options"]) == set(said["schema"])
    assert set(told["configuration"]["secrets"]["fields"]) == set(said["schema"]["secrets"][0])
    assert set(told["network"]) == set(said["ports"])


# What the script asks of bashio (github.com/hassio-addons/bashio), as far as it does.
BASHIO = """
bashio::config() {
  case "$1" in
    config_file) echo smolwatch.yaml;;
    'secrets|keys') echo 0;;
    'secrets[0].name') echo PORCH_PASSWORD;;
    'secrets[0].value') echo 'a $(b) "c"';;
    *) echo "config $1" >&2; exit 9;;
  esac
}
bashio::services.available() { [ "$BROKER" = yes ]; }
bashio::services() {
  case "$2" in
    host) echo core-mosquitto;; port) echo 1883;; username) echo addons;;
    password) echo 'br0ker pass';; ssl) echo false;;
    *) echo "services $2" >&2; exit 9;;
  esac
}
bashio::fs.file_exists() { [ -f "$1" ]; }
bashio::log.info() { echo "info: $*"; }
bashio::log.warning() { echo "warning: $*"; }
chown() { :; }
"""


def started(tmp_path: Path, *, broker: bool) -> str:
    """What the script says, and the environment and command that it ends in."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    runner = tmp_path / "bin" / "s6-setuidgid"
    runner.write_text('#!/bin/sh\necho "as $*"; env\n')
    runner.chmod(0o755)
    folders = {"CONFIG_DIR": str(tmp_path), "DATA_DIR": str(tmp_path / "data")}
    path = f"{runner.parent}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "-c", f"{BASHIO}\nsource {APP / 'run.sh'}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": path, "BROKER": "yes" if broker else "no", **folders},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("broker", [True, False])
def test_the_app_starts_with_what_the_supervisor_knows(tmp_path: Path, broker: bool) -> None:
    said = started(tmp_path, broker=broker)
    assert 'PORCH_PASSWORD=a $(b) "c"' in said
    config = tmp_path / "smolwatch.yaml"
    assert f"as smolwatch /opt/smolwatch/bin/smolwatch run -c {config}" in said
    assert "br0ker" not in config.read_text()
    loaded = load_config(config, {"MQTT_PASSWORD": "br0ker pass"})
    assert ("warning: No MQTT broker" in said) == (not broker)
    if broker:
        assert loaded.mqtt is not None
        assert (loaded.mqtt.broker, loaded.mqtt.username) == ("core-mosquitto", "addons")
        assert "MQTT_PASSWORD=br0ker pass" in said
    else:
        assert loaded.mqtt is None


def test_the_app_leaves_your_configuration_alone(tmp_path: Path) -> None:
    config = tmp_path / "smolwatch.yaml"
    config.write_text("# mine\n")
    started(tmp_path, broker=True)
    assert config.read_text() == "# mine\n"
