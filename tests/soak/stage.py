"""What is soaked, and what stands around it?

Knows the parts: drawn clips served as RTSP cameras, Mosquitto behind a gate, a small disk, the
daemon. When what goes wrong is `schedule`'s affair.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from pipelines.scenes.acts import EventName
from pipelines.scenes.clips import encode_h264
from pipelines.scenes.draw import Painter
from pipelines.scenes.script import Script
from pipelines.scenes.stage import Place, random_stage
from tests.mosquitto import Gate, Mosquitto
from tests.rtsp_faults import Faults, break_framing, every, scramble
from tests.rtsp_server import RtspServer
from tests.soak.process import Process
from tests.soak.recorder import Recorder
from tests.soak.schedule import Fault
from tests.soak.wishes import MISTAKES, Wishes

DISK_BYTES: Final = 192 << 20
NEARLY_FULL: Final = 24 << 20  # left free: below the 64 MiB that pictures want
CLIP_S, CLIP_FPS = 28.0, 5
_WAIT_S: Final = 60.0
_PAGE: Final = 64 << 10
_CLIPS: Final[Mapping[str, tuple[Place, list[EventName]]]] = {
    "drive": ("driveway", ["car_arrive", "car_leave"]),
    "gate": ("driveway", ["car_arrive", "car_leave"]),
    "porch": ("porch", ["package_deliver", "package_take"]),
    "door": ("porch", ["package_deliver", "package_take"]),
}
_SCENES: Final = {
    "street": "scene://street?seed=3&fps=5&width=320",
    "yard": "scene://yard?seed=5&fps=5&width=320",
    "parcels": "scene://porch?seed=36&fps=5&width=320",
    "carport": "scene://driveway?seed=248&fps=5&width=320",
}
RTSP_CAMERAS: Final = tuple(_CLIPS)


class Stage:
    """Everything, running. `begin` and `end` are a fault's beginning and its end."""

    def __init__(self, folder: Path, disk: Path, seed: int, stack: ExitStack) -> None:
        self.began_s = time.monotonic()
        self.disk = disk
        self.reloads = 0
        self._rng = random.Random(seed)
        self._ballast = disk / "ballast"
        self.cameras = {
            name: stack.enter_context(RtspServer(_clip(folder, name, number)))
            for number, name in enumerate(_CLIPS)
        }
        (folder / "broker").mkdir()
        self.broker = Mosquitto(folder / "broker", settings=["max_queued_messages 0"])
        self.broker.start()
        stack.callback(self.broker.stop)
        stack.callback(self._thaw)
        # The daemon gets through the gate only while the recorder listens: what a broker without
        # persistence accepts while nobody has subscribed is nobody's loss.
        self.gate = stack.enter_context(Gate(self.broker.port))
        self.recorder = Recorder(self.broker.port, self.began_s)
        stack.callback(self.recorder.close)
        assert self.recorder.listening.wait(_WAIT_S)
        urls = {name: camera.url for name, camera in self.cameras.items()}
        self.wishes = Wishes(self.gate.port, disk, folder / "events.jsonl", urls | _SCENES)
        self.config = folder / "smolwatch.yaml"
        self.config.write_text(self.wishes.text())
        self.process = Process(folder, self.config, self.began_s)
        self.process.start()
        stack.callback(self.process.kill)

    @property
    def now_s(self) -> float:
        """Since the soak began."""
        return time.monotonic() - self.began_s

    def begin(self, fault: Fault) -> None:
        part, _, camera = fault.part.partition(" ")
        if part == "camera":
            self._harm(self.cameras[camera], fault.kind)
            return
        work: dict[tuple[str, str], Callable[[], None]] = {
            ("broker", "killed"): self._fell_broker,
            ("broker", "frozen"): self.broker.freeze,
            ("broker", "lines cut"): self.gate.cut,
            ("disk", "full"): lambda: self._fill(0),
            ("disk", "nearly full"): lambda: self._fill(NEARLY_FULL),
            ("daemon", "killed"): self.process.kill,
            ("daemon", "stopped"): self.process.stop,
            ("configuration", "reload"): self._reload,
            ("configuration", "reload of a mistake"): self._mistake,
        }
        work[part, fault.kind]()

    def end(self, fault: Fault) -> None:
        part, _, camera = fault.part.partition(" ")
        if part == "camera":
            self._mend(self.cameras[camera], fault.kind)
        elif part == "disk":
            self._ballast.unlink(missing_ok=True)
        elif part == "daemon":
            self.process.start()
        elif (part, fault.kind) == ("broker", "frozen"):
            self._thaw()
        elif (part, fault.kind) == ("broker", "killed"):
            self._raise_broker()

    def _harm(self, camera: RtspServer, kind: str) -> None:
        if kind == "disconnected":
            camera.stop()
        elif kind == "stalled":
            camera.pause()
        elif kind == "scrambled packets":
            camera.faults.wire = every(7, scramble)
        elif kind == "broken framing":
            camera.faults.wire = every(50, break_framing)
        elif kind == "no answer":
            camera.faults.unanswered = {"*"}
            _hang_up(camera)
        elif kind == "error 500":
            camera.faults.status = {"DESCRIBE": 500}
            _hang_up(camera)

    def _mend(self, camera: RtspServer, kind: str) -> None:
        camera.faults = Faults()
        if kind == "disconnected":
            camera.start()
        elif kind == "stalled":
            camera.resume()

    def _fell_broker(self) -> None:
        self.gate.nonsense = b""
        self.recorder.listening.clear()
        self.broker.stop()
        self.gate.cut()

    def _raise_broker(self) -> None:
        self.broker.start()
        assert self.recorder.listening.wait(_WAIT_S), "the recorder did not come back"
        self.gate.nonsense = None

    def _thaw(self) -> None:
        with contextlib.suppress(AssertionError):  # it is down
            self.broker.thaw()

    def _fill(self, left: int) -> None:
        """The daemon writes meanwhile, so what was free may not be any more."""
        size = shutil.disk_usage(self.disk).free - left
        with self._ballast.open("wb") as file:
            while size > 0:
                try:
                    os.posix_fallocate(file.fileno(), 0, size)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size -= _PAGE
                else:
                    return

    def _reload(self) -> None:
        self.wishes = self.wishes.changed(self._rng)
        self.config.write_text(self.wishes.text())
        self.reloads += self.process.ready
        self.process.hang_up()

    def _mistake(self) -> None:
        """Asked for, refused, and put right again in time for the next start."""
        if self.process.ready:
            self.config.write_text(self._rng.choice(MISTAKES))
            self.process.hang_up()
            time.sleep(2.0)  # for it to be read; whoever reads later finds nothing changed
        self.config.write_text(self.wishes.text())


@contextmanager
def stage(folder: Path, seed: int, *, small_disk: bool) -> Iterator[Stage]:
    """All of it for the length of a `with` block; every process is ended by its id."""
    with ExitStack() as stack:
        disk = folder / "disk"
        disk.mkdir()
        if small_disk:
            stack.enter_context(_mounted(disk))
        yield Stage(folder, disk, seed, stack)


def may_mount(folder: Path) -> bool:
    """Whether a small disk can be made here: it wants root, and a kernel that lets it."""
    try:
        with _mounted(folder):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextmanager
def _mounted(disk: Path) -> Iterator[None]:
    size = f"size={DISK_BYTES}"
    mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(disk)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _hang_up(camera: RtspServer) -> None:
    for client in list(camera._clients):
        client.hang_up()


def _clip(folder: Path, name: str, seed: int) -> Path:
    """H.264 in which something arrives and leaves again: looped, it goes on without a jump."""
    place, events = _CLIPS[name]
    path = folder / f"{name}.mp4"
    drawn = random_stage(np.random.default_rng(5 + seed), place, night=False)
    script = Script(drawn, 5 + seed, events, (4.0, 4.0), (9.0, 9.0))
    painter = Painter(drawn, 320, 180)
    times = [n / CLIP_FPS for n in range(round(CLIP_S * CLIP_FPS))]
    images = [painter.paint(script.state_at(t), t) for t in times]
    encode_h264(images, CLIP_FPS, 24, str(path))
    return path
