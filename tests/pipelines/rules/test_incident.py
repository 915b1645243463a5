"""Does one rule open and close as it says? Checked against its words, not against its code."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.rules import Debounce, Rule
from pipelines.rules.incident import Decision, RuleState, settle, update

AT_ONCE = Rule("r", "?", debounce=Debounce(1, 1), cooldown_s=0)

Step = tuple[float, float | None]  # seconds since the step before, p_yes


def counter() -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: f"i{next(numbers)}"


def play(rule: Rule, steps: Iterable[Step]) -> list[tuple[float, RuleState, Decision | None]]:
    """(time, state before, decision) of each step."""
    state, now_s, new_id = RuleState(), 1000.0, counter()
    story = []
    for wait_s, p_yes in steps:
        now_s += wait_s
        before = state
        state, decision = update(rule, state, p_yes, now_s, new_id)
        story.append((now_s, before, decision))
    return story


def words(rule: Rule, *answers: float | None, every_s: float = 2.0) -> str:
    """One letter an answer: M match, C clear, - nothing."""
    story = play(rule, [(every_s, p_yes) for p_yes in answers])
    letters = {None: "-", "rule_match": "M", "rule_clear": "C"}
    return "".join(letters[decision and decision.event_type] for _, _, decision in story)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    close_below = draw(st.floats(0.0, 0.9))
    of = draw(st.integers(1, 6))
    return Rule(
        "r",
        "?",
        open_above=draw(st.floats(close_below, 1.0, exclude_min=True)),
        close_below=close_below,
        debounce=Debounce(draw(st.integers(1, of)), of),
        cooldown_s=draw(st.floats(0.0, 30.0)),
    )


answers = st.one_of(st.none(), st.floats(0.0, 1.0), st.sampled_from([0.0, 1.0]))
stories = st.lists(st.tuples(st.floats(0.0, 20.0), answers), max_size=60)


@given(rules(), stories)
def test_matches_and_clears_alternate_and_share_their_incident(
    rule: Rule, steps: list[Step]
) -> None:
    told = [decision for _, _, decision in play(rule, steps) if decision]
    kinds = [decision.event_type for decision in told]
    assert kinds == [("rule_match", "rule_clear")[n % 2] for n in range(len(kinds))]
    for match, clear in itertools.zip_longest(told[::2], told[1::2]):
        assert clear is None or clear.incident == match.incident
    opened = [decision.incident.incident_id for decision in told[::2]]
    assert opened == [f"i{n}" for n in range(1, len(opened) + 1)]  # one id an opening, none spare


@given(rules(), stories)
def test_no_opening_within_the_cooldown_of_the_last_event(rule: Rule, steps: list[Step]) -> None:
    last_told_s = None
    for now_s, _, decision in play(rule, steps):
        if decision is None:
            continue
        if decision.event_type == "rule_match" and last_told_s is not None:
            assert now_s - last_told_s >= rule.cooldown_s
        last_told_s = now_s


@given(rules(), stories)
def test_every_change_is_made_by_enough_votes_for_it(rule: Rule, steps: list[Step]) -> None:
    since_change: list[float] = []
    for (_, p_yes), (_, _, decision) in zip(steps, play(rule, steps), strict=True):
        if p_yes is not None:
            since_change.append(p_yes)
        if decision is None:
            continue
        recent = since_change[-rule.debounce.of :]
        if decision.event_type == "rule_match":
            agreeing = [p >= rule.open_above for p in recent]
        else:
            agreeing = [p <= rule.close_below for p in recent]
        assert agreeing[-1]
        assert sum(agreeing) >= rule.debounce.needed
        assert decision.score == p_yes
        since_change.clear()


@given(rules(), stories)
def test_without_a_cooldown_nothing_that_has_its_votes_is_held_back(
    rule: Rule, steps: list[Step]
) -> None:
    rule = dataclasses.replace(rule, cooldown_s=0.0)
    since_change: list[float] = []
    for (_, p_yes), (_, before, decision) in zip(steps, play(rule, steps), strict=True):
        if p_yes is None:
            assert decision is None
            continue
        since_change.append(p_yes)
        recent = since_change[-rule.debounce.of :]
        if before.incident is None:
            ready = sum(p >= rule.open_above for p in recent) >= rule.debounce.needed
        else:
            ready = sum(p <= rule.close_below for p in recent) >= rule.debounce.needed
        assert (decision is not None) == ready
        if decision is not None:
            since_change.clear()


@given(rules(), stories, st.lists(st.floats(0.0, 1.0), max_size=20))
def test_answers_within_the_hysteresis_band_change_nothing(
    rule: Rule, steps: list[Step], shares: list[float]
) -> None:
    def inside(share: float) -> float:
        return rule.close_below + share * (rule.open_above - rule.close_below)

    band = [p for p in map(inside, shares) if rule.close_below < p < rule.open_above]
    story = play(rule, [*steps, *((1.0, p) for p in band)])
    assert all(decision is None for _, _, decision in story[len(steps) :])


@given(rules(), stories)
def test_windows_without_an_answer_are_as_if_they_had_not_been(
    rule: Rule, steps: list[Step]
) -> None:
    story = play(rule, steps)
    assert not any(
        told for (_, p_yes), (*_, told) in zip(steps, story, strict=True) if p_yes is None
    )
    rule = dataclasses.replace(rule, cooldown_s=0.0)  # so that leaving out time changes nothing
    asked = [step for step in steps if step[1] is not None]
    kinds = [told.event_type for *_, told in play(rule, steps) if told]
    assert kinds == [told.event_type for *_, told in play(rule, asked) if told]


@given(rules(), stories)
def test_the_same_input_gives_the_same_output(rule: Rule, steps: list[Step]) -> None:
    assert play(rule, steps) == play(rule, steps)


@given(rules(), stories, st.floats(0.0, 100.0))
def test_settling_leaves_nothing_open_and_no_votes(
    rule: Rule, steps: list[Step], wait_s: float
) -> None:
    state, now_s = RuleState(), 1000.0
    new_id = counter()
    for step_s, p_yes in steps:
        now_s += step_s
        state, _ = update(rule, state, p_yes, now_s, new_id)
    settled, decision = settle(state, now_s + wait_s)
    assert settled.incident is None
    assert settled.votes == ()
    if state.incident is None:
        assert decision is None
        assert settled.last_event_s == state.last_event_s
    else:
        assert decision == Decision("rule_clear", state.incident, None)
        assert settled.last_event_s == now_s + wait_s


def test_thresholds_themselves_count() -> None:
    rule = dataclasses.replace(AT_ONCE, open_above=0.7, close_below=0.4)
    assert words(rule, 0.69, 0.7, 0.41, 0.4) == "-M-C"


def test_two_of_three() -> None:
    rule = dataclasses.replace(AT_ONCE, debounce=Debounce(2, 3))
    assert words(rule, 0.9, 0.1, 0.1, 0.9, 0.1, 0.9) == "-----M"
    assert words(rule, 0.9, 0.9, 0.1, 0.9, 0.9, 0.1, 0.9, 0.1) == "-M-----C"


def test_a_change_starts_the_count_anew() -> None:
    rule = dataclasses.replace(AT_ONCE, debounce=Debounce(2, 4))
    # The two noes before the opening do not help to close it.
    assert words(rule, 0.1, 0.1, 0.9, 0.9, 0.1, 0.1) == "---M-C"


def test_what_fits_into_the_cooldown_leaves_no_incident() -> None:
    rule = dataclasses.replace(AT_ONCE, cooldown_s=10)
    assert words(rule, 0.9, 0.1, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.9) == "MC------M"


def test_what_is_still_true_after_the_cooldown_opens_then() -> None:
    rule = dataclasses.replace(AT_ONCE, cooldown_s=6, debounce=Debounce(2, 3))
    # Cleared at 8 s; at 12 s there are votes enough, and 14 s is the first time allowed.
    assert words(rule, 0.9, 0.9, 0.1, 0.1, 0.9, 0.9, 0.9, 0.9) == "-M-C--M-"


def test_a_no_does_not_open_when_the_cooldown_is_over() -> None:
    rule = dataclasses.replace(AT_ONCE, cooldown_s=5, debounce=Debounce(2, 3))
    assert words(rule, 0.9, 0.9, 0.1, 0.1, 0.9, 0.9, 0.1, 0.1) == "-M-C----"


@pytest.mark.parametrize(("needed", "of"), [(0, 1), (3, 2), (-1, 3)])
def test_an_impossible_debounce_is_refused(needed: int, of: int) -> None:
    with pytest.raises(ValueError, match="1 <= needed <= of"):
        Debounce(needed, of)


@pytest.mark.parametrize(("opens", "closes"), [(0.4, 0.4), (0.3, 0.5), (1.1, 0.4), (0.5, -0.1)])
def test_contradicting_thresholds_are_refused(opens: float, closes: float) -> None:
    with pytest.raises(ValueError, match="close_below < open_above"):
        Rule("r", "?", open_above=opens, close_below=closes)
