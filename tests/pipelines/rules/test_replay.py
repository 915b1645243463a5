"""Do answers that were given before lead to the same incidents again?"""

from itertools import count, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.rules import AllOf, Ask, Debounce, Match, Not, Rule, RuleBook, RuleOn, Sequence, Step
from pipelines.rules.replay import Break, incident_spans, replay
from pipelines.types import Observation, Timings


def look(at_s: float, words: str | None = None, **answers: float) -> Observation:
    return Observation(
        "porch", 0, at_s - 7.0, at_s, 1e9 + at_s, answers, words, Timings(), "m", "0"
    )


def book(*rules: Rule) -> RuleBook:
    numbers = count()
    return RuleBook("porch", rules, lambda: str(next(numbers)))


DOG = Rule("dog", ask="dog", debounce=Debounce(1, 1), cooldown_s=0.0)


def test_an_incident_has_its_times_and_its_peak() -> None:
    looks = [look(10 + 2 * n, dog=p) for n, p in enumerate([0.1, 0.8, 0.95, 0.5, 0.2, 0.1])]
    (span,) = incident_spans(replay(book(DOG), "dog", looks))
    assert (span.evidence_s, span.opened_s, span.closed_s) == (5.0, 12.0, 18.0)
    assert (span.score, span.peak, span.closed_by) == (0.8, 0.95, None)


def test_what_does_not_close_is_still_open() -> None:
    (span,) = incident_spans(replay(book(DOG), "dog", [look(10, dog=0.9)]))
    assert span.closed_s is None
    assert span.until_s(60.0) == 60.0


def test_a_break_closes_what_is_open_and_says_why() -> None:
    looks = [look(10, dog=0.9), look(100, dog=0.9)]
    breaks = [Break(40.0, "away: no route")]
    first, second = incident_spans(replay(book(DOG), "dog", looks, breaks))
    assert (first.closed_s, first.closed_by) == (40.0, "away: no route")
    assert (second.opened_s, second.closed_s) == (100.0, None)


def test_rules_that_it_refers_to_are_judged_along() -> None:
    near = Rule("near", when=Not(RuleOn("dog")), debounce=Debounce(1, 1), cooldown_s=0.0)
    judged = list(replay(book(DOG, near), "near", [look(10, dog=0.9), look(12, dog=0.1)]))
    assert [step.score for step in judged] == [0.0, 1.0]
    assert [span.opened_s for span in incident_spans(judged)] == [12.0]


def test_a_sequence_is_one_too() -> None:
    steps = (Step(Ask("dog")), Step(Ask("cat"), 30.0))
    rule = Rule("both", when=Sequence(steps), debounce=Debounce(1, 1), cooldown_s=0.0)
    looks = [look(10, dog=0.9, cat=0.0), look(12, dog=0.0, cat=0.8), look(14, dog=0.0, cat=0.0)]
    (span,) = incident_spans(replay(book(rule), "both", looks))
    assert (span.opened_s, span.closed_s, span.peak) == (12.0, 14.0, 0.8)


def test_words_are_judged_with_the_answers_of_their_window() -> None:
    both = AllOf((Ask("dog"), Match("fire")))
    rule = Rule("fire", when=both, debounce=Debounce(1, 1), cooldown_s=0.0)
    looks = [look(10, dog=0.9), look(10, words="A fire."), look(12, dog=0.0)]
    (span,) = incident_spans(replay(book(DOG, rule), "fire", looks))
    assert (span.opened_s, span.closed_s) == (10.0, 12.0)


def test_a_rule_that_is_not_there_is_refused() -> None:
    with pytest.raises(KeyError):
        list(replay(book(DOG), "cat", [look(10, dog=0.1)]))


@given(st.lists(st.floats(0, 1), max_size=60))
def test_incidents_follow_each_other(answers: list[float]) -> None:
    rule = Rule("dog", ask="dog", cooldown_s=5.0)
    looks = [look(10 + 2 * n, dog=p) for n, p in enumerate(answers)]
    spans = incident_spans(replay(book(rule), "dog", looks))
    other = book(rule)
    events = [event for seen in looks for event in other.judge(seen)]
    told = [e.captured_s for e in events if e.event_type == "rule_match"]
    assert [span.opened_s for span in spans] == told
    for one, two in pairwise(spans):
        assert one.closed_s is not None
        assert one.opened_s < one.closed_s <= two.opened_s - rule.cooldown_s
