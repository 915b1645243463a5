"""Does the right engine come, at once the second time, and never one that says something else?"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from structlog.testing import capture_logs

pytest.importorskip("openvino")

from pipelines.errors import ModelError
from pipelines.smolvlm2 import exam
from pipelines.smolvlm2.cache_dir import cache_dir
from pipelines.smolvlm2.loading import from_name
from pipelines.smolvlm2.openvino_convert import convert
from pipelines.smolvlm2.openvino_files import EXAM, MANIFEST, _checksum
from pipelines.smolvlm2.openvino_loading import _recipe, half_format, load_openvino
from pipelines.smolvlm2.openvino_quiet import ov
from pipelines.smolvlm2.preprocess import preprocess
from pipelines.smolvlm2.presets import BUNDLED_DIR
from pipelines.smolvlm2.sample_windows import name_of, recorded_windows
from tests.pipelines.smolvlm2.conftest import QUESTIONS, make_frames


def load(directory: Path, cache: Path, precision: str = "f32", calibration: Path | None = None):
    return load_openvino(
        directory,
        precision=precision,  # type: ignore[arg-type]
        device="cpu",
        calibration=calibration,
        num_threads=1,
        cache=cache,
    )


@pytest.fixture
def cache(tmp_path: Path, tiny_dir: Path) -> Path:
    """A copy of the tests' cache, to do harm in."""
    load(tiny_dir, cache_dir(os.environ))
    shutil.copytree(
        cache_dir(os.environ) / "openvino",
        tmp_path / "cache" / "openvino",
        ignore=shutil.ignore_patterns(".work-*"),  # what another test converts right now
    )
    return tmp_path / "cache"


def events(logs: list[dict[str, object]]) -> list[object]:
    return [entry["event"] for entry in logs]


def folder_of(directory: Path, cache: Path, precision: str = "f32") -> Path:
    return _recipe(directory, precision, None).folder(cache)


def test_the_second_time_nothing_is_converted(tiny_dir: Path, cache: Path):
    with capture_logs() as logs:
        load(tiny_dir, cache)
    assert events(logs) == ["openvino.passed"]


def test_once_it_is_loaded_no_weights_are_counted_twice(tiny_dir: Path, cache: Path):
    engine, _, _ = load(tiny_dir, cache)
    weights = str(folder_of(tiny_dir, cache) / "text.bin")
    held_kb, mapping = [], ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if not line.split()[0].endswith(":"):
            mapping = line
        elif line.startswith("Rss:") and mapping.endswith(weights):
            held_kb.append(int(line.split()[1]))
    assert held_kb, "OpenVINO maps its files no more: then letting go has no use"
    assert sum(held_kb) == 0
    assert engine.frame_size_px == 64


def test_a_damaged_file_is_made_anew_and_nobody_is_told(
    tiny_dir: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    weights = folder_of(tiny_dir, cache) / "text.bin"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with capture_logs() as logs:
        load(tiny_dir, cache)
    assert events(logs) == [
        "openvino.damaged",
        "openvino.converting",
        "openvino.converted",
        "openvino.passed",
    ]
    assert weights.read_bytes() != content
    assert not list(cache.glob("openvino/.work-*"))
    assert not list((tmp_path / "home").iterdir())  # openvino_telemetry would leave files here


def fail_the_exam(folder: Path, error: float = 0.25) -> None:
    """Let the stored reference have said something else, in a folder that is otherwise whole."""
    with np.load(folder / EXAM) as stored:
        arrays = dict(stored)
    arrays["0.logits"][:, 0] += error
    np.savez_compressed(folder / EXAM, **arrays)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][EXAM] = _checksum(folder / EXAM)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_an_engine_below_the_bar_is_refused_and_auto_takes_torch(
    tiny_dir: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CACHE_DIRECTORY", str(cache))
    fail_the_exam(folder_of(tiny_dir, cache))
    with pytest.raises(ModelError, match=r"up to 0\.25 off \(allowed: 0\.001\).* engine: torch"):
        from_name(tiny_dir, engine="openvino", precision="f32")
    with capture_logs() as logs:
        model = from_name(tiny_dir, precision="f32", device="cpu")
    assert model.running == ("torch", "f32", "cpu")
    refused = next(entry for entry in logs if entry["event"] == "openvino.refused")
    assert "up to 0.25 off" in refused["error"]
    assert refused["log_level"] == "warning"


def test_in_16_bits_a_model_that_is_sure_is_held_to_its_logits(tmp_path: Path):
    load(BUNDLED_DIR, cache_dir(os.environ), "bf16")
    folder = folder_of(BUNDLED_DIR, tmp_path, "bf16")
    shutil.copytree(folder_of(BUNDLED_DIR, cache_dir(os.environ), "bf16"), folder)
    rounding = exam.load(folder / EXAM).rounding
    assert 0.0 < rounding < 0.2
    load(BUNDLED_DIR, tmp_path, "bf16")
    fail_the_exam(folder, 1.0)  # where it is sure: p_yes stays what it was
    says = rf"up to (1|1\.1|0\.9\d) off \(allowed: {8 * rounding:.2g}\), its p_yes up to 0\.00"
    with pytest.raises(ModelError, match=says):
        load(BUNDLED_DIR, tmp_path, "bf16")


def test_auto_is_openvino_on_a_cpu_and_says_what_torch_says(tiny_dir: Path):
    ours = from_name(tiny_dir, precision="f32", device="cpu")
    assert ours.running == ("openvino", "f32", "cpu")
    torch_model = from_name(tiny_dir, engine="torch", precision="f32", device="cpu")
    assert torch_model.running == ("torch", "f32", "cpu")
    images = [frame.image for frame in make_frames(4, 36, 64)]
    seen = [
        model.observe_images(images, [0, 1, 2, 3], QUESTIONS, None) for model in (ours, torch_model)
    ]
    assert seen[0].answers == pytest.approx(seen[1].answers, abs=1e-4)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"engine": "tensorflow"}, "no engine is named 'tensorflow': use auto, torch or openvino"),
        ({"engine": "torch", "precision": "int8"}, "precision int8 needs engine: openvino"),
        ({"engine": "torch", "device": "npu"}, "device npu needs engine: openvino"),
        ({"engine": "openvino", "device": "cuda"}, "openvino has no device 'cuda'"),
        ({"engine": "openvino", "precision": "f16"}, "use auto, f32, bf16 or int8"),
    ],
)
def test_what_there_is_not_is_said(tiny_dir: Path, asked: dict[str, str], says: str):
    with pytest.raises(ModelError, match=says):
        from_name(tiny_dir, **asked)  # type: ignore[arg-type]


def test_a_device_that_is_not_there_is_said(tiny_dir: Path):
    if "GPU" in ov.Core().available_devices:
        pytest.skip("it is there")
    with pytest.raises(ModelError, match=r"device GPU .* it finds CPU.* model.device"):
        from_name(tiny_dir, device="gpu", precision="f32")


def test_a_checkpoint_that_cannot_be_converted_is_said_in_one_line(tiny_dir: Path, tmp_path: Path):
    broken = shutil.copytree(tiny_dir, tmp_path / "broken")
    config = json.loads((broken / "config.json").read_text())
    config["text_config"]["hidden_size"] *= 2
    (broken / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"could not be converted.*do not fit") as said:
        load(broken, tmp_path / "cache")
    assert "\n" not in str(said.value)
    assert list((tmp_path / "cache" / "openvino").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_said(tiny_dir: Path, tmp_path: Path):
    (tmp_path / "cache").write_text("a file in its place")
    with pytest.raises(ModelError, match=r"cannot be kept in .*cache/openvino .*XDG_CACHE_HOME"):
        load(tiny_dir, tmp_path / "cache")


def test_a_conversion_that_memory_was_too_short_for_is_said(tiny_dir: Path, tmp_path: Path):
    cache = tmp_path / "openvino"

    def kill() -> None:
        """As Linux does: the converter, once it is at work."""
        until_s = time.monotonic() + 100
        while time.monotonic() < until_s and not list(cache.glob(".work-*/*")):
            time.sleep(0.01)
        [work] = cache.glob(".work-*")
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if str(work).encode() in entry.read_bytes():
                    os.kill(int(entry.parent.name), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(ModelError, match=r"killed.*memory.*: auto, a smaller model") as said:
        convert(tiny_dir, cache / "made", "int8", None)
    killer.join()
    assert "\n" not in str(said.value)
    assert list(cache.iterdir()) == []


def test_a_conversion_ends_with_its_parent(tiny_dir: Path, tmp_path: Path):
    program = (
        "import sys; from pathlib import Path\n"
        "from pipelines.smolvlm2.openvino_convert import convert\n"
        "convert(Path(sys.argv[1]), Path(sys.argv[2]), 'f32', None)\n"
    )
    folder = tmp_path / "cache" / "openvino" / "made"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, str(tiny_dir), str(folder)]
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL) as parent:
        until_s = time.monotonic() + 100
        while not list(folder.parent.glob(".work-*/*")):
            assert parent.poll() is None
            assert time.monotonic() < until_s
            time.sleep(0.02)
        parent.kill()
    while list(folder.parent.glob(".work-*")):
        assert time.monotonic() < until_s
        time.sleep(0.02)
    assert not folder.exists()


def test_windows_come_from_pictures_and_recordings(tmp_path: Path):
    for number in range(10):
        picture = np.full((48, 64, 3), number * 20, np.uint8)
        picture[..., 2] = 255  # BGR: red
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    before = name_of(tmp_path)
    windows = recorded_windows(tmp_path, count=3, num_frames=2)
    assert [len(window) for window in windows] == [2, 2, 2]
    assert [int(window[0][0, 0, 1]) for window in windows] == [0, 80, 160]
    assert windows[0][0][0, 0, 0] == 255  # RGB
    (tmp_path / "0.png").unlink()
    assert name_of(tmp_path) != before


def test_calibration_frames_that_cannot_be_used_are_said(tiny_dir: Path, tmp_path: Path):
    with pytest.raises(ModelError, match="no pictures and no recordings"):
        recorded_windows(tmp_path, 3, 2)
    (tmp_path / "night.mp4").write_bytes(b"no video")
    with pytest.raises(ModelError, match=r"night\.mp4 cannot be read"):
        recorded_windows(tmp_path, 3, 2)
    (tmp_path / "night.mp4").rename(tmp_path / "night.jpg")
    with pytest.raises(ModelError, match=r"night\.jpg is no picture"):
        recorded_windows(tmp_path, 3, 2)


@pytest.mark.skipif(find_spec("nncf") is None, reason="nncf is not installed")
def test_int8_is_calibrated_on_the_users_frames(tiny_dir: Path, tmp_path: Path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for number, frame in enumerate(make_frames(8, 36, 64)):
        cv2.imwrite(str(frames / f"{number}.png"), frame.image)
    engine, _, running = load(tiny_dir, tmp_path / "cache", "int8", frames)
    assert running.precision == "int8"
    weights = next((tmp_path / "cache").glob(f"openvino/*-int8-{name_of(frames)}-*/text.bin"))
    whole = folder_of(tiny_dir, cache_dir(os.environ)) / "text.bin"
    assert weights.stat().st_size < 0.5 * whole.stat().st_size
    assert engine.frame_size_px == 64
    asked = [paper.frames for paper in exam.load(weights.parent / EXAM).papers]
    windows = recorded_windows(frames, len(asked), len(asked[0]))
    assert all(torch.equal(a, preprocess(b, 64)) for a, b in zip(asked, windows, strict=True))


def test_other_precisions_do_not_look_at_calibration_frames(tiny_dir: Path, tmp_path: Path):
    engine, _, running = load(tiny_dir, cache_dir(os.environ), "f32", tmp_path / "not there")
    assert running.precision == "f32"
    assert engine.frame_size_px == 64


@pytest.mark.parametrize(
    ("plugin", "capabilities", "cpuinfo", "half"),
    [
        ("CPU", ("FP32", "INT8"), "flags : avx2", None),
        ("CPU", ("FP32", "BF16"), "flags : avx512f", None),  # imitated
        ("CPU", ("FP32", "BF16"), "flags : avx512f avx512_bf16", "bf16"),
        ("CPU", ("FP32", "FP16", "INT8"), "Features : asimdhp", "f16"),  # Raspberry Pi 5
        ("CPU", ("FP32", "FP16", "INT8"), "Features : asimdhp bf16", "f16"),
        ("CPU", ("FP32", "INT8"), "Features : asimd", None),  # Raspberry Pi 4
        ("GPU", (), "flags : avx2", "f16"),
    ],
)
def test_half_the_bits_are_taken_where_the_device_is_fast_at_them(
    plugin: str, capabilities: tuple[str, ...], cpuinfo: str, half: str | None
):
    assert half_format(plugin, capabilities, cpuinfo) == half
