"""What is true of a window: which words describe it, and what is the answer to each question?

Knows no pixels: it reads the states at the window's frame times, so the truth covers just what
the window shows. Where the frames cannot tell (somebody is half through the door at the window's
edge), an answer is None and is neither trained nor scored.

To *arrive* is to be absent at the window's start and to stand at the door at its end; to *leave*
is the reverse; who comes and goes within the window does neither, but walks past, delivers or
takes something.
"""

# ruff: noqa: E501 - the tables of sentences are read best a line each

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from pipelines.scenes.stage import Kind, State, Thing

Answer = bool | None  # None: the frames cannot tell

# Question kind -> accepted wordings; the first one is the one that examples and docs use.
QUESTIONS: Final[dict[str, tuple[str, ...]]] = {
    "person": ("Is there a person?", "Do you see a person?", "Is anyone there?"),
    "car": ("Is there a car?", "Do you see a car?"),
    "dog": ("Is there a dog?", "Do you see a dog?"),
    "package": ("Is there a package?", "Do you see a package?"),
    "person_arrive": ("Did a person arrive?", "Did someone arrive?", "Did a person come to the door?"),
    "person_leave": ("Did a person leave?", "Did someone leave?", "Did a person go away from the door?"),
    "person_cross": ("Did a person walk past?", "Did someone walk past?"),
    "person_cross_left": ("Did a person walk past to the left?", "Did someone walk from right to left?"),
    "person_cross_right": ("Did a person walk past to the right?", "Did someone walk from left to right?"),
    "person_stand": ("Is a person standing at the door?", "Is someone standing at the door?"),
    "package_deliver": ("Was a package delivered?", "Did someone deliver a package?"),
    "package_take": ("Was a package taken?", "Did someone take a package?"),
    "car_arrive": ("Did a car arrive?", "Did a car drive in and park?"),
    "car_leave": ("Did a car leave?", "Did a parked car drive away?"),
    "car_parked": ("Is a car parked?", "Is there a parked car?"),
    "dog_cross": ("Did a dog run past?", "Did a dog walk past?"),
    "motion": ("Is anything moving?", "Did anything move?"),
    "empty": ("Is the scene empty?", "Is nothing there?"),
    "night": ("Is it night?", "Is it dark?"),
}  # fmt: skip

# What a window shows -> accepted sentences. The event names come first, then partial views.
SENTENCES: Final[dict[str, tuple[str, ...]]] = {
    "empty": ("Nothing is happening.", "The scene is empty."),
    "person_cross_left": ("A person walks past to the left.", "Someone walks from right to left."),
    "person_cross_right": ("A person walks past to the right.", "Someone walks from left to right."),
    "person_arrive": ("A person arrives and stays at the door.", "Someone walks up to the door."),
    "person_leave": ("A person leaves the door and walks away.", "Someone walks away from the door."),
    "person_stand": ("A person stands at the door.", "Someone is standing at the door."),
    "package_deliver": ("A person delivers a package and walks away.", "Someone brings a package and leaves."),
    "package_take": ("A person takes the package and walks away.", "Someone picks up the package and leaves."),
    "package_alone": ("A package lies at the door.", "There is a package at the door."),
    "car_arrive": ("A car arrives and parks.", "A car drives in and stops."),
    "car_leave": ("A car leaves.", "A parked car drives away."),
    "car_parked": ("A car is parked.", "There is a parked car."),
    "dog_cross_left": ("A dog runs past to the left.", "A dog runs from right to left."),
    "dog_cross_right": ("A dog runs past to the right.", "A dog runs from left to right."),
    "person_enter": ("A person walks into view.",),
    "person_exit": ("A person walks out of view.",),
    "person_walk": ("A person is walking.",),
    "put_down": ("A person puts down a package.",),
    "pick_up": ("A person picks up a package.",),
    "car_enter": ("A car drives into view.",),
    "car_exit": ("A car drives out of view.",),
    "car_drive": ("A car is driving.",),
    "dog_enter": ("A dog runs into view.",),
    "dog_exit": ("A dog runs out of view.",),
    "dog_run": ("A dog is running.",),
}  # fmt: skip
NIGHT_SENTENCE: Final = "It is night."

IN_VIEW = 0.6  # from this share of its width on, a thing counts as seen
OUT_OF_VIEW = 0.25  # up to this share it counts as absent; between the two the frames cannot tell

Course = Literal[
    "none", "stays", "arrives", "leaves", "passes", "enters", "exits", "moves", "unclear"
]


def _seen(thing: Thing | None) -> Answer:
    if thing is None or thing.visible <= OUT_OF_VIEW:
        return False
    return True if thing.visible >= IN_VIEW else None


@dataclass(frozen=True)
class WindowTruth:
    """The truth of one window, from the states at its frame times, oldest first."""

    states: tuple[State, ...]
    night: bool

    @classmethod
    def of(cls, states: Sequence[State], *, night: bool) -> WindowTruth:
        """Build it from any sequence of states."""
        return cls(tuple(states), night)

    def reversed(self) -> WindowTruth:
        """The truth of the same frames shown in reverse order."""
        return WindowTruth(self.states[::-1], self.night)

    @cached_property
    def person(self) -> Course:
        """What the person does within the window."""
        return _course([s.person for s in self.states])

    @cached_property
    def car(self) -> Course:
        """What the car does within the window."""
        return _course([s.car for s in self.states])

    @cached_property
    def dog(self) -> Course:
        """What the dog does within the window."""
        return _course([s.dog for s in self.states])

    @cached_property
    def package(self) -> Literal["none", "stays", "delivered", "taken"]:
        """What becomes of the package on the ground."""
        first, last = self.states[0].package is not None, self.states[-1].package is not None
        if first != last:
            return "delivered" if last else "taken"
        return "stays" if first else "none"

    @cached_property
    def label(self) -> str:
        """The key in `SENTENCES` of what happens; "unclear" where the frames cannot tell."""
        if self.package in ("delivered", "taken"):
            return self._handover_label()
        for kind, course in (("car", self.car), ("person", self.person), ("dog", self.dog)):
            if course not in ("none", "stays"):
                return self._moving_label(kind, course)
        if self.person == "stays":
            return "person_stand"
        if self.car == "stays":
            return "car_parked"
        return "package_alone" if self.package == "stays" else "empty"

    def _handover_label(self) -> str:
        if self.person == "passes":
            return "package_deliver" if self.package == "delivered" else "package_take"
        return "put_down" if self.package == "delivered" else "pick_up"

    def _moving_label(self, kind: str, course: Course) -> str:
        if course == "unclear":
            return "unclear"
        if course == "passes":
            # From the places, not from the way it faces: reversed frames show a walk backwards.
            xs = [t.x for t in (getattr(s, kind) for s in self.states) if t is not None]
            if len(xs) < 2:
                return "unclear"
            return f"{kind}_cross_{'left' if xs[-1] < xs[0] else 'right'}"
        if kind == "dog" and course in ("arrives", "leaves"):
            return "unclear"
        verbs = {"arrives": "arrive", "leaves": "leave", "enters": "enter", "exits": "exit"}
        walk = {"person": "walk", "car": "drive", "dog": "run"}[kind]
        return f"{kind}_{verbs.get(course, walk)}"

    @cached_property
    def whole(self) -> bool:
        """Whether the label is one of the named events, not a part of one."""
        from pipelines.scenes.acts import EVENT_NAMES  # noqa: PLC0415 - acts and truth are peers

        return self.label in EVENT_NAMES

    def descriptions(self) -> tuple[str, ...]:
        """All accepted descriptions; empty where the frames cannot tell."""
        if self.label == "unclear":
            return ()
        texts = list(SENTENCES[self.label])
        for bystander in self._bystanders():
            texts = [f"{t} {s}" for t in texts for s in SENTENCES[bystander]]
        return tuple(f"{t} {NIGHT_SENTENCE}" for t in texts) if self.night else tuple(texts)

    def _bystanders(self) -> list[str]:
        named = []
        if self.car == "stays" and self.label != "car_parked":
            named.append("car_parked")
        if self.package == "stays" and self.label != "package_alone":
            named.append("package_alone")
        return named

    def answers(self) -> dict[str, Answer]:
        """Question kind -> answer; None where the frames cannot tell."""
        moved = [c for c in (self.person, self.car, self.dog) if c not in ("none", "stays")]
        cross = self.person == "passes" and self.package in ("none", "stays")
        return {
            **{k: self._any(k) for k in ("person", "car", "dog", "package")},
            "person_arrive": self._course_is("person", "arrives"),
            "person_leave": self._course_is("person", "leaves"),
            "person_cross": None if self._partial("person") else cross,
            "person_cross_left": self._cross("left"),
            "person_cross_right": self._cross("right"),
            "person_stand": self._stands(),
            "package_deliver": self.package == "delivered",
            "package_take": self.package == "taken",
            "car_arrive": self._course_is("car", "arrives"),
            "car_leave": self._course_is("car", "leaves"),
            "car_parked": {"stays": True, "none": False}.get(self.car),
            "dog_cross": None if self._partial("dog") else self.dog == "passes",
            "motion": None if "unclear" in moved else bool(moved),
            "empty": None if "unclear" in moved else self.label == "empty",
            "night": self.night,
        }

    def _partial(self, kind: Literal["person", "car", "dog"]) -> bool:
        return getattr(self, kind) in ("enters", "exits", "moves", "unclear")

    def _course_is(self, kind: Literal["person", "car"], course: Course) -> Answer:
        return None if self._partial(kind) else getattr(self, kind) == course

    def _cross(self, side: str) -> Answer:
        if self._partial("person") or self.label == "unclear":
            return None
        return self.label == f"person_cross_{side}"

    def _stands(self) -> Answer:
        still = sum(
            _seen(s.person) is True and not s.person.moving for s in self.states if s.person
        )
        share = still / len(self.states)
        if self.person == "passes" or share <= 0.15:
            return False  # a pause to put something down is not standing there
        return True if share >= 0.6 else None

    def _any(self, kind: Kind) -> Answer:
        seen = [_seen(getattr(s, kind)) for s in self.states]
        if any(s is True for s in seen):
            return True
        carried = kind == "package" and any(s.person and s.person.carrying for s in self.states)
        touched = any(getattr(s, kind) is not None for s in self.states)
        return None if carried or touched else False


def _course(things: Sequence[Thing | None]) -> Course:
    """What one actor does over the window's frames."""
    seen = [_seen(t) for t in things]
    if not any(t is not None and t.visible > 0.0 for t in things):
        return "none"
    first, last = seen[0], seen[-1]
    if first is None or last is None or not any(seen):
        return "unclear"
    starts_still = first and things[0] is not None and not things[0].moving
    ends_still = last and things[-1] is not None and not things[-1].moving
    moved = any(t is not None and t.moving for t in things) or not all(seen)
    if not moved:
        return "stays"
    by_ends: dict[tuple[bool, bool], Course] = {
        (False, False): "passes",
        (False, True): "arrives" if ends_still else "enters",
        (True, False): "leaves" if starts_still else "exits",
        (True, True): "moves",
    }
    return by_ends[(first, last)]
