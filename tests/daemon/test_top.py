"""Does `smolwatch top` show what matters, on any screen, and over restarts?"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType
from typer.testing import CliRunner

from daemon.cli import app
from daemon.control import ControlServer
from daemon.figures import Figures
from daemon.overview import overview_answers, status_content
from daemon.top_view import Screen, size, trouble, view, waiting_view
from tests.daemon.test_metrics import FixedGauges, camera, figures
from tests.mosquitto import wait_until

AWAY = "rtsp://***@10.0.0.5/: no connection. Check that the camera is on."


def house(**changes: Any) -> Figures:
    """Four cameras: one well, one blind, one away, one off."""
    well, away = camera("porch"), camera("attic", state="offline", message=AWAY, frame_age_s=None)
    off = camera("cellar", state="disabled")
    blind = replace(
        camera("drive"), windows=replace(well.windows, blind_share_recent=0.8), rules=()
    )
    well = replace(well, windows=replace(well.windows, blind_share_recent=0.0))
    cameras = {"cellar": off, "porch": well, "drive": blind, "attic": away}
    return figures(cameras=cameras, **changes)


def printed(shown: RenderableType, width: int = 120) -> list[str]:
    console = Console(width=width, height=100, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(shown)
    return captured.get().rstrip("\n").split("\n")


def cameras_of(lines: list[str]) -> list[str]:
    start = next(i for i, line in enumerate(lines) if line.startswith("camera"))
    return [line.split()[0] for line in lines[start + 1 : lines.index("", start)]]


def test_trouble_comes_first() -> None:
    told = status_content(house())
    assert cameras_of(printed(view(told, None, Screen(120)))) == [
        "attic", "drive", "porch", "cellar",
    ]  # fmt: skip


def test_all_that_matters_is_there() -> None:
    now, before = status_content(house(uptime_s=120.0)), status_content(house(uptime_s=60.0))
    before["cameras"][1]["windows"]["run"] -= 12
    before["events"] -= 3
    before["model"]["busy_s"] -= 6.0
    lines = printed(view(now, before, Screen(160)), 160)
    text = "\n".join(lines)
    porch = next(line for line in lines if line.startswith("porch"))
    for words in ("online", "0 %", "200 ms", "900 ms", " 12 ", "dog 12 s", "cat off"):
        assert words in porch, words
    for words in (
        "smolwatch 1.2.3", "fake@0 ready, 10 % busy", "connected, 4 wait (oldest 10 s)", "100 sent",
        "1 dead letters", "3.0 a minute", "1 clips, 2 snapshots", "disk 50 B free", AWAY,
    ):  # fmt: skip
        assert words in text, words
    assert "80 %" in next(line for line in lines if line.startswith("drive"))


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 100, 120])
def test_a_narrow_screen_has_fewer_columns_and_whole_ones(width: int) -> None:
    told = status_content(house())
    lines = printed(view(told, told, Screen(width)), width)
    assert max(map(len, lines)) <= width
    heads = next(line for line in lines if line.startswith("camera")).split()
    assert heads[:2] == ["camera", "state"]
    known = {"camera", "state", "blind", "latency", "worst", "looks/min", "busy", "failed"}
    assert set(heads) <= known | {"fps", "age", "lost", "rules"}
    assert cameras_of(lines) == ["attic", "drive", "porch", "cellar"]


def test_many_cameras_on_a_low_screen_leave_the_quiet_ones_out() -> None:
    cameras = {f"cam_{n:02d}": camera(f"cam_{n:02d}") for n in range(50)}
    cameras["cam_33"] = camera("cam_33", state="offline", message=AWAY)
    told = status_content(figures(cameras=cameras))
    lines = printed(view(told, None, Screen(80, 24)), 80)
    assert len(lines) <= 24
    assert cameras_of(lines)[0] == "cam_33"
    assert any(re.fullmatch(r"and \d+ more", line) for line in lines)


def test_a_restart_makes_no_rate() -> None:
    now, before = status_content(house(uptime_s=5.0)), status_content(house(uptime_s=900.0))
    assert "a minute" not in "\n".join(printed(view(now, before, Screen(120))))


def test_what_cameras_say_is_not_taken_for_markup() -> None:
    told = status_content(figures(cameras={"a": camera("a", message="[red]x[/red] [bold")}))
    assert "[red]x[/red] [bold" in "\n".join(printed(view(told, None, Screen(120))))


def test_waiting_shows_what_was_last() -> None:
    lines = printed(waiting_view("nobody answers", view(status_content(house()), None, Screen(80))))
    assert lines[0] == "waiting: nobody answers"
    assert any(line.startswith("attic") for line in lines)


def test_a_colder_camera_has_less_trouble() -> None:
    ranks = [trouble(one) for one in status_content(house())["cameras"]]
    assert sorted(ranks, reverse=True) == [ranks[3], ranks[2], ranks[1], ranks[0]]


@pytest.mark.parametrize(
    ("num_bytes", "words"),
    [(0, "0 B"), (17_400_000, "17 MB"), (1.25e9, "1.2 GB"), (3e12, "3.0 TB")],
)
def test_sizes(num_bytes: float, words: str) -> None:
    assert size(num_bytes) == words


@contextmanager
def serving(path: Path, told: Figures) -> Iterator[None]:
    server = ControlServer(path, overview_answers(FixedGauges(told)))
    stop = threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,))
    thread.start()
    wait_until(path.exists, "socket")
    try:
        yield
    finally:
        stop.set()
        thread.join(20)


def test_once_as_text_and_as_json(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    with serving(path, house()):
        text = CliRunner().invoke(app, ["top", "--once", "--socket", str(path)])
        assert text.exit_code == 0
        assert "attic" in text.stdout
        told = CliRunner().invoke(app, ["top", "--once", "--json", "--socket", str(path)])
        assert json.loads(told.stdout) == status_content(house())
    gone = CliRunner().invoke(app, ["top", "--once", "--socket", str(path)])
    assert (gone.exit_code, "is it running" in gone.stderr) == (1, True)
    quick = CliRunner().invoke(app, ["top", "--every", "0s", "--socket", str(path)])
    assert (quick.exit_code, "expected 0.2s" in quick.stderr) == (1, True)


def read_until(terminal: int, words: str, so_far: str = "", bound_s: float = 60.0) -> str:
    """What a terminal shows, from now on, until there are these words."""
    text, until_s = so_far, time.monotonic() + bound_s
    while words not in text:
        left_s = until_s - time.monotonic()
        assert left_s > 0, f"no {words!r} in {text[-2000:]!r}"
        if select.select([terminal], [], [], left_s)[0]:
            text += os.read(terminal, 65_536).decode(errors="replace")
    return text


def test_live_on_a_terminal_over_a_restart_of_the_daemon(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    command = [sys.executable, "-c", "from daemon.cli import main; main()", "top"]
    running = subprocess.Popen(
        [*command, "--every", "0.2s", "--socket", str(path)],
        stdin=theirs, stdout=theirs, stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    try:
        read_until(ours, "waiting:")
        with serving(path, house()):
            read_until(ours, "drive")
        read_until(ours, "as it was last")
        with serving(path, house(version="9.9.9")):
            read_until(ours, "smolwatch 9.9.9")
            running.send_signal(signal.SIGINT)
            assert running.wait(30) == 130
    finally:
        running.kill()
        running.wait(10)
        os.close(ours)
