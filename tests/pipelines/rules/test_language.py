"""Does each word of the rule language mean what the example configuration says of it?"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.rules import (
    AllOf,
    AnyOf,
    Ask,
    Debounce,
    Hours,
    Match,
    Not,
    Rule,
    RuleBook,
    RuleOn,
    Sequence,
    Step,
)
from pipelines.rules.conditions import Condition, Facts, Score, pattern_problem, score
from pipelines.rules.order import circle, judging_order
from pipelines.types import Event, Observation, Timings

ONCE = Debounce(1, 1)
A, B, C = Ask("a?"), Ask("b?"), Ask("c?")
WALL = 1_700_000_000.0


def facts(description: str | None = None, *on: str, **answers: float) -> Facts:
    return Facts({f"{name}?": p_yes for name, p_yes in answers.items()}, description, on)


def seen(at_s: float, answers: Mapping[str, float], words: str | None = None) -> Observation:
    return Observation(
        "porch", int(at_s), at_s - 7, at_s, WALL + at_s, answers, words, Timings(), "m", "0"
    )


class Story:
    """One book, told windows two seconds apart."""

    def __init__(self, *rules: Rule) -> None:
        ids = itertools.count(1)
        self.book = RuleBook("porch", rules, lambda: f"id{next(ids)}")
        self.now_s = 100.0

    def window(self, words: str | None = None, **answers: float) -> list[str]:
        """What a window led to: `+rule` for a match, `-rule` for a clear."""
        self.now_s += 2.0
        found = {f"{name}?": p_yes for name, p_yes in answers.items()}
        return told(self.book.judge(seen(self.now_s, found, words)))

    def windows(self, count: int, **answers: float) -> list[list[str]]:
        return [self.window(**answers) for _ in range(count)]


def told(events: tuple[Event, ...]) -> list[str]:
    sign = {"rule_match": "+", "rule_clear": "-", "rule_update": "~"}
    return [f"{sign[event.event_type]}{event.rule}" for event in events]


# Scores


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (A, (0.8, 0.8)),
        (Not(A), (0.2, 0.2)),
        (AllOf((A, B)), (0.3, 0.3)),
        (AnyOf((A, B)), (0.8, 0.8)),
        (C, (0.0, 1.0)),
        (AllOf((B, C)), (0.0, 0.3)),
        (AnyOf((A, C)), (0.8, 1.0)),
        (Not(AnyOf((A, C))), (0.0, 0.2)),
        (Match("Dogs?"), (1.0, 1.0)),
        (Match("cat"), (0.0, 0.0)),
        (RuleOn("r"), (1.0, 1.0)),
        (RuleOn("q"), (0.0, 0.0)),
    ],
)
def test_a_condition_is_as_true_as(condition: Condition, expected: tuple[float, float]) -> None:
    found = score(condition, facts("Two dogs run.", "r", a=0.8, b=0.3))
    assert (found.low, found.high) == pytest.approx(expected)


def test_words_that_were_not_made_are_not_known() -> None:
    assert score(Match("dog"), facts()) == Score(0.0, 1.0)


def test_a_pattern_that_never_ends_finds_nothing() -> None:
    assert pattern_problem(r"(a|a)+$") is not None
    assert score(Match(r"(a|a)+$"), facts("a" * 60 + "!")).high == 0.0


@pytest.mark.parametrize("pattern", [r"\b(smoke|fire|flames)\b", r"^a .* dog", r"\w+ing\.?$"])
def test_ordinary_patterns_are_fine(pattern: str) -> None:
    assert pattern_problem(pattern) is None


# One word after the other


def test_all_waits_for_every_part_and_one_false_part_ends_it() -> None:
    story = Story(Rule("r", when=AllOf((A, Not(B))), debounce=ONCE, cooldown_s=0))
    assert story.window(a=0.9, b=0.9) == []
    assert story.window(a=0.9) == []  # b was not asked: nobody knows
    assert story.window(a=0.9, b=0.1) == ["+r"]
    assert story.window(a=0.9) == []
    assert story.window(b=0.9) == ["-r"]  # whatever a is


def test_the_score_that_is_told_is_the_conditions() -> None:
    story = Story(Rule("r", when=AllOf((A, Not(B))), debounce=ONCE))
    (event,) = story.book.judge(seen(1.0, {"a?": 0.9, "b?": 0.25}))
    assert event.score == pytest.approx(0.75)


def test_for_s_counts_from_the_first_yes_and_opens_on_a_yes() -> None:
    story = Story(Rule("r", "a?", debounce=Debounce(2, 3), for_s=10, cooldown_s=0))
    assert story.windows(5, a=0.9) == [[]] * 5  # 2 s apart: the first yes is 8 s ago
    assert story.window(a=0.9) == ["+r"]


def test_for_s_is_broken_by_what_would_close_an_incident() -> None:
    story = Story(Rule("r", "a?", debounce=Debounce(2, 3), for_s=10, cooldown_s=0))
    story.windows(4, a=0.9)
    assert story.window(a=0.1) == []
    assert story.windows(2, a=0.9) == [["+r"], []]  # one no of three breaks nothing
    other = Story(Rule("r", "a?", debounce=Debounce(2, 3), for_s=10, cooldown_s=0))
    other.windows(4, a=0.9)
    assert other.windows(2, a=0.1) == [[], []]
    assert other.windows(5, a=0.9) == [[]] * 5
    assert other.window(a=0.9) == ["+r"]


def test_for_s_does_not_open_on_an_answer_within_the_band() -> None:
    story = Story(Rule("r", "a?", debounce=ONCE, for_s=4, cooldown_s=0))
    story.window(a=0.9)
    assert story.windows(4, a=0.5) == [[]] * 4
    assert story.window(a=0.9) == ["+r"]


def test_a_match_is_judged_when_words_come() -> None:
    story = Story(Rule("r", when=Match("smoke"), debounce=ONCE, cooldown_s=0))
    assert story.book.questions == ()
    assert story.window() == []
    assert story.window(words="SMOKE rises.") == ["+r"]
    assert story.window() == []
    assert story.window(words="All is well.") == ["-r"]


def test_words_that_follow_are_judged_with_the_answers_of_their_window() -> None:
    story = Story(
        Rule("both", when=AllOf((A, Match("smoke"))), debounce=ONCE),
        Rule("twice", "a?", debounce=Debounce(2, 2)),
    )
    story.book.judge(seen(10.0, {"a?": 0.9}))
    events = story.book.judge_words(seen(10.0, {"a?": 0.9}, "smoke"))
    assert told(events) == ["+both"]  # and `twice` was not judged twice


def test_a_rule_sees_what_the_same_window_changed_in_the_rules_it_refers_to() -> None:
    story = Story(
        Rule("second", when=AllOf((RuleOn("first"), B)), debounce=ONCE, cooldown_s=0),
        Rule("first", "a?", debounce=ONCE, cooldown_s=0),
    )
    assert story.window(a=0.9, b=0.9) == ["+second", "+first"]  # in the configuration's order
    assert story.window(a=0.1, b=0.9) == ["-second", "-first"]


THEFT = Rule(
    "theft",
    when=Sequence((Step(A), Step(B, within_s=10), Step(C, within_s=10))),
    debounce=ONCE,
    cooldown_s=0,
)


def test_a_sequence_opens_with_its_last_step_and_closes_with_it() -> None:
    story = Story(THEFT)
    assert story.window(a=0.9, b=0.1, c=0.1) == []
    assert story.window(a=0.1, b=0.9, c=0.1) == []
    assert story.window(a=0.1, b=0.1, c=0.9) == ["+theft"]
    assert story.window(a=0.9, b=0.1, c=0.9) == []
    assert story.window(a=0.1, b=0.1, c=0.1) == ["-theft"]


@pytest.mark.parametrize("order", ["bca", "acb", "cba", "cab", "bac"])
def test_another_order_is_another_story(order: str) -> None:
    story = Story(THEFT)
    for name in order:
        yes = dict.fromkeys("abc", 0.1) | {name: 0.9}
        assert story.window(**yes) == []


def test_steps_in_one_window_are_no_sequence() -> None:
    story = Story(THEFT)
    assert story.windows(3, a=0.9, b=0.9, c=0.9) == [[]] * 3


def test_too_late_is_not_within() -> None:
    story = Story(THEFT)
    story.window(a=0.9, b=0.1, c=0.1)
    story.windows(5, a=0.1, b=0.1, c=0.1)
    story.window(a=0.1, b=0.9, c=0.1)  # 12 s after
    assert story.window(a=0.1, b=0.1, c=0.9) == []


def test_a_second_ending_needs_a_second_beginning() -> None:
    story = Story(THEFT)
    for _ in range(2):
        story.window(a=0.9, b=0.1, c=0.1)
        story.window(a=0.1, b=0.9, c=0.1)
        assert story.window(a=0.1, b=0.1, c=0.9) == ["+theft"]
        assert story.window(a=0.1, b=0.1, c=0.1) == ["-theft"]
        assert story.window(a=0.1, b=0.1, c=0.9) == []
        story.window(a=0.1, b=0.1, c=0.1)


def test_words_of_the_same_window_are_no_later_step() -> None:
    story = Story(Rule("r", when=Sequence((Step(A), Step(Match("smoke"), 60))), debounce=ONCE))
    for at_s, expected in ((10.0, []), (12.0, [])):
        story.book.judge(seen(at_s, {"a?": 0.9}))
        assert told(story.book.judge_words(seen(at_s, {"a?": 0.9}, "smoke"))) == expected
    story.book.judge_words(seen(14.0, {"a?": 0.9}, "air"))
    story.book.judge(seen(16.0, {"a?": 0.9}))
    assert told(story.book.judge_words(seen(16.0, {"a?": 0.9}, "smoke"))) == ["+r"]


@pytest.mark.parametrize(
    "rule",
    [
        Rule("r", "a?", debounce=Debounce(2, 2), for_s=10, cooldown_s=0),
        Rule("r", when=Sequence((Step(Not(A)), Step(A, 9))), debounce=Debounce(1, 2), cooldown_s=0),
    ],
)
@pytest.mark.parametrize("restart", [1, 2, 3, 4, 5, 6])
def test_times_go_on_after_a_reboot(rule: Rule, restart: int) -> None:
    """The monotonic clock begins anew; what is counted in seconds does not."""
    plain, broken = Story(rule), Story(rule)
    for n, p_yes in enumerate([0.1, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]):
        if n == restart:
            memory = broken.book.memory()
            assert memory is not None
            broken = Story(rule)
            broken.now_s = plain.now_s - 4096.0
            assert broken.book.recall(memory, -4096.0 - WALL)
        at_s = plain.now_s + 2.0
        expected = plain.window(a=p_yes)
        broken.now_s += 2.0
        moved = dataclasses.replace(seen(broken.now_s, {"a?": p_yes}), wall_time=WALL + at_s)
        assert told(broken.book.judge(moved)) == expected


def test_a_sequence_can_begin_with_another_rule() -> None:
    story = Story(
        Rule("theft", when=Sequence((Step(RuleOn("came")), Step(B, 60))), debounce=Debounce(2, 2)),
        Rule("came", "a?", debounce=Debounce(2, 2)),
    )
    assert story.windows(2, a=0.9, b=0.1) == [[], ["+came"]]
    assert story.windows(2, a=0.9, b=0.9) == [[], ["+theft"]]
    (event,) = story.book.settle("gone", 500.0, 500.0)[:1]
    assert event.rule == "theft"


def test_a_sequences_score_is_its_last_steps() -> None:
    story = Story(THEFT)
    story.window(a=0.9, b=0.1, c=0.1)
    story.window(a=0.1, b=0.9, c=0.1)
    (event,) = story.book.judge(seen(200.0 - 94.0, {"a?": 0.1, "b?": 0.1, "c?": 0.83}))
    assert event.score == pytest.approx(0.83)


# Hours and arming

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = Hours((4, 5), time(22), time(6), BERLIN)  # begins on fridays and saturdays


@pytest.mark.parametrize(
    ("local", "within"),
    [
        ("2026-11-20 21:59", False),  # friday
        ("2026-11-20 22:00", True),
        ("2026-11-21 05:59", True),
        ("2026-11-21 06:00", False),
        ("2026-11-22 05:59", True),  # sunday, of saturday's night
        ("2026-11-22 22:00", False),
        ("2026-11-20 03:00", False),  # friday, of thursday's night
        ("2026-03-28 23:30", True),  # before the hour that is left out
        ("2026-03-29 03:30", True),
        ("2026-03-29 06:00", False),
        ("2026-10-25 02:30", True),  # the hour that comes twice
    ],
)
def test_hours_across_midnight(local: str, within: bool) -> None:
    moment = datetime.fromisoformat(local).replace(tzinfo=BERLIN)
    for fold in (0, 1):
        assert NIGHT.hold(moment.replace(fold=fold).timestamp()) is within


def test_hours_are_of_the_wall_clock_in_summer_and_in_winter() -> None:
    hours = Hours(start=time(8), end=time(17), zone=BERLIN)
    assert not hours.hold(datetime(2026, 12, 1, 6, 59, tzinfo=UTC).timestamp())
    assert hours.hold(datetime(2026, 12, 1, 7, 0, tzinfo=UTC).timestamp())
    assert hours.hold(datetime(2026, 7, 1, 6, 0, tzinfo=UTC).timestamp())
    assert not hours.hold(datetime(2026, 7, 1, 15, 0, tzinfo=UTC).timestamp())


def test_to_midnight_and_all_day() -> None:
    evening = Hours(start=time(20), zone=UTC)
    assert evening.hold(datetime(2026, 12, 1, 23, 59, tzinfo=UTC).timestamp())
    assert not evening.hold(datetime(2026, 12, 2, 0, 0, tzinfo=UTC).timestamp())
    monday = Hours((0,), zone=UTC)
    assert monday.hold(datetime(2026, 11, 23, 0, 0, tzinfo=UTC).timestamp())
    assert not monday.hold(datetime(2026, 11, 24, 0, 0, tzinfo=UTC).timestamp())


@pytest.mark.parametrize("wrong", [{"days": ()}, {"start": time(5), "end": time(5)}])
def test_hours_that_never_come_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="active hours"):
        Hours(**wrong)  # type: ignore[arg-type]


def test_a_rule_opens_when_its_hours_begin_and_closes_after_them() -> None:
    start = WALL + 106.0
    clock = datetime.fromtimestamp(start, UTC).time()
    end = datetime.fromtimestamp(start + 4, UTC).time()
    hours = Hours(start=clock, end=end, zone=UTC)
    story = Story(Rule("r", "a?", debounce=ONCE, cooldown_s=0, active=hours))
    assert story.windows(3, a=0.9) == [[], [], ["+r"]]
    assert story.windows(4, a=0.9) == [[]] * 4
    assert story.window(a=0.1) == ["-r"]
    assert story.window(a=0.9) == []


def test_a_disarmed_rule_closes_and_stays_quiet() -> None:
    story = Story(Rule("r", "a?", debounce=ONCE, cooldown_s=0))
    story.window(a=0.9)
    (clear,) = story.book.arm("r", 103.0, WALL, armed=False)
    assert (clear.event_type, clear.text) == ("rule_clear", "the rule was disarmed")
    assert story.windows(3, a=0.9) == [[]] * 3
    assert story.book.disarmed == {"r"}
    assert story.book.arm("r", 110.0, WALL, armed=True) == ()
    assert story.window(a=0.9) == ["+r"]
    with pytest.raises(KeyError):
        story.book.arm("q", 0.0, 0.0, armed=True)


def test_a_switch_outlives_the_process_even_before_the_first_window() -> None:
    first = Story(Rule("r", "a?"))
    assert first.book.memory() is None
    first.book.arm("r", 0.0, 0.0, armed=False)
    memory = first.book.memory()
    assert memory is not None
    second = Story(Rule("r", "a?"))
    assert second.book.recall(memory, 0.0)
    assert second.book.disarmed == {"r"}


# Why not


@pytest.mark.parametrize(
    ("rule", "windows", "why"),
    [
        (Rule("r", "a?"), [0.5], "below open_above: 0.7"),
        (Rule("r", "a?"), [0.9], "true, but only 1 so far of debounce: {needed: 2, of: 3}"),
        (Rule("r", "a?"), [0.9, 0.9], "on"),
        (Rule("r", "a?", debounce=ONCE), [0.9, 0.1], "closed: not above close_below: 0.4"),
        (
            Rule("r", "a?", debounce=ONCE),
            [0.9, 0.1, 0.9],
            "true, but within cooldown_s: 60 of its last event",
        ),
        (Rule("r", "a?", debounce=ONCE, for_s=30), [0.9, 0.9], "true, but not yet for_s: 30"),
        (
            Rule("r", "a?", debounce=ONCE, active=Hours((0,), time(1), time(2), UTC)),
            [0.9],
            'true, but outside active: {days: [mon], from: "01:00", to: "02:00"}',
        ),
        (
            Rule("r", when=Sequence((Step(Not(A)), Step(A, 5))), debounce=ONCE),
            [0.9],
            "sequence: waiting for step 1: 'a?'",
        ),
        (
            Rule("r", when=Sequence((Step(Not(A)), Step(A, 5))), debounce=ONCE),
            [0.1],
            "sequence: waiting for step 2: 'a?' within_s: 5",
        ),
        (Rule("r", when=AllOf((A, B))), [0.9], "not judged: this window was not asked"),
        (Rule("r", when=Match("x")), [0.9], "not judged: this window was not described"),
    ],
)
def test_the_reason_is_told_in_the_words_of_the_configuration(
    rule: Rule, windows: list[float], why: str
) -> None:
    story = Story(rule)
    for p_yes in windows:
        story.window(a=p_yes)
    assert story.book.verdicts["r"].startswith(why)


def test_disarmed_is_a_reason() -> None:
    story = Story(Rule("r", "a?", debounce=ONCE))
    story.book.arm("r", 0.0, 0.0, armed=False)
    story.window(a=0.9)
    assert story.book.verdicts == {"r": "true, but the rule is disarmed"}


# Order


def test_rules_come_after_those_they_refer_to() -> None:
    assert judging_order({"a": ["c"], "b": [], "c": ["b", "gone"]}) == ("b", "c", "a")
    with pytest.raises(ValueError, match="circle: a, b"):
        judging_order({"a": ["b"], "b": ["a"]})
    assert circle("a", {"a": ["b"], "b": ["c", "a"]}) == ("a", "b", "a")
    assert circle("c", {"a": ["a"], "c": ["a"]}) is None


# Properties of any rules whatever


def conditions() -> st.SearchStrategy[Condition]:
    leaf = st.sampled_from([A, B, Match("fire"), RuleOn("base")])
    return st.recursive(
        leaf,
        lambda part: st.one_of(
            st.builds(Not, part),
            st.builds(AllOf, st.lists(part, min_size=1, max_size=3).map(tuple)),
            st.builds(AnyOf, st.lists(part, min_size=1, max_size=3).map(tuple)),
        ),
        max_leaves=4,
    )


@st.composite
def rules(draw: st.DrawFn, name: str) -> Rule:
    steps = st.lists(st.builds(Step, conditions(), st.floats(1, 20)), min_size=2, max_size=3)
    when = draw(st.one_of(conditions(), steps.map(lambda s: Sequence(tuple(s)))))
    of = draw(st.integers(1, 3))
    return Rule(
        name,
        when=when,
        debounce=Debounce(draw(st.integers(1, of)), of),
        cooldown_s=draw(st.sampled_from([0.0, 7.0])),
        for_s=draw(st.sampled_from([0.0, 5.0])),
        active=draw(st.sampled_from([None, Hours((1, 2), zone=UTC)])),
        describe=draw(st.booleans()),
    )


books = st.tuples(
    rules("one"), rules("two"), st.just(Rule("base", "a?", debounce=ONCE, cooldown_s=3))
)
moves = st.lists(
    st.tuples(
        st.sampled_from([0.5, 2.0, 9.0]),
        st.dictionaries(st.sampled_from(["a?", "b?"]), st.sampled_from([0.0, 0.5, 0.9])),
        st.sampled_from([None, None, "Fire!", "Nothing."]),
        st.sampled_from(["look", "look", "look", "words", "lost", "disarm", "arm"]),
    ),
    max_size=30,
)
Move = tuple[float, dict[str, float], str | None, str]


def play(book: RuleBook, now_s: float, move: Move) -> tuple[Event, ...]:
    _, answers, words, kind = move
    if kind == "lost":
        return book.settle("lost", now_s, now_s)
    if kind in ("arm", "disarm"):
        return book.arm("one", now_s, now_s, armed=kind == "arm")
    if kind == "words":
        first = book.judge(seen(now_s, answers))
        return (*first, *book.judge_words(seen(now_s, answers, words)))
    return book.judge(seen(now_s, answers, words))


@settings(max_examples=150, deadline=None)
@given(books, moves)
def test_incidents_open_before_they_close_and_one_at_a_time(
    chosen: tuple[Rule, ...], story: list[Move]
) -> None:
    ids = itertools.count()
    book = RuleBook("porch", chosen, lambda: str(next(ids)))
    is_open: dict[str | None, str | None] = {}
    now_s = 0.0
    for move in story:
        now_s += move[0]
        for event in play(book, now_s, move):
            if event.event_type == "rule_match":
                assert event.rule not in is_open
                is_open[event.rule] = event.incident_id
            elif event.event_type == "rule_clear":
                assert is_open.pop(event.rule) == event.incident_id
            else:
                assert is_open[event.rule] == event.incident_id
        assert set(book.open_incidents) == set(is_open)


@settings(max_examples=150, deadline=None)
@given(books, moves, st.integers(0, 30))
def test_a_restart_at_any_point_changes_nothing(
    chosen: tuple[Rule, ...], story: list[Move], restart: int
) -> None:
    """The machine was booted anew as well: its monotonic clock begins elsewhere."""
    histories = []
    for restarts, shift_s in ((False, 0.0), (True, -4096.0)):
        ids = itertools.count()
        book = RuleBook("porch", chosen, lambda ids=ids: str(next(ids)))  # type: ignore[misc]
        now_s, moved_s, history = 8192.0, 0.0, []
        for n, move in enumerate(story):
            if restarts and n == restart:
                memory = book.memory()
                book = RuleBook("porch", chosen, lambda ids=ids: str(next(ids)))  # type: ignore[misc]
                moved_s = shift_s
                # Wall time is WALL beyond the first monotonic clock in `seen`.
                assert memory is None or book.recall(memory, moved_s - WALL)
            now_s += move[0]
            events = play_at(book, now_s, moved_s, move)
            history += [
                (e.event_type, e.rule, e.incident_id, e.captured_s - moved_s) for e in events
            ]
        histories.append(history)
    assert histories[0] == histories[1]


def play_at(book: RuleBook, now_s: float, moved_s: float, move: Move) -> tuple[Event, ...]:
    """`play`, with the monotonic clock moved and the wall clock left alone."""
    _, answers, words, kind = move
    mono_s = now_s + moved_s
    if kind == "lost":
        return book.settle("lost", mono_s, WALL + now_s)
    if kind in ("arm", "disarm"):
        return book.arm("one", mono_s, WALL + now_s, armed=kind == "arm")

    def at(words: str | None) -> Observation:
        return Observation(
            "porch", 1, mono_s - 7, mono_s, WALL + now_s, answers, words, Timings(), "m", "0"
        )

    if kind == "words":
        return (*book.judge(at(None)), *book.judge_words(at(words)))
    return book.judge(at(words))
