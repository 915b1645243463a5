"""Which keys, defaults and limits has an alert rule?

Knows one rule at a time; how it is judged is `pipelines.rules`' affair.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field

from daemon import config_checks as checks
from daemon.config_conditions import ConditionConfig, StepConfig, steps_in_order
from daemon.config_hours import ActiveConfig
from daemon.config_sections import CameraNames, Count, Outline, Seconds, Section, Share
from pipelines.examples import Examples
from pipelines.rules import AllOf, AnyOf, Ask, Debounce, Not, Rule, Sequence, Step
from pipelines.rules.conditions import Condition, When
from pipelines.types import Severity
from pipelines.zones import Zone


class DebounceConfig(Section):
    """How many of the last answers must agree before an incident opens or closes."""

    needed: Annotated[Count, Field(ge=1, le=100)] = 2
    of: Annotated[Count, Field(ge=1, le=100), AfterValidator(checks.at_least_needed)] = Field(
        default=3, validate_default=True
    )


class ClipConfig(Section):
    """The video of an alert: the window that raised it, and the seconds around it."""

    before_s: Annotated[Seconds, Field(le=60)] = 5.0
    after_s: Annotated[Seconds, Field(le=60)] = 5.0


class RuleConfig(ConditionConfig):
    """One alert rule: a condition, and when it opens and closes an incident."""

    cameras: CameraNames = Field(
        default=("all",), validate_default=True, description="all, or the names of cameras"
    )
    sequence: Annotated[tuple[StepConfig, ...], AfterValidator(steps_in_order)] | None = Field(
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
