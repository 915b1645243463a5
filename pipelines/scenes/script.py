"""What happens at a scene camera, and when?

Knows no pixels. A script is a chain of acts on one stage with still pauses between them, each act
beginning with what the one before left standing. It is drawn from a seed as far as it is asked
for, so a live camera can play for ever and its truth can be looked up at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.scenes.acts import (
    STILL,
    Act,
    EventName,
    events_of,
    possible,
    random_act,
)
from pipelines.scenes.stage import Stage, Standing, State

# Long enough that a window of 8 frames a second apart never shows the end of one event and the
# beginning of the next.
PAUSE_S = (9.0, 13.0)
FIRST_PAUSE_S = (0.6, 1.2)


@dataclass(frozen=True, slots=True)
class Happening:
    """One event of a script: the truth of what happened and when, in seconds of the script."""

    event: EventName
    start_s: float
    end_s: float


class Script:
    """An endless (or given) chain of acts.

    `events`: play just these, in this order, then stay still. Left out: random ones for ever.
    `first_pause_s`, `pause_s`: bounds of the still time before the first act and between acts.
    `mix`: how often a random event is drawn, against the others that are possible just then. What
    it leaves out counts 1, and 0 if nothing happens in it: so an empty mix is as good as none, but
    draws other scripts. With still ones in it, some stretches are longer.
    """

    def __init__(
        self,
        stage: Stage,
        seed: int,
        events: Sequence[EventName] | None = None,
        first_pause_s: tuple[float, float] = FIRST_PAUSE_S,
        pause_s: tuple[float, float] = PAUSE_S,
        mix: Mapping[EventName, float] | None = None,
    ) -> None:
        self.stage = stage
        self._rng = np.random.default_rng([seed, 1])
        self._pause_s = pause_s
        self._mix = mix
        self._acts: list[tuple[float, Act]] = []
        self._todo: Iterator[EventName] | None = iter(events) if events is not None else None
        self._next_start_s = self._rng.uniform(*first_pause_s)
        self._standing = self._first_standing(events)
        self._finished = False

    def state_at(self, t: float) -> State:
        """Everything's place `t` seconds into the script."""
        self._play_until(t)
        current: Act | None = None
        start = 0.0
        for begin, act in reversed(self._acts):
            if begin <= t:
                current, start = act, begin
                break
        if current is not None:
            return current.state_at(t - start)
        if self._acts:
            return self._acts[0][1].state_at(t - self._acts[0][0])
        return self.stage.rest(self._standing, t)

    def happenings(self, start_s: float, end_s: float) -> tuple[Happening, ...]:
        """The events that begin in `[start_s, end_s)`, oldest first; still ones are not events."""
        self._play_until(end_s)
        return tuple(
            Happening(act.event, begin, begin + act.duration_s)
            for begin, act in self._acts
            if start_s <= begin < end_s and act.event not in STILL
        )

    def _play_until(self, t: float) -> None:
        while not self._finished and self._next_start_s <= t + 1.0:
            event = self._draw_event()
            if event is None:
                self._finished = True
                return
            act = random_act(self._rng, event, self.stage, self._standing)
            self._acts.append((self._next_start_s, act))
            self._standing = act.after
            self._next_start_s += act.duration_s + self._rng.uniform(*self._pause_s)

    def _draw_event(self) -> EventName | None:
        if self._todo is not None:
            return next(self._todo, None)
        if self._mix is not None:
            return self._draw_from(self._mix)
        choices = [
            e for e in events_of(self.stage.place) if e not in STILL and possible(e, self._standing)
        ]
        return choices[self._rng.integers(len(choices))]

    def _draw_from(self, mix: Mapping[EventName, float]) -> EventName | None:
        choices = [e for e in events_of(self.stage.place) if possible(e, self._standing)]
        weights = np.array([mix.get(e, 0.0 if e in STILL else 1.0) for e in choices])
        if not weights.any():
            return None
        return choices[self._rng.choice(len(choices), p=weights / weights.sum())]

    def _first_standing(self, events: Sequence[EventName] | None) -> Standing:
        """What must stand there for the given events to be possible in their order."""
        if not events:
            return Standing()
        allowed = events_of(self.stage.place)
        for event in events:
            if event not in allowed:
                raise ValueError(
                    f"{event} cannot happen at {self.stage.place}; choose of {', '.join(allowed)}"
                )
        for person, car, package in np.ndindex(2, 2, 2):
            standing = Standing(bool(person), bool(car), bool(package))
            if _playable(events, standing):
                return standing
        raise ValueError(f"these events cannot follow each other: {', '.join(events)}")


def _playable(events: Sequence[EventName], standing: Standing) -> bool:
    """Whether the chain of events fits together, begun with `standing`."""
    person, car, package = standing.person, standing.car, standing.package
    for event in events:
        if not possible(event, Standing(person, car, package)):
            return False
        person = {"person_arrive": True, "person_leave": False}.get(event, person)
        car = {"car_arrive": True, "car_leave": False}.get(event, car)
        package = {"package_deliver": True, "package_take": False}.get(event, package)
    return True
