"""Can a person see what the broker refused, and do something about it?"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemon.cli import app
from daemon.control import ControlServer
from daemon.letters import letter_answers
from daemon.mqtt.payloads import Message
from daemon.mqtt.refusals import refused, too_large
from daemon.outbox import Outbox
from tests.fakes import FakeClock
from tests.mosquitto import WAIT_S, wait_until


def message(topic: str) -> Message:
    return Message(topic, b"12345", 1, retain=False, kind="alert")


@pytest.fixture
def outbox() -> Outbox:
    outbox = Outbox(FakeClock(wall_time=1_700_000_000.0))
    for topic, why in (("a", refused(0x87, "Not authorized")), ("b", too_large(900, 500))):
        outbox.put(message(topic))
        outbox.refuse(outbox.take(1)[0].id, why)
    return outbox


class Asked:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, *options: str) -> tuple[int, list[str]]:
        arguments = ["mqtt", "dead-letters", "--socket", str(self.path), *options]
        result = CliRunner().invoke(app, arguments)
        return result.exit_code, result.output.splitlines()


@pytest.fixture
def asked(request: pytest.FixtureRequest) -> Iterator[Asked]:
    """A daemon's socket; with the `outbox` that the test has, if any."""
    outbox = request.getfixturevalue("outbox") if "outbox" in request.fixturenames else None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s"
        stop = threading.Event()
        server = ControlServer(path, letter_answers(outbox))
        thread = threading.Thread(target=server.run, args=(stop,))
        thread.start()
        wait_until(path.exists, "it listens")
        yield Asked(path)
        stop.set()
        thread.join(WAIT_S)


def test_they_are_listed_with_their_reason_and_what_comes_next(
    outbox: Outbox, asked: Asked
) -> None:
    code, (first, second) = asked()
    assert code == 0
    assert "alert  a  5 bytes  Not authorized (0x87)  1x, again at " in first
    assert second.endswith(
        "b  5 bytes  900 bytes, and the broker takes 500 (0x95)  1x, waits for --retry"
    )


def test_they_are_listed_as_json(outbox: Outbox, asked: Asked) -> None:
    _, lines = asked("--json")
    letters = [json.loads(line) for line in lines]
    assert [(letter["topic"], letter["code"]) for letter in letters] == [("a", 0x87), ("b", 0x95)]


def test_all_are_sent_once_more(outbox: Outbox, asked: Asked) -> None:
    assert asked("--retry") == (0, ["2 retried"])
    assert [queued.message.topic for queued in outbox.take(5)] == ["a", "b"]


def test_all_are_dropped(outbox: Outbox, asked: Asked) -> None:
    assert asked("--drop") == (0, ["2 dropped"])
    assert asked() == (0, ["nothing was refused"])
    assert outbox.stats().pending == 0


def test_both_at_once_are_refused(outbox: Outbox, asked: Asked) -> None:
    code, _ = asked("--drop", "--retry")
    assert code == 2
    assert len(outbox.dead_letters()) == 2


def test_a_daemon_without_a_broker_says_so(asked: Asked) -> None:
    code, lines = asked()
    assert code == 1
    assert "talks to no broker" in lines[0]
