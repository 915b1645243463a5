"""How does a camera's past come from the running daemon to be judged again?

Knows the daemon's socket and what the store keeps; `daemon.backtest` judges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from daemon.backtest import Reel, Subject
from daemon.control import ask
from daemon.store_events import EVENTS_LIMIT
from daemon.store_looks import PAGE
from pipelines.capture import scale_to_edge
from pipelines.packet_ring import encode_jpeg
from pipelines.playback import THUMBNAIL_PX
from pipelines.rules.replay import Break
from pipelines.types import Observation, Timings

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Past:
    """What is stored of a camera, and how much of it was asked what is wanted."""

    reel: Reel
    stored: int  # looks with answers, whatever was asked
    asked: Mapping[str, int]  # question -> in how many of them it was
    model_ids: tuple[str, ...]
    told: int  # alerts of the rule that were told then


def read_past(
    socket: Path, subject: Subject, since: float, until: float, media: Path | None
) -> Past:
    """Everything since `since` (Unix seconds). `media`: the folder of snapshots, if there is one.

    Raises `ControlError`.
    """
    questions = tuple(dict.fromkeys(q for rule in subject.rules for q in rule.questions))
    seen: list[Observation] = []
    stored, asked, models = 0, dict.fromkeys(questions, 0), dict[str, None]()
    for row in _rows(socket, subject.camera, since, questions):
        _, started, ended, given, description, model = row
        answers = {q: p for q, p in zip(questions, given, strict=True) if p is not None}
        stored += description is None
        models[model] = None
        for question in answers:
            asked[question] += 1
        if answers or description is not None:
            seen.append(_look(subject.camera, (started, ended), since, answers, description, model))
    request = {"op": "breaks", "camera": subject.camera, "since": since}
    breaks = [line["break"] for line in ask(socket, request)]
    events = _events(socket, subject, since)
    reel = Reel(
        name=f"{subject.camera} since {_when(since)}",
        length_s=until - since,
        begun=since,
        looks=tuple(seen),
        breaks=tuple(Break(at - since, reason) for at, reason in breaks if at >= since),
        thumbnails=_thumbnails(events, media, since),
        windows_run=stored,
    )
    told = sum(event["event_type"] == "rule_match" for event in events)
    return Past(reel, stored, asked, tuple(models), told)


def _rows(
    socket: Path, camera: str, since: float, questions: tuple[str, ...]
) -> Iterator[list[Any]]:
    after: tuple[float, int] = (0.0, 0)
    while True:
        request = {
            "op": "looks", "camera": camera, "since": since,
            "questions": questions, "after": after,
        }  # fmt: skip
        count = 0
        for line in ask(socket, request):
            row = line["look"]
            after = (row[2], row[0])
            count += 1
            yield row
        if count < PAGE:
            return


def _look(
    camera: str,
    times: tuple[float, float],
    since: float,
    answers: dict[str, float],
    description: str | None,
    model: str,
) -> Observation:
    started, ended = times
    return Observation(
        camera=camera,
        window_seq=0,
        start_s=started - since,
        end_s=ended - since,
        wall_time=ended,
        answers=answers,
        description=description,
        timings=Timings(),
        model_id=model,
        prompt_sha256="",
    )


def _events(socket: Path, subject: Subject, since: float) -> list[Json]:
    """What was told of the rule, as far as it is among the camera's newest events.

    The daemon is not asked for the rule by its name: it may not know that of a newer configuration.
    """
    request = {
        "op": "events", "camera": subject.camera, "since": since, "limit": EVENTS_LIMIT,
    }  # fmt: skip
    told = [line["event"] for line in ask(socket, request)]
    return [event for event in told if event["rule"] == subject.rule.name]


def _thumbnails(events: list[Json], media: Path | None, since: float) -> dict[float, bytes]:
    """The snapshots that were made then, by the second of the reel; as far as they are left."""
    found: dict[float, bytes] = {}
    for event in events:
        name = (event.get("media") or {}).get("snapshot")
        if media is None or name is None:
            continue
        try:
            data = (media / Path(name).name).read_bytes()
        except OSError:
            continue  # pruned, or not ours to read
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if bgr is not None:
            rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
            at_s = datetime.fromisoformat(event["ts"]).timestamp() - since
            found[at_s] = encode_jpeg(scale_to_edge(rgb, THUMBNAIL_PX))
    return found


def _when(at: float) -> str:
    return f"{datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M}"
