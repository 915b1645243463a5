"""What stands and moves in a scene, and where is everything at time t?

Knows no pixels and no words. Positions are relative to the picture: x from left to right, y from
top to bottom, both 0..1; a thing's y is where it touches the ground, and its size follows from y.
All that is random comes from the generator that is passed in, so a seed fixes a scene exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

Place = Literal["driveway", "porch", "street", "yard", "indoors"]
Kind = Literal["person", "car", "dog", "package"]
PLACES: Final[tuple[Place, ...]] = ("driveway", "porch", "street", "yard", "indoors")
CAR_PLACES: Final = frozenset({"driveway", "street"})

# Relative to the picture's width, at depth 1 (y = 1.0).
WIDTH: Final[dict[Kind, float]] = {"person": 0.13, "car": 0.42, "dog": 0.22, "package": 0.12}
# Relative to the picture's height, at depth 1.
HEIGHT: Final[dict[Kind, float]] = {"person": 0.56, "car": 0.40, "dog": 0.24, "package": 0.17}


def depth_scale(y: float) -> float:
    """Size of a thing whose ground contact is at `y`, relative to one at the picture's foot."""
    return 0.55 + 0.45 * (y - 0.6) / 0.4


@dataclass(frozen=True, slots=True)
class Thing:
    """One actor or object at one moment."""

    kind: Kind
    x: float
    y: float
    moving: bool = False
    facing: int = 1  # 1: to the right, -1: to the left
    phase: float = 0.0  # of the gait or the wheels, radians
    carrying: bool = False
    stooping: float = 0.0  # 0 upright, 1 hand at the ground

    @property
    def visible(self) -> float:
        """The share of the thing's width that lies inside the picture, 0..1."""
        half = WIDTH[self.kind] * depth_scale(self.y) / 2
        left, right = max(0.0, self.x - half), min(1.0, self.x + half)
        return max(0.0, right - left) / (2 * half)


@dataclass(frozen=True, slots=True)
class State:
    """Everything that is not background, at one moment."""

    person: Thing | None = None
    car: Thing | None = None
    dog: Thing | None = None
    package: Thing | None = None

    def things(self) -> tuple[Thing, ...]:
        """What is there, the farthest first: the order of drawing."""
        found = [t for t in (self.person, self.car, self.dog, self.package) if t is not None]
        return tuple(sorted(found, key=lambda t: t.y))


@dataclass(frozen=True, slots=True)
class Standing:
    """What stays when nobody acts."""

    person: bool = False
    car: bool = False
    package: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """One camera's view: the fixed spots, and the light."""

    place: Place
    night: bool
    door_x: float
    door_y: float
    package_x: float
    car_x: float
    car_y: float
    look_seed: int  # colours, textures and decoration follow from it

    def rest(self, standing: Standing, sway: float = 0.0) -> State:
        """The state in which nobody acts; `sway` (radians) moves a standing person a little."""
        return State(
            person=self.person_at_door(sway) if standing.person else None,
            car=Thing("car", self.car_x, self.car_y, facing=self.car_facing)
            if standing.car
            else None,
            package=Thing("package", self.package_x, self.door_y + 0.05)
            if standing.package
            else None,
        )

    def person_at_door(self, sway: float) -> Thing:
        """Somebody who stands and shifts their weight by a pixel or so."""
        return Thing("person", self.door_x + 0.003 * np.sin(sway), self.door_y)

    @property
    def car_facing(self) -> int:
        """A car parks with its nose away from the edge that it came from."""
        return -1 if self.car_x > 0.5 else 1


def random_stage(
    rng: np.random.Generator, place: Place | None = None, *, night: bool | None = None
) -> Stage:
    """Draw a view at random; `place` and `night` may be fixed."""
    chosen = place if place is not None else PLACES[rng.integers(len(PLACES))]
    dark = bool(rng.random() < 0.35) if night is None else night
    door_left = rng.random() < 0.5
    door_x = rng.uniform(0.22, 0.36)
    car_x = rng.uniform(0.70, 0.79)
    package_dx = rng.uniform(0.10, 0.13)
    door_y = rng.uniform(0.68, 0.76)
    return Stage(
        place=chosen,
        night=dark,
        door_x=door_x if door_left else 1 - door_x,
        door_y=door_y,
        # Between the door and the picture's middle, so that neither a person at the door nor the
        # car hides it.
        package_x=door_x + package_dx if door_left else 1 - door_x - package_dx,
        car_x=car_x if door_left else 1 - car_x,
        car_y=rng.uniform(0.74, 0.82),
        look_seed=int(rng.integers(2**31)),
    )
