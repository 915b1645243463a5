"""Does the daemon serve while its model loads, and what if it never comes?"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from daemon.app import App, build_app
from daemon.config import load_config
from daemon.config_sections import ModelConfig
from daemon.lookout import cause_of
from daemon.model_loader import FIRST_WAIT_S, LONGEST_WAIT_S, ModelLoader, Progress, Wish
from daemon.running import Running
from daemon.service import run_model, wish_of
from daemon.store import Limits, Store
from daemon.systemd import Notifier, Watchdog
from pipelines.clock import SystemClock
from pipelines.errors import ModelError, ModelUnavailable, RequestRefused
from pipelines.model_slot import ModelState
from pipelines.requests import Request
from pipelines.smolvlm2.identity import identify
from pipelines.smolvlm2.loading import from_name
from pipelines.smolvlm2.random_weights import FULL_SIZES
from pipelines.types import Frame, VideoModel, Window
from pipelines.windows import WindowCounts
from tests.checkpoints import write_tiny_checkpoint
from tests.fakes import FakeClock, FakeModel
from tests.mosquitto import WAIT_S, wait_until

CONFIG = """
model: {name: ./tiny}
cameras:
  yard:
    source: scene://yard?seed=3&width=160
    window: {num_frames: 2, interval_s: 0.1, stride_s: 0.1}
    gate: always
    describe: off
rules:
  person: {cameras: [yard], ask: "Is there a person?"}
"""


def wish(load: Callable[[Progress], VideoModel]) -> Wish:
    return Wish("tiny", "tiny@1", 64, load)


class Script:
    """What loading does, attempt by attempt: an error is raised, a model returned."""

    def __init__(self, *steps: ModelError | VideoModel) -> None:
        self.steps = list(steps)
        self.seen: list[str] = []

    def __call__(self, progress: Progress) -> VideoModel:
        step = self.steps.pop(0)
        if isinstance(step, ModelError):
            raise step
        return step


@contextmanager
def running(app: App) -> Iterator[None]:
    notifier = Notifier()
    codes: list[int] = []
    thread = threading.Thread(
        target=lambda: codes.append(Running(app).run(Watchdog(notifier, None), notifier))
    )
    thread.start()
    try:
        yield
    finally:
        app.workers.ended.set()
        thread.join(WAIT_S)
    assert codes == [0]


def app_of(folder: Path, loader: ModelLoader | None = None) -> App:
    (folder / "c.yaml").write_text(CONFIG.replace("./tiny", str(folder / "tiny")))
    config = load_config(folder / "c.yaml", {})
    clock = SystemClock()
    loader = loader or ModelLoader(wish_of(config), clock)
    store = Store(folder / "s.db", Limits(), clock)
    return build_app(config, loader, None, clock, store)


def causes(app: App) -> list[str]:
    assert app.store is not None
    return [row[0] for row in app.store._connection.execute("SELECT cause FROM spans")]


def test_cameras_run_and_are_blind_until_the_model_is_there(tmp_path: Path) -> None:
    release = threading.Event()

    def load(_: Progress) -> VideoModel:
        assert release.wait(WAIT_S)
        return FakeModel({"Is there a person?": 0.9})

    app = app_of(tmp_path, ModelLoader(wish(load), SystemClock()))
    with running(app):
        wait_until(lambda: app.captures["yard"].health().frames_sampled > 4, "frames")
        wait_until(lambda: "model loading" in causes(app), "why knows")
        counts = app.scheduler.counts("yard", app.clock.monotonic_s())
        assert counts.skipped > 0
        assert app.inference.windows_run == counts.ran == 0
        assert app.reporter.report().startswith("model loading; 1 of 1 cameras")
        with pytest.raises(RequestRefused, match="camera yard cannot be asked: the model is load"):
            app.requests.put(Request("yard", "Is there a person?"))
        release.set()
        wait_until(lambda: app.inference.windows_run > 2, "windows")
        assert app.reporter.report().startswith("1 of 1 cameras")
        later = app.scheduler.counts("yard", app.clock.monotonic_s())
        assert 0 < later.blind_share < 1


def test_a_model_directory_that_comes_later_is_taken_up(tmp_path: Path) -> None:
    elsewhere = write_tiny_checkpoint(tmp_path / "elsewhere")
    app = app_of(tmp_path)
    assert app.loader is not None
    slot = app.loader.slot
    with running(app):
        wait_until(lambda: slot.state.phase == "failed", "it is not there")
        assert "no model directory" in app.reporter.report()
        wait_until(lambda: "model failed" in causes(app), "why knows")
        shutil.copytree(elsewhere, tmp_path / "tiny")
        app.loader.want(wish_of(app.config))
        wait_until(lambda: app.inference.windows_run > 0, "windows", 4 * WAIT_S)
        assert slot.model_id == from_name(tmp_path / "tiny").model_id


def run_to_its_end(loader: ModelLoader, clock: FakeClock, is_over: Callable[[], bool]) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=loader.run, args=(stop,))
    thread.start()
    wait_until(is_over, "the loader comes to an end")
    stop.set()
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_what_may_come_by_itself_is_tried_again_ever_more_slowly() -> None:
    clock = FakeClock()
    script = Script(*[ModelUnavailable("no network")] * 9, FakeModel())
    loader = ModelLoader(wish(script), clock)
    run_to_its_end(loader, clock, lambda: loader.slot.state.phase == "ready")
    waited_s = [FIRST_WAIT_S * 2**n for n in range(9)]
    expected_s = sum(min(wait_s, LONGEST_WAIT_S) for wait_s in waited_s)
    assert sum(clock.waits) >= expected_s
    assert sum(clock.waits) - expected_s < clock.waits.count(0.5)


def test_what_only_people_can_mend_waits_for_them() -> None:
    clock = FakeClock()
    script = Script(ModelError("model.safetensors: wrong checksum"), FakeModel())
    loader = ModelLoader(wish(script), clock)
    run_to_its_end(loader, clock, lambda: len(clock.waits) > 10_000)
    assert str(loader.slot.state) == "failed: model.safetensors: wrong checksum"
    assert loader.slot.away is not None
    loader.want(wish(script))
    run_to_its_end(loader, clock, lambda: loader.slot.state.phase == "ready")
    assert loader.slot.away is None


def test_a_download_is_told_and_given_up_for_another_wish() -> None:
    told: list[str] = []
    begun = threading.Event()

    def endless(progress: Progress) -> VideoModel:
        for step in range(10**9):
            progress(min(0.43, step / 100))
            told.append(str(loader.slot.state))
            if len(told) > 50:
                begun.set()
        raise AssertionError

    loader = ModelLoader(wish(endless), FakeClock())
    stop = threading.Event()
    thread = threading.Thread(target=loader.run, args=(stop,))
    thread.start()
    assert begun.wait(WAIT_S)
    assert told[43] == "downloading 43%"
    loader.want(wish(lambda _: FakeModel()))
    wait_until(lambda: loader.slot.state.phase == "ready", "the other one")
    stop.set()
    thread.join(WAIT_S)


def test_what_is_known_of_a_model_beforehand_is_true(tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path / "tiny")
    for name in ("bundled", str(tmp_path / "tiny")):
        model = from_name(name)
        assert identify(name) == (model.model_id, model.frame_edge_px)
    for name, sizes in FULL_SIZES.items():
        assert identify(name)[1] == sizes["vision"]["image_size"]
    assert identify(str(tmp_path / "gone")) == ("gone", 512)


def test_causes_of_a_missing_model() -> None:
    skipped = WindowCounts(skipped=1)
    nothing = WindowCounts()
    loading, failed = ModelState("loading"), ModelState("failed", "disk")
    assert cause_of(nothing, skipped, None, loading)[0] == "model loading"
    assert cause_of(nothing, skipped, None, failed) == ("model failed", "disk")
    assert cause_of(nothing, skipped, None)[0] == "busy"
    assert cause_of(nothing, skipped, "no route", loading)[0] == "away"
    assert cause_of(nothing, WindowCounts(gated=1), None, loading)[0] == "quiet"


@pytest.mark.parametrize(("wanted", "reused"), [("off", 0), (8.0, 3)])
def test_still_frames_share_features_only_where_it_is_said(
    tmp_path: Path, wanted: object, reused: int
) -> None:
    write_tiny_checkpoint(tmp_path / "tiny")
    said = {"name": str(tmp_path / "tiny"), "engine": "torch", "reuse_unchanged": wanted}
    model = run_model(ModelConfig.model_validate(said))
    image = np.zeros((36, 64, 3), np.uint8)
    frames = tuple(Frame("yard", 0, seq, seq, seq, image, 0.0) for seq in range(4))
    seen = model.observe(Window("yard", 0, frames, 0.0, 3.0, "stride", 3.0), ["Is it?"], None)
    assert seen.timings.frames_reused == reused
    assert seen.timings.frames_encoded == 4 - reused
