"""Where do the pictures of a camera's empty scene come from, and what is answered about them?

Knows drawn scenes, recordings and the running daemon's socket, and the model; no bars and no
terminal. Whatever they are from, they are looked at in the camera's own windows, each after each.
"""

from __future__ import annotations

import base64
import dataclasses
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import cv2
import numpy as np

from daemon.config import Config
from daemon.control import ask
from daemon.selftest import FEWEST, LIGHTS, Light, light_of, twin_of
from pipelines.errors import SmolwatchError
from pipelines.playback import Playback, PlayClock, View
from pipelines.rules import Rule
from pipelines.smolvlm2.prompt import DESCRIBE_PROMPT
from pipelines.sources import FrameSource, SourceUrl, open_source
from pipelines.types import Frame, VideoModel, Window
from pipelines.window_plan import WindowPlan
from pipelines.zones import plain_question

Answers = dict[Light, list[Mapping[str, float]]]  # windows in their order
SCENE_WINDOWS: Final = 10
_KEPT: Final = ("seed", "fps", "width")  # of a drawn camera's address


class NoEmptyScene(SmolwatchError):
    """No pictures of the empty scene can be had; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What is asked, of which camera's windows."""

    config: Config
    camera: str
    rules: Sequence[Rule]  # those that are tested

    @property
    def questions(self) -> tuple[str, ...]:
        """The rules' questions, and the contrary of each."""
        own = dict.fromkeys(q for rule in self.rules for q in rule.questions)
        return tuple(dict.fromkeys([*own, *map(twin_of, own)]))

    def view(self, name: str) -> View:
        """Every window, whether something moves or not."""
        camera = self.config.cameras[self.camera]
        asking = tuple(Rule(f"q{n}", ask=question) for n, question in enumerate(self.questions))
        return View(
            name=name,
            plan=dataclasses.replace(camera.plan(), gate="always"),
            rules=asking,
            prompt=DESCRIBE_PROMPT,
            mask=camera.mask,
            zones=self.config.zones_for(self.camera),
        )


def of_scene(probe: Probe, model: VideoModel) -> Answers:
    """Of a drawn camera: its place with nobody there, by day and by night."""
    source = probe.config.cameras[probe.camera].source
    address, _, query = source.secret.partition("?")
    kept = {key: value for key, value in parse_qsl(query) if key in _KEPT}
    plan = probe.view(probe.camera).plan
    seconds = plan.span_s + SCENE_WINDOWS * plan.stride_s + 1.0
    found: Answers = {}
    for light in LIGHTS:
        url = SourceUrl(f"{address}?{urlencode({**kept, 'event': 'empty', 'light': light})}")
        clock = PlayClock(0.0)
        scene = open_source(url, clock)
        found |= _played(probe, model, scene, clock, light=light, seconds=seconds)
    return found


def of_video(probe: Probe, model: VideoModel, video: Path) -> Answers:
    """Of a recording of the empty scene, sorted by its light. Raises `SourceError`."""
    clock = PlayClock(0.0)
    decode = probe.config.cameras[probe.camera].decode
    source = open_source(SourceUrl(str(video.resolve())), clock, decode=decode)
    return _played(probe, model, source, clock)


def of_daemon(probe: Probe, model: VideoModel, socket: Path) -> Answers:
    """Of what the running daemon sees just now, if nothing moves. Raises `ControlError`."""
    views: dict[str, dict[int, Frame]] = {}
    for line in ask(socket, {"op": "quiet_frames", "camera": probe.camera}):
        frame = _frame(probe.camera, line)
        views.setdefault(frame.view, {})[frame.seq] = frame
    plan = probe.config.cameras[probe.camera].plan()
    whole = sorted(views.get("", {}))
    found: Answers = {}
    for last in range(plan.num_frames, len(whole) + 1):
        seqs = whole[last - plan.num_frames : last]
        answers: dict[str, float] = {}
        for view, frames in views.items():
            names = {plain_question(q): q for q in probe.questions if _is_about(q, view)}
            if not names or not all(seq in frames for seq in seqs):
                continue
            window = _window(probe.camera, tuple(frames[seq] for seq in seqs))
            seen = model.observe(window, tuple(names), None)
            answers |= {names[text]: p_yes for text, p_yes in seen.answers.items()}
        if set(probe.questions) <= answers.keys():
            found.setdefault(light_of(views[""][seqs[-1]].image), []).append(answers)
    return enough(found, probe.camera, plan)


def enough(found: Answers, what: str, plan: WindowPlan) -> Answers:
    """Only lights of which there are windows enough; raises `NoEmptyScene` if there is none."""
    kept = {light: windows for light, windows in found.items() if len(windows) >= FEWEST}
    if not kept:
        needed_s = plan.span_s + FEWEST * plan.stride_s
        count = max(map(len, found.values()), default=0)
        raise NoEmptyScene(
            f"{what}: {count} whole windows, and {FEWEST} are needed: that is {needed_s:g} s of "
            "pictures, with the window of this camera"
        )
    return kept


def _played(
    probe: Probe,
    model: VideoModel,
    source: FrameSource,
    clock: PlayClock,
    *,
    light: Light | None = None,
    seconds: float | None = None,
) -> Answers:
    """The answers about what a source shows, in the given light or in that of each picture."""
    view = probe.view(f"{probe.camera}/{source.url}")
    playback = Playback(model, source, clock, view)
    lights: dict[float, Light] = {}
    for at_s, image in playback.run(threading.Event()):
        lights[at_s] = light if light is not None else light_of(image)
        if seconds is not None and at_s >= seconds:
            break
    found: Answers = {}
    for look in playback.looks:
        if set(probe.questions) <= look.answers.keys():
            found.setdefault(lights[look.end_s], []).append(look.answers)
    return enough(found, str(source.url), view.plan)


def _frame(camera: str, line: Mapping[str, Any]) -> Frame:
    bgr = cv2.imdecode(np.frombuffer(base64.b64decode(line["png"]), np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise NoEmptyScene(f"{camera}: the daemon sent a picture that cannot be read")
    return Frame(
        camera=camera,
        epoch=0,
        seq=int(line["seq"]),
        captured_s=float(line["captured_s"]),
        wall_time=float(line["wall_time"]),
        image=np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8),
        motion=0.0,
        view=str(line["view"]),
    )


def _window(camera: str, frames: tuple[Frame, ...]) -> Window:
    start_s, end_s = frames[0].captured_s, frames[-1].captured_s
    return Window(camera, frames[-1].seq, frames, start_s, end_s, "request", end_s)


def _is_about(question: str, view: str) -> bool:
    plain = plain_question(question)
    return question == plain if not view else view in question.removeprefix(plain)


def missing(found: Iterable[Light]) -> Light | None:
    """The light of which there was nothing; None if there were both."""
    seen = set(found)
    return next((light for light in LIGHTS if light not in seen), None)
