"""What does the running daemon answer to those who try its rules?

Knows the store, the rings and what selftests found; no terminal. `daemon.questions` has the rest.
"""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import cv2

from daemon.control import Answer, ControlError
from daemon.selftest_memory import SelftestMemory
from daemon.store import Store
from daemon.store_looks import Page, breaks, looks
from pipelines.ring import FrameRing
from pipelines.types import Frame
from pipelines.window_plan import WindowPlan
from pipelines.zones import Zone

Json = dict[str, Any]
_NEIGHBOURS: Final = 8  # windows beyond the first that are made of the frames
Rings = Mapping[str, tuple[WindowPlan, FrameRing, Mapping[Zone, FrameRing]]]


def trial_answers(store: Store | None, rings: Rings, memory: SelftestMemory) -> dict[str, Answer]:
    """Operation -> what answers it. `rings`: of each camera, with its plan and its zones."""
    return {
        "looks": partial(_stored, store, _looks),
        "breaks": partial(_stored, store, _breaks),
        "quiet_frames": partial(_quiet_frames, rings),
        "keep_selftest": partial(_keep, memory),
    }


def _stored(
    store: Store | None, answer: Callable[[Store, Json], Iterator[Json]], request: Json
) -> Iterator[Json]:
    if store is None:
        raise ControlError("nothing is remembered: name a file in store.path, and restart")
    try:
        yield from answer(store, request)
    except sqlite3.Error as error:
        raise ControlError(f"{store.path}: the store cannot be read ({error})") from error


def _looks(store: Store, request: Json) -> Iterator[Json]:
    ended, number = request["after"]
    page = Page(
        str(request["camera"]),
        float(request["since"]),
        [str(question) for question in request["questions"]],
        (float(ended), int(number)),
    )
    yield from looks(store.path, page)


def _breaks(store: Store, request: Json) -> Iterator[Json]:
    yield from breaks(store.path, str(request["camera"]), float(request["since"]))


def _quiet_frames(rings: Rings, request: Json) -> Iterator[Json]:
    """The newest frames, and those of the zones, if nothing moved in any of them."""
    camera = str(request["camera"])
    if camera not in rings:
        raise ControlError(f"there is no camera '{camera}'. There are: {', '.join(rings)}")
    plan, ring, zones = rings[camera]
    frames = ring.frames_since(-1)[-(plan.num_frames + _NEIGHBOURS) :]
    frames = tuple(frame for frame in frames if frame.epoch == frames[-1].epoch)
    if len(frames) < plan.num_frames + 1:
        raise ControlError(
            f"{camera} has {len(frames)} frames just now, and {plan.num_frames + 1} are needed: "
            "is it online? Ask again in a few seconds"
        )
    if any(frame.motion >= plan.motion_threshold for frame in frames):
        raise ControlError(
            f"something moves at {camera}: the selftest needs its empty scene. Ask again when "
            "nothing moves, or give a recording of it with --video"
        )
    for zone, close in zones.items():
        for frame in close.frames_since(frames[0].seq - 1):
            yield _frame(frame, zone.name)
    for frame in frames:
        yield _frame(frame, "")


def _frame(frame: Frame, view: str) -> Json:
    png = cv2.imencode(".png", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))[1]
    return {
        "view": view,
        "seq": frame.seq,
        "captured_s": frame.captured_s,
        "wall_time": frame.wall_time,
        "png": base64.b64encode(png.tobytes()).decode(),
    }


def _keep(memory: SelftestMemory, request: Json) -> Iterator[Json]:
    memory.keep(str(request["camera"]), request["results"])
    yield {"kept": len(request["results"])}
