"""What does a `scene://` address mean?

Knows no frames. `scene://PLACE?event=NAME&seed=N`: PLACE is driveway, porch, street, yard or
indoors. `event` plays that event once, a second after the start; `events=A,B,C` plays a chain of
them; without either, random events follow each other for ever, `mix=NAME:3,NAME:0.5` the one
three times as often as events that are not named, the other half as often. `light=day|night`,
`fps=10`, `width=640` (16:9), `start_s=SECONDS` (still time before the first event) and
`pause_s=9-13` (between events) are optional.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

import numpy as np

from pipelines.errors import SourceError
from pipelines.scenes.acts import EVENT_NAMES, EventName
from pipelines.scenes.script import FIRST_PAUSE_S, PAUSE_S, Script
from pipelines.scenes.stage import PLACES, Stage, random_stage

LIVE_FIRST_PAUSE_S: Final = (4.0, 7.0)  # a random script starts when the first window is full
_KEYS: Final = ("event", "events", "seed", "light", "fps", "width", "start_s", "pause_s", "mix")


@dataclass(frozen=True, slots=True)
class SceneAddress:
    """A scene camera's settings."""

    stage: Stage
    script: Script
    fps: float
    width_px: int

    @property
    def height_px(self) -> int:
        """16:9, even, as H.264 wants it."""
        return self.width_px * 9 // 16 // 2 * 2


def parse_scene(url: str) -> SceneAddress:
    """Read an address. Raises `SourceError` that says which part is wrong and what is allowed."""
    parts = urlsplit(url)
    place = next((p for p in PLACES if p == parts.netloc), None)
    if place is None:
        raise SourceError(f"{url}: no scene {parts.netloc!r}; there are {', '.join(PLACES)}")
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    unknown = sorted(set(query) - set(_KEYS))
    if unknown:
        raise SourceError(f"{url}: unknown {', '.join(unknown)}; a scene takes {', '.join(_KEYS)}")
    seed = int(_number(url, query, "seed", 0, low=0, high=2**31))
    light = query.get("light")
    if light not in (None, "day", "night"):
        raise SourceError(f"{url}: light={light} is neither day nor night")
    stage = random_stage(
        np.random.default_rng(seed), place, night=None if light is None else light == "night"
    )
    events = _events(url, query)
    if events is not None and "mix" in query:
        raise SourceError(f"{url}: mix is for random events; leave it or the named events out")
    pause = FIRST_PAUSE_S if events is not None else LIVE_FIRST_PAUSE_S
    if "start_s" in query:
        start_s = _number(url, query, "start_s", 0.0, low=0.0, high=86_400.0)
        pause = (start_s, start_s)
    try:
        script = Script(stage, seed, events, pause, _pause(url, query), _mix(url, query))
    except ValueError as error:
        raise SourceError(f"{url}: {error}") from error
    return SceneAddress(
        stage,
        script,
        fps=_number(url, query, "fps", 10.0, low=0.5, high=60.0),
        width_px=int(_number(url, query, "width", 640, low=160, high=3840)),
    )


def _events(url: str, query: dict[str, str]) -> tuple[EventName, ...] | None:
    text = query.get("events", query.get("event"))
    if text is None:
        return None
    return tuple(_event(url, word) for word in text.split(","))


def _event(url: str, word: str) -> EventName:
    name = next((e for e in EVENT_NAMES if e == word.strip()), None)
    if name is None:
        raise SourceError(f"{url}: no event {word!r}; there are {', '.join(EVENT_NAMES)}")
    return name


def _mix(url: str, query: dict[str, str]) -> dict[EventName, float] | None:
    if "mix" not in query:
        return None
    mix: dict[EventName, float] = {}
    for part in query["mix"].split(","):
        word, _, weight = part.partition(":")
        name = _event(url, word)
        mix[name] = _number(url, {word: weight}, word, 1.0, low=0.0, high=1000.0)
    return mix


def _pause(url: str, query: dict[str, str]) -> tuple[float, float]:
    if "pause_s" not in query:
        return PAUSE_S
    shortest, _, longest = query["pause_s"].partition("-")
    ends = {"pause_s": shortest}, {"pause_s": longest or shortest}
    low, high = (_number(url, end, "pause_s", 0.0, low=1.0, high=86_400.0) for end in ends)
    if high < low:
        raise SourceError(f"{url}: pause_s={query['pause_s']} ends before it begins")
    return low, high


def _number(
    url: str, query: dict[str, str], key: str, default: float, *, low: float, high: float
) -> float:
    try:
        value = float(query.get(key, default))
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise SourceError(f"{url}: {key}={query[key]} must be a number from {low:g} to {high:g}")
    return value
