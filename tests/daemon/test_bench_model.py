"""Does `smolwatch bench` measure both ways, tell valid figures, and leave nothing running?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemon.bench_model import Limits, Loaded
from daemon.bench_rows import (
    MAIN,
    Measured,
    Naive,
    Roofline,
    Scenario,
    Setting,
    capacity,
    row,
    scenarios,
)
from daemon.cli import app
from daemon.cli_bench import _show
from tests.checkpoints import write_tiny_checkpoint

SETTING = Setting("256m", "torch", "f32", "cpu", 2)


@pytest.fixture(scope="module")
def tiny_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


def command(directory: Path, *options: str) -> list[str]:
    named = ["--model", str(directory), "--threads", "1", *options]
    return [sys.executable, "-m", "daemon.cli", "bench", *named]


def measured(scenario: Scenario, window_ms: float) -> Measured:
    return Measured(scenario, window_ms, 1.0, 2.0, 0.0, 5, 900)


def test_a_run_tells_valid_lines_and_draws_the_curve(tiny_dir: Path, tmp_path: Path):
    chart = tmp_path / "curve.png"
    few = ["--runs", "1", "--seconds", "0.1", "--cameras", "3", "--chart", str(chart)]
    done = subprocess.run(  # noqa: PLW1510 - the code is looked at below
        command(tiny_dir, "--baseline", "--json", *few), capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    rows = [line for line in lines if "scenario" in line]
    wanted = ("model", "engine", "precision", "questions", "new_tokens", "window_ms", "naive_ms")
    for line in rows:
        assert set(wanted) <= line.keys()
        assert line["ratio"] == pytest.approx(line["naive_ms"] / line["window_ms"], rel=0.02)
        assert line["peak_rss_mb"] > 100  # PyTorch alone is more
    assert [line["scenario"] for line in rows] == [one.name for one in scenarios(3)]
    assert {line["cameras"] for line in rows} == {1, 2, 3}
    last = lines[-1]
    assert (last["questions"], last["new_tokens"], last["cameras"]) == (4, 0, 1)
    described = next(line for line in rows if line["new_tokens"] == 32)
    assert described["decode_ms"] > 0 == last["decode_ms"]
    limits = next(line["roofline"] for line in lines if "roofline" in line)
    assert limits["product_gflops"]["f32"] > 0 < limits["encode_gflops"]
    served = next(line["capacity"] for line in lines if "capacity" in line)
    assert [one["stride_s"] for one in served] == [1.0, 2.0, 5.0]
    assert chart.read_bytes().startswith(b"\x89PNG")


def children_of(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=str)
def test_nothing_lives_on_when_it_is_ended(tiny_dir: Path, how: signal.Signals):
    endless = ["--runs", "1000", "--seconds", "1000"]
    with subprocess.Popen(command(tiny_dir, *endless), stderr=subprocess.DEVNULL) as running:
        until_s = time.monotonic() + 60
        while not (started := children_of(running.pid)):
            assert time.monotonic() < until_s
            time.sleep(0.05)
        os.kill(running.pid, how)  # to the parent alone, as `kill` does; a terminal tells both
        assert running.wait(60) == (-9 if how == signal.SIGKILL else 130)
        until_s = time.monotonic() + 30
        while any(map(alive, started)):
            assert time.monotonic() < until_s
            time.sleep(0.05)


def test_a_limit_ends_it_and_says_so(tiny_dir: Path):
    done = subprocess.run(  # noqa: PLW1510 - the code is looked at below
        command(tiny_dir, "--runs", "1000", "--seconds", "1000", "--limit-s", "1"),
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 1
    assert "not done after 1 s" in done.stderr
    assert "--limit-s" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--model", "256n"], 1, "did you mean '256m'"),
        (["--random-weights"], 1, "--model 256m, 500m, 2.2b"),
        (["--chart", "no/such/folder/x.png"], 1, "no folder no/such/folder"),
        (["--engine", "tensorflow"], 2, "--engine"),
    ],
)
def test_mistakes_are_told_before_anything_runs(options: list[str], code: int, says: str):
    done = CliRunner().invoke(app, ["bench", *options])
    assert done.exit_code == code
    assert says in done.stderr
    assert "Traceback" not in done.output


def test_a_model_that_does_not_load_is_told_in_one_line(tmp_path: Path):
    directory = write_tiny_checkpoint(tmp_path / "tiny")
    (directory / "config.json").write_text('{"model_type": "llama"}')
    done = CliRunner().invoke(app, ["bench", "--model", str(directory)])
    assert done.exit_code == 1
    assert "is for a 'llama' model" in done.stderr
    assert done.stderr.count("\n") == 1


def test_capture_is_still_a_command_of_its_own():
    assert "cameras" not in CliRunner().invoke(app, ["bench", "capture", "--help"]).output.split()


def test_a_ratio_is_of_the_naive_call_with_as_many_new_tokens():
    naive = Naive({1: 1000.0, 32: 3000.0}, 2000)
    assert row(SETTING, measured(MAIN, 50.0), naive)["ratio"] == 20.0
    words = Scenario("words", 0, 32)
    assert row(SETTING, measured(words, 200.0), naive)["ratio"] == 15.0
    alone = row(SETTING, measured(MAIN, 50.0), None)
    assert alone["ratio"] is alone["naive_ms"] is None


def test_cameras_are_reckoned_from_a_round_of_all_of_them():
    # A window costs 100 ms, and each further new frame 100 ms: stride 1 s needs one new frame.
    rows = [
        measured(Scenario("8 new", 4, new_frames=8), 800.0),
        measured(Scenario("1 question", 1), 90.0),
        measured(MAIN, 100.0),
    ]
    assert capacity(rows, 1.0).on_stride == 10
    assert capacity(rows, 2.0).on_stride == 10  # two new frames a window, 200 ms
    # 7 s lie in a window: each camera is looked at every 7 s, with 7 new frames, 700 ms.
    assert capacity(rows, 1.0).blind_0 == 10
    # 7 of 7.37 s are seen: 737 ms.
    assert capacity(rows, 1.0).blind_5 == 10
    rows[0] = measured(Scenario("8 new", 4, new_frames=8), 100.0)  # new frames cost nothing
    assert capacity(rows, 2.0).on_stride == 20
    assert capacity(rows, 2.0).blind_0 == 70
    assert capacity(rows, 2.0).blind_5 == 73
    assert capacity(rows, 8.0).blind_5 == 0  # with a stride of 8 s a second in 8 is in no window


def test_a_table_of_slow_windows_fits_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "80")
    several = [Measured(one, 43210.1, 31234.5, 9876.5, 2098.7, 5, 9000) for one in scenarios(64)]
    loaded = Loaded(SETTING, Naive({1: 99999.0, 32: 123456.0}, 9999), 20.0, 411)
    _show(loaded, several, Limits(Roofline({"f32": 220.0}, 1.0, 2.0), ()))
    shown = capsys.readouterr().out
    assert "\u2026" not in shown  # what is cut
    assert shown.count("2.9x") == 2  # both descriptions


def test_it_says_which_engine_was_refused(tiny_dir: Path, tmp_path: Path):
    pytest.importorskip("openvino")
    (tmp_path / "file").touch()
    done = subprocess.run(
        command(
            tiny_dir, "--device", "cpu", "--runs", "1", "--seconds", "0.1", "--baseline", "--json"
        ),
        env=os.environ | {"CACHE_DIRECTORY": str(tmp_path / "file" / "cache")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert '"engine": "torch"' in done.stdout
    [warning] = done.stderr.splitlines()
    assert "openvino.refused" in warning
    assert "converted models cannot be kept" in warning
