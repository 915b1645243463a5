"""Which keys, defaults and limits has an alert rule?

Knows one rule at a time, and last how rules refer to each other; how they are judged is
`pipelines.rules`' affair.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import time
from functools import cached_property
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from daemon import config_checks as checks
from daemon.config_errors import Problem, Refused, did_you_mean
from daemon.config_pictures import ReferencePicture, picture
from daemon.config_sections import (
    CameraNames,
    Count,
    Outline,
    Seconds,
    Section,
    Share,
    Slug,
    Text,
)
from pipelines.examples import Example, Examples
from pipelines.rules import (
    AllOf,
    AnyOf,
    Ask,
    Debounce,
    Hours,
    Match,
    Not,
    Rule,
    RuleOn,
    Sequence,
    Step,
)
from pipelines.rules.conditions import Condition, When, needs_words, pattern_problem
from pipelines.rules.hours import DAYS
from pipelines.rules.order import circle
from pipelines.types import Severity
from pipelines.zones import Zone

_CLOCK: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)|24:00")


def _pattern(text: str) -> str:
    problem = pattern_problem(text)
    if problem is not None:
        raise Refused(f"the pattern {problem}")
    return text


def _clock(value: object) -> object:
    if not isinstance(value, str) or not _CLOCK.fullmatch(value):
        raise Refused('expected a time of day from "00:00" to "24:00"')
    return "00:00" if value == "24:00" else value


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Refused("is no time zone that is known here; expected one as Europe/Berlin") from None
    return name


def _days(value: object) -> object:
    days = [value] if isinstance(value, str) else value
    if isinstance(days, list) and not days:
        raise Refused("no day is left; leave `days` out for every day")
    return days


def _some(value: object) -> object:
    # Not `min_length`: with a mistake in its only entry, pydantic calls a list too short as well.
    if value == []:
        raise Refused("found an empty list; expected at least one condition")
    return value


Some = BeforeValidator(_some)
Question = Annotated[Text, AfterValidator(checks.question)]
Pattern = Annotated[Text, AfterValidator(_pattern)]
Picture = Annotated[
    ReferencePicture,
    PlainValidator(picture),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "minLength": 1}),
]
ClockTime = Annotated[str, BeforeValidator(_clock)]
TimeZone = Annotated[str, AfterValidator(_zone)]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class DebounceConfig(Section):
    """How many of the last answers must agree before an incident opens or closes."""

    needed: Annotated[Count, Field(ge=1, le=100)] = 2
    of: Annotated[Count, Field(ge=1, le=100), AfterValidator(checks.at_least_needed)] = Field(
        default=3, validate_default=True
    )


class ActiveConfig(Section):
    """Hours of local time at which a rule may open."""

    days: Annotated[tuple[Day, ...], BeforeValidator(_days)] = Field(
        default=DAYS, description="days of the week on which the hours begin"
    )
    from_: ClockTime = Field(default="00:00", alias="from", description="from this time on")
    to: ClockTime = Field(
        default="24:00",
        validate_default=True,
        description="up to it; before `from`: the next morning",
    )
    timezone: TimeZone | None = Field(
        default=None, description="left out: the machine's own", examples=["Europe/Berlin"]
    )

    @model_validator(mode="after")
    def _possible(self) -> ActiveConfig:
        if self.from_ == self.to != "00:00":
            raise Refused(f"is never: from and to are both {self.to}; leave them out for all day")
        return self

    def hours(self) -> Hours:
        """Make the hours as the rules judge them."""
        start, end = (time.fromisoformat(clock.zfill(5)) for clock in (self.from_, self.to))
        zone = ZoneInfo(self.timezone) if self.timezone is not None else None
        return Hours(tuple(sorted(DAYS.index(day) for day in self.days)), start, end, zone)


class ExampleConfig(Section):
    """A picture that the model is shown before the video, and what it says."""

    image: Picture = Field(description="a JPEG, PNG or WebP; its path begins at this file")
    says: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(checks.caption)] = (
        Field(description="in a few words", examples=["the gate is closed"])
    )


class ConditionConfig(Section):
    """One of: a question, a pattern, another rule, or several conditions together."""

    ask: Question | None = Field(
        default=None,
        description="a question that yes or no answers",
        examples=["Was a package delivered?"],
    )
    examples: Annotated[tuple[ExampleConfig, ...], Field(min_length=1, max_length=8)] | None = (
        Field(
            default=None,
            description="pictures to compare with, for `ask`; they make each look longer",
        )
    )
    match: Pattern | None = Field(
        default=None, description="a regular expression, looked for in descriptions in any case"
    )
    rule: Slug | None = Field(default=None, description="another rule, while it is on")
    all: Annotated[tuple[ConditionConfig, ...] | None, Some] = Field(
        default=None, description="conditions that must all be true"
    )
    any: Annotated[tuple[ConditionConfig, ...] | None, Some] = Field(
        default=None, description="conditions of which one must be true"
    )
    not_: ConditionConfig | None = Field(
        default=None, alias="not", description="a condition that must not be true"
    )

    @model_validator(mode="after")
    def _one(self) -> ConditionConfig:
        said = [key for key, value in self.said().items() if value is not None]
        known = ", ".join(self.said())
        if not said:
            example = '  ask: "Was a package delivered?"'
            raise Refused(f"it says nothing of when; expected one of {known}, for example{example}")
        if len(said) > 1:
            raise Refused(f"found {' and '.join(said)}; expected only one of {known}")
        if self.examples is not None and self.ask is None:
            raise Refused("`examples` go with `ask`: delete them, or write the question")
        return self

    def said(self) -> dict[str, object]:
        """Key -> value of those of which there must be one."""
        keys = ("ask", "match", "rule", "all", "any")
        return {**{key: getattr(self, key) for key in keys}, "not": self.not_}

    @cached_property
    def shown(self) -> Examples | None:
        """The question's reference pictures."""
        if self.examples is None:
            return None
        return Examples([Example(one.image.pixels, one.says) for one in self.examples])

    @property
    def question(self) -> str | None:
        """The name of the question: with other pictures it is another one."""
        return self.ask if self.shown is None or not self.ask else self.shown.question(self.ask)

    def all_shown(self) -> Iterator[Examples]:
        """The reference pictures of this and of all conditions in it."""
        if self.shown is not None:
            yield self.shown
        for part in (*(self.all or ()), *(self.any or ()), *([self.not_] if self.not_ else ())):
            yield from part.all_shown()

    def condition(self) -> Condition:
        """Make the condition as the rules judge it."""
        if self.question is not None:
            return Ask(self.question)
        if self.match is not None:
            return Match(self.match)
        if self.rule is not None:
            return RuleOn(self.rule)
        if self.not_ is not None:
            return Not(self.not_.condition())
        parts = tuple(part.condition() for part in self.all or self.any or ())
        return AllOf(parts) if self.all is not None else AnyOf(parts)


class StepConfig(ConditionConfig):
    """One step of a sequence."""

    within_s: Annotated[Seconds, Field(gt=0)] | None = Field(
        default=None, description="since the step before; the first one has none"
    )


def _steps(steps: tuple[StepConfig, ...]) -> tuple[StepConfig, ...]:
    if len(steps) < 2:
        raise Refused("expected at least two steps, one after the other")
    if steps[0].within_s is not None:
        raise Refused("the first step has nothing before it: delete its within_s")
    for n, step in enumerate(steps[1:], start=2):
        if step.within_s is None:
            raise Refused(f"step {n} needs a within_s: the most seconds since the step before it")
    return steps


class ClipConfig(Section):
    """The video of an alert: the window that raised it, and the seconds around it."""

    before_s: Annotated[Seconds, Field(le=60)] = 5.0
    after_s: Annotated[Seconds, Field(le=60)] = 5.0


class RuleConfig(ConditionConfig):
    """One alert rule: a condition, and when it opens and closes an incident."""

    cameras: CameraNames = Field(
        default=("all",), validate_default=True, description="all, or the names of cameras"
    )
    sequence: Annotated[tuple[StepConfig, ...], AfterValidator(_steps)] | None = Field(
        default=None, description="conditions that become true one after the other"
    )
    open_above: Share = Field(default=0.7, description="p_yes from which an incident opens")
    close_below: Annotated[Share, AfterValidator(checks.below_opening)] = Field(
        default=0.4, validate_default=True, description="p_yes down to which it stays open"
    )
    debounce: DebounceConfig = DebounceConfig()
    for_s: Seconds = Field(default=0.0, description="how long it must be true before it opens")
    cooldown_s: Seconds = Field(
        default=60.0, description="from a rule's last event to its next opening, per camera"
    )
    active: ActiveConfig | None = Field(default=None, description="left out: at all hours")
    severity: Severity = "alert"
    describe: bool = Field(default=False, description="add words to the event")
    snapshot: Annotated[bool, AfterValidator(checks.with_media)] = Field(
        default=False, description="add a picture to the event"
    )
    clip: Annotated[ClipConfig | None, AfterValidator(checks.with_media)] = Field(
        default=None, description="add a video to the event; `{}` for 5 s before and after"
    )

    zone: Outline | None = Field(
        default=None,
        description="ask about this part of the picture: corners [x, y], from 0 to 1; the box "
        "around them is looked at by itself, as sharp as the camera sends it",
    )

    def said(self) -> dict[str, object]:
        """See `ConditionConfig.said`."""
        return {**super().said(), "sequence": self.sequence}

    def all_shown(self) -> Iterator[Examples]:
        """See `ConditionConfig.all_shown`."""
        yield from super().all_shown()
        for step in self.sequence or ():
            yield from step.all_shown()

    def when(self) -> When:
        """Make the condition, or the sequence of them."""
        if self.sequence is None:
            return self.condition()
        return Sequence(tuple(Step(s.condition(), s.within_s) for s in self.sequence))

    def made(self, name: str) -> Rule:
        """The rule as the pipeline judges it."""
        zone = Zone.around(self.zone) if self.zone is not None else None
        ask = self.question
        if zone is not None and ask is not None:
            ask = zone.question(ask)
        return Rule(
            name=name,
            ask=ask or "",
            when=None if ask is not None else _within(self.when(), zone),
            for_s=self.for_s,
            active=self.active.hours() if self.active is not None else None,
            open_above=self.open_above,
            close_below=self.close_below,
            debounce=Debounce(self.debounce.needed, self.debounce.of),
            cooldown_s=self.cooldown_s,
            severity=self.severity,
            describe=self.describe,
        )


def _within(when: When, zone: Zone | None) -> When:
    """The same condition, with its questions asked about the zone."""
    if zone is None:
        return when
    if isinstance(when, Sequence):
        return Sequence(tuple(Step(_asked(s.condition, zone), s.within_s) for s in when.steps))
    return _asked(when, zone)


def _asked(condition: Condition, zone: Zone) -> Condition:
    match condition:
        case Ask(question):
            return Ask(zone.question(question))
        case Not(part):
            return Not(_asked(part, zone))
        case AllOf(parts):
            return AllOf(tuple(_asked(part, zone) for part in parts))
        case AnyOf(parts):
            return AnyOf(tuple(_asked(part, zone) for part in parts))
    return condition


def judged_on(rules: Mapping[str, RuleConfig]) -> dict[str, tuple[str, ...]]:
    """Rule name -> the cameras on which it can be judged: its own that its references share."""
    made = {name: rule.made(name) for name, rule in rules.items()}

    def cameras(name: str, way: tuple[str, ...]) -> set[str]:
        found = set(rules[name].cameras)
        for other in made[name].references:
            if other in rules and other not in way:
                found &= cameras(other, (*way, other))
        return found

    reach = {name: cameras(name, (name,)) for name in rules}
    return {n: tuple(c for c in rule.cameras if c in reach[n]) for n, rule in rules.items()}


def problems_between(
    rules: Mapping[str, RuleConfig], described: Mapping[str, bool]
) -> list[Problem]:
    """What is wrong with what rules say of each other and of cameras.

    `described`: camera -> whether its windows are described.
    """
    problems: list[Problem] = []
    circles: set[frozenset[str]] = set()
    made = {name: rule.made(name) for name, rule in rules.items()}
    references = {name: rule.references for name, rule in made.items()}
    for name, rule in made.items():
        at = ("rules", name, next(k for k, v in rules[name].said().items() if v is not None))
        for other in dict.fromkeys(rule.references):
            if other not in rules:
                guess = did_you_mean(other, rules)
                known = ", ".join(known for known in rules if known != name)
                text = f"there is no rule '{other}'.{guess} There are: {known or 'no others'}"
                problems.append(Problem(at, text))
        if rules[name].zone is not None and not rule.questions:
            text = "there is no `ask` in this rule that could be about it: delete it"
            problems.append(Problem(("rules", name, "zone"), text))
        way = circle(name, references)
        if way is not None and frozenset(way) not in circles:
            circles.add(frozenset(way))
            problems.append(Problem(at, f"the rule refers to itself: {' -> '.join(way)}"))
        silent = [c for c in rules[name].cameras if not described.get(c, True)]
        if silent and needs_words(rule.condition):
            text = f"needs descriptions, and {silent[0]} has `describe: off`: turn them on there"
            problems.append(Problem(at, text))
    if not problems:
        problems += [
            Problem(("rules", name), "the rules that it refers to share no camera with it")
            for name, cameras in judged_on(rules).items()
            if not cameras
        ]
    return problems
