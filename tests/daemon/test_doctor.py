"""Does `smolwatch doctor` find what is wrong, and say how to mend it?"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import FileHash, PackagePath, PathDistribution
from pathlib import Path

import pytest
import torch

from daemon import doctor_machine as machine
from daemon import doctor_service as service
from daemon.control import ControlServer
from daemon.doctor_cameras import check_cameras
from daemon.doctor_files import BUNDLED, bundled_files
from daemon.doctor_machine import Place
from daemon.doctor_model import Load, check_model, judged
from daemon.findings import Finding
from pipelines.clock import Clock, SystemClock
from pipelines.errors import DeviceBusy, ModelError, ModelUnavailable
from pipelines.probe import StreamFacts
from pipelines.sources import SourceUrl
from pipelines.types import VideoModel
from pipelines.window_plan import WindowPlan
from tests.checkpoints import write_tiny_checkpoint
from tests.disks import mounted, stick
from tests.fakes import FakeModel
from tests.h264 import write_numbered_clip
from tests.mosquitto import free_port, mosquitto
from tests.rtsp_server import Login, RtspServer

FACTS = StreamFacts("h264", 640, 360, 10.0, 1.0, None, 0.5, has_clock=True, clock_ahead_s=0.1)


def levels(found: Iterator[Finding]) -> list[tuple[str, str]]:
    return [(one.what, one.level) for one in found]


def each_has_a_fix(found: list[Finding]) -> bool:
    return all(one.fix for one in found if one.level != "ok")


def test_real_cameras_are_looked_at_and_refusals_are_told_with_their_fix(tmp_path: Path) -> None:
    clip = write_numbered_clip(tmp_path / "numbers.mp4")
    with RtspServer(clip, login=Login("cam", "right-one")) as camera:
        cameras = {
            "good": SourceUrl(camera.url),
            "locked": SourceUrl(camera.url.replace("right-one", "wrong-one")),
            "gone": SourceUrl(f"rtsp://127.0.0.1:{free_port()}/s"),
        }
        found = list(check_cameras(cameras, SystemClock()))
    told = {one.what: one for one in found if one.level != "warn"}
    assert {name: one.level for name, one in told.items()} == {
        "good": "ok", "locked": "fail", "gone": "fail",
    }  # fmt: skip
    assert "h264" in told["good"].text
    assert told["locked"].text.startswith("auth_failed")
    assert "right-one" not in str(found)
    assert "wrong-one" not in str(found)
    assert "address and port" in str(told["gone"].fix)
    assert each_has_a_fix(found)


def test_a_camera_that_hangs_holds_up_nobody() -> None:
    over = threading.Event()

    def look(url: SourceUrl, clock: Clock, look_s: float) -> StreamFacts:
        if "busy" in url.secret:
            raise DeviceBusy(f"{url}: in use. Close the other program.")
        if "hung" in url.secret:
            over.wait()
        return FACTS

    cameras = {name: SourceUrl(f"/dev/{name}") for name in ("hung", "well", "busy")}
    try:
        found = list(check_cameras(cameras, SystemClock(), look, patience_s=2.0))
    finally:
        over.set()
    assert sorted((one.what, one.level) for one in found) == [
        ("busy", "warn"), ("hung", "fail"), ("well", "ok"),
    ]  # fmt: skip
    assert each_has_a_fix(found)


@pytest.mark.parametrize(
    ("loads", "level"),
    [
        ([Load("a", 2.0, 0.2, 60.0)], "ok"),
        ([Load("a", 2.0, 0.8, 60.0), Load("b", 2.0, 0.8, 60.0)], "warn"),  # no room for words
        ([Load("a", 1.0, 1.5, 60.0)], "warn"),
        ([Load("a", 1.0, 1.5, 1.0)], "fail"),
        ([Load("a", 1.0, 0.6, 1.0), Load("b", 1.0, 0.6, 1.0)], "fail"),
    ],
)
def test_whether_the_machine_can_serve_the_cameras(loads: list[Load], level: str) -> None:
    (found,) = judged(loads)
    assert found.level == level
    assert (found.fix is None) == (level == "ok")


def test_a_stride_that_is_advised_would_do() -> None:
    loads = [Load("a", 1.0, 3.0, 1.0)]
    (found,) = judged(loads)
    advised = float(str(found.fix).split(" to ")[1].split(")")[0])
    assert [one.level for one in judged([Load("a", advised, 3.0, advised)])] == ["ok"]


def test_a_model_is_loaded_and_timed() -> None:
    plan = WindowPlan(num_frames=4, interval_s=0.5, stride_s=1.0, gate="always", max_idle_s=60.0)
    model = FakeModel()
    found = list(check_model("bundled", lambda: model, {"porch": (plan, ("Is it day?",))}))
    assert levels(iter(found)) == [("model", "ok"), ("speed", "ok")]
    assert "porch" in found[1].text


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (ModelUnavailable("500m is not on this machine"), "smolwatch model pull 500m"),
        (ModelError("config.json is damaged; fetch it anew"), "fetch it anew"),
    ],
)
def test_a_model_that_does_not_load(error: ModelError, fix: str) -> None:
    def load() -> VideoModel:
        raise error

    (found,) = check_model("500m", load, {})
    assert (found.level, found.fix) == ("fail", fix)


def test_a_package_of_the_same_name_is_found() -> None:
    ours, beside = Path("/v/site/daemon/__init__.py"), Path("/v/site/pipelines/__init__.py")
    assert machine.packages(ours, beside, ["smolwatch"]).level == "ok"
    found = machine.packages(ours, beside, ["smolwatch", "python-daemon"])
    assert (found.level, "python-daemon" in found.text) == ("fail", True)
    other = Path("/usr/lib/daemon/__init__.py")
    assert machine.packages(other, beside, []).level == "fail"


def test_the_clock() -> None:
    now = 1_790_000_000.0
    assert machine.clock(now, 0).level == "ok"
    assert machine.clock(now, 5).level == "warn"  # TIME_ERROR of adjtimex(2)
    assert machine.clock(0.0, 0).level == "fail"
    assert machine.clock_state() in {None, *range(6)}


def test_an_nvidia_driver_that_pytorch_cannot_use(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU that works")
    version = tmp_path / "proc/driver/nvidia/version"
    version.parent.mkdir(parents=True)
    version.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12\n")
    (found,) = machine.gpus(tmp_path)
    assert found.level in {"warn", "fail"}
    assert "535.183.01" in found.text
    assert found.fix


def test_a_processor_without_avx2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    (tmp_path / "proc").mkdir()
    for flags, level in (("fpu sse2 avx", "warn"), ("fpu avx avx2", "ok")):
        (tmp_path / "proc/cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n")
        assert [one.level for one in machine.processor(tmp_path)] == [level]


def test_the_device_of_a_folder() -> None:
    mounts = "/dev/sda1 / ext4 rw 0 0\n/dev/mmcblk0p2 /var/lib ext4 rw 0 0\nx /my\\040disk y\n"
    assert machine.device_of(Path("/var/lib/smolwatch"), mounts) == "/dev/mmcblk0p2"
    assert machine.device_of(Path("/var/library"), mounts) == "/dev/sda1"
    assert machine.device_of(Path("/my disk/a"), mounts) == "x"


def test_folders_without_room(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there" / "yet"
    assert levels(machine.disk(Place("media", folder, 1000), "")) == [("media", "ok")]
    assert levels(machine.disk(Place("media", folder, 10**15), "")) == [("media", "warn")]
    half = Place("media", folder, 10**15, used_bytes=10**15)
    assert levels(machine.disk(half, "")) == [("media", "ok")]
    card = f"/dev/mmcblk0p1 {tmp_path} ext4 rw 0 0"
    assert levels(machine.disk(Place("store", folder), card)) == [
        ("store", "ok"),
        ("store", "warn"),
    ]


def test_a_read_only_and_a_small_file_system(tmp_path: Path) -> None:
    with mounted(tmp_path / "ro", "ro,size=100m") as folder:
        (found,) = machine.disk(Place("store", folder / "s"), "")
        assert (found.level, "read-only" in found.text) == ("fail", True)
    with mounted(tmp_path / "small", "size=20m") as folder:
        (found,) = machine.disk(Place("media", folder / "s", 10_000_000), "")
        assert (found.level, "pictures are not kept" in found.text) == ("fail", True)


def test_a_file_system_that_failed_while_it_was_used(tmp_path: Path) -> None:
    with stick(tmp_path) as disk:
        place = Place("store", disk.folder / "s")
        (found,) = machine.disk(place, Path("/proc/mounts").read_text())
        assert found.level == "ok"
        disk.fail()
        (found,) = machine.disk(place, Path("/proc/mounts").read_text())
        assert (found.level, "read-only" in found.text) == ("fail", True)


def record_of(folder: Path, path: Path) -> PackagePath:
    """As pip writes down an installed file."""
    digest = hashlib.sha256(path.read_bytes()).digest()
    one = PackagePath(path.relative_to(folder))
    one.hash = FileHash(f"sha256={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}")
    one.dist = PathDistribution(folder / "smolwatch-1.dist-info")
    return one


def test_a_bundled_model_that_is_not_as_it_was_installed(tmp_path: Path) -> None:
    model = tmp_path / BUNDLED
    write_tiny_checkpoint(model)
    files = [record_of(tmp_path, path) for path in sorted(model.iterdir())]
    (found,) = bundled_files(files)
    assert found.level == "ok"
    assert list(bundled_files([])) == []  # not from a wheel
    weights = model / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    (model / "tokenizer.json").unlink()
    (found,) = bundled_files(files)
    assert (found.level, found.text) == (
        "fail",
        "the bundled model's model.safetensors, tokenizer.json: not what was installed",
    )
    assert "--force-reinstall" in str(found.fix)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, ["warn"]),
        ({"ActiveState": "active", "SubState": "running", "NRestarts": "1"}, ["ok"]),
        ({"ActiveState": "active", "NRestarts": "7"}, ["warn"]),
        ({"ActiveState": "failed", "Result": "watchdog"}, ["fail"]),
        ({"ActiveState": "inactive", "UnitFileState": "disabled"}, ["warn", "warn"]),
        ({"ActiveState": "active", "MemoryMax": "1000", "MemoryCurrent": "950"}, ["ok", "warn"]),
        ({"ActiveState": "active", "MemoryMax": "infinity", "WatchdogUSec": "1min"}, ["ok"]),
        (
            {"ActiveState": "active", "LimitNOFILE": "64", "WatchdogUSec": "0"},
            ["ok", "warn", "warn"],
        ),
    ],
)
def test_what_systemd_says(told: dict[str, str], expected: list[str]) -> None:
    loaded = {"LoadState": "loaded" if told else "not-found"} | told
    found = list(service.judged(loaded))
    assert [one.level for one in found] == expected
    assert each_has_a_fix(found)


def test_whether_a_daemon_answers(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    assert service.talking(path).level == "warn"
    stop = threading.Event()
    thread = threading.Thread(target=ControlServer(path, {}).run, args=(stop,))
    thread.start()
    try:
        for _ in range(600):
            if path.exists() and service.talking(path).level == "ok":
                break
            stop.wait(0.05)
        assert service.talking(path).level == "ok"
    finally:
        stop.set()
        thread.join(30)


def doctor(*arguments: str) -> tuple[int, list[dict[str, str]]]:
    run = subprocess.run(
        [sys.executable, "-m", "daemon.cli", "doctor", "--json", *arguments],
        capture_output=True, text=True, check=False, timeout=100,
        env={**os.environ, "XDG_RUNTIME_DIR": "/nowhere"},
    )  # fmt: skip
    assert run.stderr == ""
    return run.returncode, [json.loads(line) for line in run.stdout.splitlines()]


def test_the_command_as_a_user_runs_it(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    with mosquitto(tmp_path) as broker:
        config.write_text(
            f"""
            mqtt: {{broker: "127.0.0.1:{broker.port}"}}
            model: {{threads: 1}}
            cameras:
              yard: {{source: "scene://yard?seed=3", window: {{stride_s: 10}}}}
              gone: {{source: "rtsp://127.0.0.1:{free_port()}/", enabled: false}}
            rules: {{car: {{ask: "Did a car arrive?"}}}}
            store: {{path: "{tmp_path}/s.db"}}
            """
        )
        code, found = doctor("-c", str(config))
    parts = {one["what"] for one in found}
    assert parts >= {
        "config", "versions", "package", "processor", "devices", "clock", "store", "service",
        "socket", "network", "login", "publishing", "yard", "model", "speed",
    }  # fmt: skip
    assert "gone" not in parts  # it is switched off
    assert [one for one in found if one["level"] == "fail"] == []
    assert code == 0
    assert not (tmp_path / "s.db").exists()


def test_a_wrong_configuration_is_a_finding_and_the_machine_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("cameras: {yard: {sauce: 1}}\n")
    code, found = doctor("-c", str(tmp_path / "c.yaml"))
    assert code == 1
    assert found[0]["what"] == "config"
    assert any("sauce" in one["text"] for one in found)
    assert "versions" in {one["what"] for one in found}


def test_without_a_configuration_it_does_what_it_can() -> None:
    code, found = doctor()
    assert (code, found[0]["level"]) == (0, "warn")
    assert {"versions", "clock", "socket"} <= {one["what"] for one in found}
