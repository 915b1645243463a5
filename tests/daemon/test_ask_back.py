"""Does somebody who asks the running daemon about a camera get the answer, and nobody else wait?"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from daemon.app import App, build_app
from daemon.cli import app as command_line
from daemon.config import load_config
from daemon.control import ControlError, ask
from daemon.running import Running
from daemon.systemd import Notifier, Watchdog
from pipelines.clock import SystemClock
from pipelines.requests import MOST_WAITING
from pipelines.types import Window
from tests.fakes import FakeModel
from tests.mosquitto import wait_until
from tests.sockets import listens

CONFIG = """
cameras:
  yard:
    source: scene://yard?seed=3&width=640
    window: {num_frames: 4, interval_s: 0.1, stride_s: 0.1}
    gate: always
    describe: off
    mask: [[[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]]]
  shed: {source: "file:/nowhere/shed.mp4"}
  off: {source: "scene://porch", enabled: false}
rules:
  person: {cameras: [yard], ask: "Is there a person?"}
store: off
"""


class Slow(FakeModel):
    """Answers windows at once, and questions about a lorry when it is let."""

    def __init__(self) -> None:
        super().__init__(self.answer, description="Yes, a\x1b[31m dog.")
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def answer(self, window: Window, question: str) -> float:
        if "lorry" in question:
            self.begun.set()
            assert self.go_on.wait(60)
        return 0.9 if window.reason == "request" else 0.1


@contextmanager
def running(folder: Path, model: FakeModel, text: str = CONFIG) -> Iterator[tuple[App, Path]]:
    (folder / "smolwatch.yaml").write_text(text)
    config = load_config(folder / "smolwatch.yaml", {})
    socket = folder / "c.sock"
    app = build_app(config, model, None, SystemClock(), None, socket)
    notifier = Notifier()
    thread = threading.Thread(target=Running(app).run, args=(Watchdog(notifier, None), notifier))
    thread.start()
    try:
        wait_until(lambda: app.inference.windows_run > 0 and listens(socket), "a window")
        yield app, socket
    finally:
        if isinstance(model, Slow):
            model.go_on.set()
        app.workers.ended.set()
        thread.join(30)
        assert not thread.is_alive()


def smolwatch(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(command_line, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_asked_as_a_person_does(tmp_path: Path) -> None:
    picture = tmp_path / "out.jpg"
    with running(tmp_path, Slow()) as (app, socket):
        where = ("--socket", str(socket))
        code, said, _ = smolwatch(
            "ask", "yard", "Is there a dog?", "--last", "1s", "--snapshot", str(picture), *where
        )
        assert code == 0
        assert "Yes, a[31m dog.  (p_yes 0.90)" in said  # the terminal is not the model's to command
        image = cv2.imread(str(picture))
        assert image is not None
        assert image.shape[1] == FakeModel.frame_edge_px
        assert image[: image.shape[0] // 2 - 2, : image.shape[1] // 2 - 2].max() < 20  # masked
        assert image.max() > 60
        code, said, _ = smolwatch("ask", "yard", "--json", *where)
        told = json.loads(said)
        assert (code, told["question"], told["p_yes"], told["camera"]) == (0, None, None, "yard")
        assert 2 <= told["frames"] <= 4  # fewer on a machine that has no time
        code, _, told_more = smolwatch("ask", "yard", "Is it?", "--last", "1h", *where)
        assert code == 0
        assert "s are kept)" in told_more
        assert app.requests.counts["answered"] == 3


def test_the_snapshot_is_as_sharp_as_what_is_kept(tmp_path: Path) -> None:
    more = f"media: {{dir: {tmp_path}/media}}\n"
    (tmp_path / "media").mkdir()
    text = CONFIG.replace('"Is there a person?"}', '"Is there a person?", snapshot: true}') + more
    with running(tmp_path, Slow(), text) as (_, socket):
        request = {"op": "ask", "camera": "yard", "question": "Is it?", "snapshot": True}
        told = list(ask(socket, request))[-1]["answer"]
    jpeg = np.frombuffer(base64.b64decode(told["snapshot"]), np.uint8)
    image = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape[1] == 640
    assert image[:170, :310].max() < 20


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("yrad", "Is it?"), "no camera 'yrad'. Did you mean yard? There are: yard, shed, off"),
        (("off", "Is it?"), "it is switched off, over MQTT or by cameras.off.enabled"),
        (("shed", "Is it?"), "shed cannot be asked"),
        (("yard", " "), "the question is empty"),
        (("yard", "Is it?", "--last", "soon"), "'soon' is no span of time; expected 20s"),
        (("yard", "Is it?", "--last", "0s"), "hold nothing"),
        (("yard", "Is it?", "--snapshot", "/nowhere/x.jpg"), "/nowhere/x.jpg cannot be written"),
    ],
)
def test_what_cannot_be_asked(shared: Path, arguments: tuple[str, ...], said: str) -> None:
    code, _, told = smolwatch("ask", *arguments, "--socket", str(shared))
    assert code == 1
    assert said in told.replace("\n", " ")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with running(tmp_path_factory.mktemp("shared"), Slow()) as (app, socket):
        wait_until(lambda: app.captures["shed"].health().state == "offline", "shed to be missed")
        yield socket


def test_one_slow_answer_holds_up_no_other_command(tmp_path: Path) -> None:
    model = Slow()
    with running(tmp_path, model) as (app, socket):
        model.go_on.clear()
        found: list[dict[str, object]] = []
        question = {"op": "ask", "camera": "yard", "question": "Is there a lorry?"}

        def wait_for_it() -> None:
            found.extend(ask(socket, question))

        slow = [threading.Thread(target=wait_for_it) for _ in range(MOST_WAITING + 1)]
        slow[0].start()
        assert model.begun.wait(60)
        for thread in slow[1:]:
            thread.start()
        wait_until(lambda: len(app.requests._waiting) == MOST_WAITING, "all to be asked")
        with pytest.raises(ControlError, match="8 questions wait for the model already"):
            list(ask(socket, question))
        with pytest.raises(ControlError, match="nothing is remembered"):  # answered all the same
            list(ask(socket, {"op": "events"}))
        model.go_on.set()
        for thread in slow:
            thread.join(60)
        assert sum("answer" in told for told in found) == MOST_WAITING + 1


def test_who_goes_away_frees_the_place(tmp_path: Path) -> None:
    model = Slow()
    with running(tmp_path, model) as (app, socket):
        model.go_on.clear()
        first = ask(socket, {"op": "ask", "camera": "yard", "question": "Is there a lorry?"})
        assert "answering" in next(first)["waiting"]
        second = ask(socket, {"op": "ask", "camera": "yard", "question": "Is there a dog?"})
        assert next(second)["waiting"] == "1 other question is before it"
        second.close()  # as Ctrl+C does
        wait_until(app.requests._waiting[0].future.cancelled, "it to be noticed")
        model.go_on.set()
        assert "answer" in list(first)[-1]
        wait_until(lambda: not app.requests._waiting, "it to be passed over")
        assert app.requests.counts == {"answered": 1}


def test_time_that_is_over_says_what_it_was_spent_on(tmp_path: Path) -> None:
    model = Slow()
    with running(tmp_path, model) as (_, socket):
        model.go_on.clear()
        code, _, told = smolwatch(
            "ask", "yard", "Is there a lorry?", "--wait", "2s", "--socket", str(socket)
        )
        assert code == 1
        assert "no answer within 2 s: the model has been answering for" in told.replace("\n", " ")


def test_a_stop_answers_who_waits(tmp_path: Path) -> None:
    model = Slow()
    with running(tmp_path, model) as (app, socket):
        model.go_on.clear()
        waiting = ask(socket, {"op": "ask", "camera": "yard", "question": "Is there a lorry?"})
        next(waiting)
        app.workers.ended.set()
        with pytest.raises(ControlError, match="smolwatch is stopping"):
            list(waiting)
