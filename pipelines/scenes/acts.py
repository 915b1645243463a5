"""Which events are there, and how does each one move the actors?

Knows no pixels and no words. An `Act` is one event on one stage: `state_at(t)` gives everything's
place, `t` in seconds from the act's beginning. Leaving is arriving run backwards, and taking is
delivering run backwards; what tells them apart is only the order of the frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, get_args

import numpy as np

from pipelines.scenes.stage import CAR_PLACES, Place, Stage, Standing, State, Thing

EventName = Literal[
    "empty",
    "person_cross_left",
    "person_cross_right",
    "person_arrive",
    "person_leave",
    "person_stand",
    "package_deliver",
    "package_take",
    "package_alone",
    "car_arrive",
    "car_leave",
    "car_parked",
    "dog_cross_left",
    "dog_cross_right",
]
EVENT_NAMES: Final[tuple[EventName, ...]] = get_args(EventName)
STILL: Final = frozenset({"empty", "person_stand", "package_alone", "car_parked"})

# Gait: radians of leg swing per picture width walked. A person takes about 8 steps across.
GAIT: Final = {"person": 26.0, "dog": 40.0, "car": 30.0}


def events_of(place: Place) -> tuple[EventName, ...]:
    """The events that can happen at a place: no cars where none can drive."""
    return tuple(e for e in EVENT_NAMES if place in CAR_PLACES or not e.startswith("car"))


@dataclass(frozen=True, slots=True)
class Path:
    """Where an actor is: straight lines between points, in seconds and relative places."""

    times_s: tuple[float, ...]
    xs: tuple[float, ...]
    ys: tuple[float, ...]

    def at(self, t: float) -> tuple[float, float]:
        """Position at `t`, held before the first point and after the last."""
        return (
            float(np.interp(t, self.times_s, self.xs)),
            float(np.interp(t, self.times_s, self.ys)),
        )

    def velocity(self, t: float) -> float:
        """Relative widths a second, to the right positive; 0 outside and during pauses."""
        step = 0.02
        if t <= self.times_s[0] or t >= self.times_s[-1]:
            return 0.0
        return (self.at(t + step)[0] - self.at(t - step)[0]) / (2 * step)


@dataclass(frozen=True, slots=True)
class Act:
    """One event on one stage."""

    event: EventName
    stage: Stage
    before: Standing
    after: Standing
    duration_s: float
    path: Path | None = None  # of the one actor that moves
    actor: Literal["person", "car", "dog"] | None = None
    handover_s: float | None = None  # when the package changes hands
    reverse: bool = False  # the path is run from its end to its beginning
    sway: float = field(default=0.0)

    def state_at(self, t: float) -> State:
        """Everything's place `t` seconds after the act began; valid for any `t`."""
        if self.path is None or t < 0:
            return self.stage.rest(self.before, self.sway + t)
        if t > self.duration_s:
            return self.stage.rest(self.after, self.sway + t)
        u = self.duration_s - t if self.reverse else t
        rest = self.stage.rest(
            Standing(
                person=False,
                car=self.before.car and self.actor != "car",
                package=self._package_on_ground(t),
            ),
            self.sway + t,
        )
        thing = self._actor_at(u)
        if thing.visible <= 0.0:
            return rest
        if self.actor == "person":
            return State(person=thing, car=rest.car, package=rest.package)
        if self.actor == "car":
            return State(person=rest.person, car=thing, package=rest.package)
        return State(person=rest.person, car=rest.car, dog=thing, package=rest.package)

    def _package_on_ground(self, t: float) -> bool:
        if self.handover_s is None:
            return self.before.package
        return self.after.package if t >= self._handover_t else self.before.package

    @property
    def _handover_t(self) -> float:
        handover = self.handover_s or 0.0
        return self.duration_s - handover if self.reverse else handover

    def _actor_at(self, u: float) -> Thing:
        assert self.path is not None  # noqa: S101 - for the type checker
        assert self.actor is not None  # noqa: S101 - likewise
        x, y = self.path.at(u)
        speed = self.path.velocity(u) * (-1 if self.reverse else 1)
        moving = abs(speed) > 1e-3
        if self.actor == "car":
            return Thing("car", x, y, moving, self.stage.car_facing, x * GAIT["car"])
        facing = 1 if speed > 0 else -1
        stoop, carrying = 0.0, False
        if self.handover_s is not None:
            stoop = max(0.0, 1.0 - abs(u - self.handover_s) / 0.5)
            carrying = u < self.handover_s
        return Thing(self.actor, x, y, moving, facing, x * GAIT[self.actor], carrying, stoop)


def random_act(
    rng: np.random.Generator, event: EventName, stage: Stage, standing: Standing | None = None
) -> Act:
    """Draw one way in which `event` can go on `stage`.

    `standing` says what is there before; left out, bystanders are drawn at random and what the
    event needs is put there. Raises `ValueError` where the event cannot happen.
    """
    if event not in events_of(stage.place):
        names = ", ".join(events_of(stage.place))
        raise ValueError(f"{event} cannot happen at {stage.place}: choose one of {names}")
    before = standing if standing is not None else _bystanders(rng, event, stage.place)
    if not possible(event, before):
        raise ValueError(f"{event} cannot happen while {before} stands there")
    sway = rng.uniform(0, 6.28)
    if event in STILL:
        return Act(event, stage, before, before, duration_s=4.0, sway=sway)
    if event.startswith("car"):
        return _car(rng, event, stage, before, sway)
    if "cross" in event:
        return _cross(rng, event, stage, before, sway)
    return _visit(rng, event, stage, before, sway)


# Event -> what must stand there (True), must not (False), or does not matter (left out).
_NEEDS: Final[dict[EventName, dict[str, bool]]] = {
    "empty": {"person": False, "car": False, "package": False},
    "person_leave": {"person": True},
    "person_stand": {"person": True},
    "car_arrive": {"person": False, "car": False},
    "car_leave": {"person": False, "car": True},
    "car_parked": {"person": False, "car": True},
    "package_deliver": {"person": False, "package": False},
    "package_take": {"person": False, "package": True},
    "package_alone": {"person": False, "package": True},
}


def possible(event: EventName, standing: Standing) -> bool:
    """Whether what stands there lets the event begin."""
    needs = _NEEDS.get(event, {"person": False})
    return all(getattr(standing, name) == there for name, there in needs.items())


def _bystanders(rng: np.random.Generator, event: EventName, place: Place) -> Standing:
    if event == "empty":
        return Standing()
    car = place in CAR_PLACES and rng.random() < 0.35
    package = rng.random() < 0.25
    if event.startswith("car"):
        car = event != "car_arrive"
        package = package and event != "car_parked"
    if event.startswith("package"):
        package = event != "package_deliver"
        car = car and event != "package_alone"
    return Standing(person=event in ("person_leave", "person_stand"), car=car, package=package)


def _edge(rng: np.random.Generator) -> float:
    return -0.12 if rng.random() < 0.5 else 1.12


def _cross(
    rng: np.random.Generator, event: EventName, stage: Stage, before: Standing, sway: float
) -> Act:
    dog = event.startswith("dog")
    y = rng.uniform(0.86, 0.97)
    drift = rng.uniform(-0.04, 0.04)
    ends = (1.15, -0.15) if event.endswith("left") else (-0.15, 1.15)
    duration = rng.uniform(3.0, 5.0) if dog else rng.uniform(3.6, 6.0)
    path = Path((0.0, duration), ends, (y, min(0.98, y + drift)))
    return Act(event, stage, before, before, duration, path, "dog" if dog else "person", sway=sway)


def _visit(
    rng: np.random.Generator, event: EventName, stage: Stage, before: Standing, sway: float
) -> Act:
    """Arrive, leave, deliver, take: between an edge of the picture and the door."""
    walk_in = rng.uniform(2.0, 3.2)
    y_edge = rng.uniform(0.80, 0.95)
    door = (stage.door_x, stage.door_y)
    if event in ("person_arrive", "person_leave"):
        path = Path((0.0, walk_in), (_edge(rng), door[0]), (y_edge, door[1]))
        reverse = event == "person_leave"
        after = Standing(person=not reverse, car=before.car, package=before.package)
        return Act(event, stage, before, after, walk_in, path, "person", reverse=reverse, sway=sway)
    pause = rng.uniform(0.7, 1.1)
    walk_out = rng.uniform(2.0, 3.0)
    times = (0.0, walk_in, walk_in + pause, walk_in + pause + walk_out)
    path = Path(
        times,
        (_edge(rng), door[0], door[0], _edge(rng)),
        (y_edge, door[1], door[1], rng.uniform(0.80, 0.95)),
    )
    reverse = event == "package_take"
    after = Standing(person=False, car=before.car, package=not reverse)
    return Act(
        event, stage, before, after, times[-1], path, "person",
        handover_s=walk_in + pause / 2, reverse=reverse, sway=sway,
    )  # fmt: skip


def _car(
    rng: np.random.Generator, event: EventName, stage: Stage, before: Standing, sway: float
) -> Act:
    edge = 1.25 if stage.car_x > 0.5 else -0.25
    duration = rng.uniform(2.2, 4.0)
    slow = stage.car_x + (edge - stage.car_x) * 0.25  # brakes over the last quarter of the way
    path = Path((0.0, duration * 0.6, duration), (edge, slow, stage.car_x), (stage.car_y,) * 3)
    reverse = event == "car_leave"
    after = Standing(person=before.person, car=not reverse, package=before.package)
    return Act(event, stage, before, after, duration, path, "car", reverse=reverse, sway=sway)
