"""What can be asked or waited for, as the configuration writes it?

Knows conditions, alone and in steps; not when they open an incident.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated

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
from daemon.config_errors import Refused
from daemon.config_pictures import ReferencePicture, picture
from daemon.config_sections import Seconds, Section, Slug, Text
from pipelines.examples import Example, Examples
from pipelines.rules import AllOf, AnyOf, Ask, Match, Not, RuleOn
from pipelines.rules.conditions import Condition, pattern_problem


def _pattern(text: str) -> str:
    problem = pattern_problem(text)
    if problem is not None:
        raise Refused(f"the pattern {problem}")
    return text


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


def steps_in_order(steps: tuple[StepConfig, ...]) -> tuple[StepConfig, ...]:
    """The same steps. Raises `Refused` for what cannot come one after the other."""
    if len(steps) < 2:
        raise Refused("expected at least two steps, one after the other")
    if steps[0].within_s is not None:
        raise Refused("the first step has nothing before it: delete its within_s")
    for n, step in enumerate(steps[1:], start=2):
        if step.within_s is None:
            raise Refused(f"step {n} needs a within_s: the most seconds since the step before it")
    return steps
