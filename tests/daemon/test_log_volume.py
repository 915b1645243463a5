"""How many lines does an hour bring, and who can ask for more?"""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from typer.testing import CliRunner

from daemon.cli import app
from daemon.control import ControlServer
from daemon.log_levels import PARTS, UnknownPart, level_answer, levels, set_level
from daemon.log_repeats import EVERY_S, SHOWN
from daemon.logs import setup, tell_repeats
from pipelines.capture import CaptureWorker
from pipelines.errors import SourceError, Unreachable
from pipelines.ring import FrameRing
from pipelines.sources.base import Picture
from tests.fakes import FakeClock, FakeSource

HOUR_S = 3600.0


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    set_level("all", "info")
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


class Log:
    """What the daemon says, by a clock of the test's own."""

    def __init__(self, clock: FakeClock, level: str = "info") -> None:
        self._stream = io.StringIO()
        setup(level=level, stream=self._stream, now_s=clock.monotonic_s)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]


class Ticking(FakeClock):
    """With the main thread's tick, once a second."""

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        tell_repeats()


def picture(clock: FakeClock) -> Picture:
    return Picture(np.zeros((36, 64, 3), np.uint8), clock.monotonic_s())


def hour_of(source: FakeSource, clock: FakeClock, stop: threading.Event) -> None:
    worker = CaptureWorker(
        "porch", source, FrameRing(8), clock, sample_interval_s=1.0, frame_edge_px=64, seed=7
    )
    begun_s = clock.monotonic_s()
    worker.run(stop)
    assert clock.monotonic_s() - begun_s >= HOUR_S  # it was a whole hour


def script(clock: FakeClock, stop: threading.Event, up_s: int) -> Iterator[Any]:
    """So many seconds of pictures, then a failure; for an hour. `up_s` 0: no failure."""
    end_s = clock.monotonic_s() + HOUR_S
    count = 0
    while clock.monotonic_s() < end_s:
        count += 1
        if up_s and count % (up_s + 1) == 0:
            yield Unreachable("rtsp://h/: no connection. Look at the cable.")
        else:
            yield picture(clock)
    yield stop


@pytest.mark.parametrize(
    ("up_s", "most"),
    [
        (0, 5),  # healthy: it says that it is online, and no more
        (5, 30),  # comes and goes every few seconds
    ],
)
@pytest.mark.parametrize("level", ["info", "debug"])
def test_lines_of_an_hour(up_s: int, most: int, level: str) -> None:
    clock, stop = Ticking(), threading.Event()
    log = Log(clock, level)
    hour_of(FakeSource(script(clock, stop, up_s), clock), clock, stop)
    tell_repeats(ending=True)
    lines = log.lines
    assert 1 <= len(lines) <= most
    if up_s:
        states = [(line["state"], line.get("repeated", 1)) for line in lines]
        gone = sum(times for state, times in states if state == "offline")
        assert gone >= 50  # every one of them is counted
        back = sum(times for state, times in states if state == "online")
        assert abs(gone - back) <= 1


def test_a_camera_that_is_never_there_says_so_once() -> None:
    clock, stop = Ticking(), threading.Event()
    log = Log(clock)
    errors: list[SourceError | threading.Event] = [Unreachable("rtsp://h/: gone. Look.")] * 200
    source = FakeSource([*errors, stop], clock, frame_s=20.0)
    hour_of(source, clock, stop)
    assert len([line for line in log.lines if line.get("state") == "offline"]) <= SHOWN


def test_repeats_are_counted_and_other_lines_are_not_hidden() -> None:
    clock = FakeClock()
    log, told = Log(clock), structlog.get_logger("daemon.test")
    for number in range(40):
        told.warning("media.failed", camera="porch", n=number)
        told.warning("media.failed", camera="yard") if number == 20 else None
        clock.advance(1.0)
    assert [line["camera"] for line in log.lines] == ["porch"] * SHOWN + ["yard"]
    clock.advance(EVERY_S)
    tell_repeats()
    tell_repeats()  # once is enough
    last = log.lines[-1]
    assert (len(log.lines), last["repeated"], last["n"]) == (SHOWN + 2, 40 - SHOWN, 39)
    clock.advance(2 * EVERY_S)
    told.warning("media.failed", camera="porch")  # long after: it is news again
    assert "repeated" not in log.lines[-1]
    assert len(log.lines) == SHOWN + 3


def test_lines_of_libraries_are_counted_too_and_the_end_tells_what_was_held_back() -> None:
    log = Log(FakeClock())
    for _ in range(10):
        logging.getLogger("libav.h264").warning("error while decoding MB %d", 3)
    tell_repeats(ending=True)
    assert log.lines[-1]["event"] == f"error while decoding MB 3 (repeated {10 - SHOWN} times)"
    assert len(log.lines) == SHOWN + 1


def fail() -> None:
    raise OSError("no")


def test_no_traceback_is_held_back() -> None:
    log = Log(FakeClock())
    for _ in range(10):
        try:
            fail()
        except OSError:
            structlog.get_logger("daemon.test").exception("it.broke")
    assert len(log.lines) == 10


def test_levels_of_parts() -> None:
    stream = io.StringIO()
    setup(level="warning", levels={"capture": "debug", "mqtt": "error"}, stream=stream)
    for name in ("pipelines.sources.usb", "daemon.mqtt.client", "daemon.media", "daemon.publisher"):
        log = structlog.get_logger(name)
        log.debug("debug")
        log.warning("warning")
    said = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["logger"], line["event"]) for line in said] == [
        ("pipelines.sources.usb", "debug"),
        ("pipelines.sources.usb", "warning"),
        ("daemon.media", "warning"),
    ]
    setup(level="info", stream=stream)  # a changed configuration without `levels`
    assert set(levels().values()) == {"info"} | {"warning"} or set(levels().values()) == {"info"}


def test_every_logger_of_a_part_is_there() -> None:
    """A module that was renamed would go on at another level."""
    root = Path(__file__).parents[2]
    for names in PARTS.values():
        for name in names:
            if name.startswith(("daemon.", "pipelines.")):
                path = root / name.replace(".", "/")
                assert path.is_dir() or path.with_suffix(".py").is_file(), name


def test_the_command_changes_levels_of_the_running_daemon(tmp_path: Path) -> None:
    setup(level="info", stream=io.StringIO())
    path, stop = tmp_path / "control.sock", threading.Event()
    server = ControlServer(path, {"log-level": level_answer})
    thread = threading.Thread(target=server.run, args=(stop,))
    thread.start()
    try:
        while not path.exists():
            stop.wait(0.02)

        def said(*arguments: str) -> tuple[int, str]:
            run = CliRunner().invoke(app, ["log-level", *arguments, "--socket", str(path)])
            return run.exit_code, run.output

        code, text = said("capture", "debug")
        assert (code, "capture    debug" in text, "store      info" in text) == (0, True, True)
        assert levels()["capture"] == "debug"
        assert said("captur", "debug")[0] == 1
        assert "warning" in said("capture", "loud")[1]
        assert said("capture")[0] == 2
        assert said("all", "warning")[0] == 0
        assert levels()["capture"] == "warning"
    finally:
        stop.set()
        thread.join(30)


def test_wrong_parts_and_levels_are_named() -> None:
    with pytest.raises(UnknownPart, match="capture"):
        set_level("kapture", "info")
    with pytest.raises(UnknownPart, match="debug"):
        set_level("capture", "verbose")
