"""Does one camera's book ask the right questions and tell the right events?"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.rules import Debounce, Rule, RuleBook
from pipelines.types import Observation, Timings

ONCE = Debounce(1, 1)
PERSON = Rule("person", "Is there a person?", debounce=ONCE, cooldown_s=0, severity="warning")
PACKAGE = Rule("package", "Was a package delivered?", debounce=ONCE, cooldown_s=0, describe=True)
VISITOR = Rule("visitor", "Is there a person?", debounce=ONCE, cooldown_s=0, describe=True)


def book(*rules: Rule) -> RuleBook:
    numbers = itertools.count(1)
    return RuleBook("porch", rules, lambda: f"id{next(numbers)}")


def seen(
    at_s: float, answers: Mapping[str, float], description: str | None = None, camera: str = "porch"
) -> Observation:
    return Observation(
        camera=camera,
        window_seq=int(at_s),
        start_s=at_s - 7,
        end_s=at_s,
        wall_time=1_700_000_000.0 + at_s,
        answers=answers,
        description=description,
        timings=Timings(queue_ms=3.0),
        model_id="tiny@1",
        prompt_sha256="ab" * 32,
    )


def test_each_question_is_asked_once_in_order() -> None:
    assert book(PERSON, PACKAGE, VISITOR).questions == (PERSON.ask, PACKAGE.ask)
    assert book().questions == ()


def test_an_event_says_what_the_observation_said() -> None:
    rules = book(PERSON)
    (match,) = rules.judge(seen(10, {PERSON.ask: 0.8}))
    assert (match.event_type, match.camera, match.rule) == ("rule_match", "porch", "person")
    assert (match.severity, match.score, match.text) == ("warning", 0.8, None)
    assert (match.captured_s, match.wall_time) == (10, 1_700_000_010.0)
    assert (match.model_id, match.prompt_sha256) == ("tiny@1", "ab" * 32)
    assert match.timings == Timings(queue_ms=3.0)
    (clear,) = rules.judge(seen(12, {PERSON.ask: 0.2}))
    assert (clear.event_type, clear.score) == ("rule_clear", 0.2)
    assert clear.incident_id == match.incident_id
    assert len({match.event_id, clear.event_id, match.incident_id}) == 3


def test_events_come_in_the_order_of_the_rules_and_words_last() -> None:
    rules = book(VISITOR, PACKAGE, PERSON)
    rules.judge(seen(10, {VISITOR.ask: 0.9}))
    events = rules.judge(seen(12, {VISITOR.ask: 0.9, PACKAGE.ask: 0.9}, "A courier waits."))
    told = [(event.event_type, event.rule) for event in events]
    assert told == [("rule_match", "package"), ("rule_update", "visitor")]


def test_a_question_that_was_not_asked_changes_nothing() -> None:
    rules = book(PERSON, PACKAGE)
    rules.judge(seen(10, {PERSON.ask: 0.9}))
    assert rules.judge(seen(12, {})) == ()
    assert rules.judge(seen(14, {"Another question?": 0.1})) == ()
    assert list(rules.open_incidents) == ["person"]


def test_the_alert_goes_first_and_words_follow_once() -> None:
    rules = book(PACKAGE)
    assert not rules.wants_words
    observation = seen(10, {PACKAGE.ask: 0.9})
    (match,) = rules.judge(observation)
    assert match.text is None
    assert rules.wants_words
    (update,) = rules.add_words(seen(10, {PACKAGE.ask: 0.9}, "A package is on the step."))
    assert (update.event_type, update.text) == ("rule_update", "A package is on the step.")
    assert (update.incident_id, update.score) == (match.incident_id, 0.9)
    assert not rules.wants_words
    assert rules.add_words(seen(12, {}, "It is still there.")) == ()


def test_words_that_are_there_anyway_go_with_the_alert() -> None:
    rules = book(PACKAGE, PERSON)
    events = rules.judge(seen(10, {PACKAGE.ask: 0.9, PERSON.ask: 0.9}, "A courier waits."))
    # `person` does not ask for words.
    assert [event.text for event in events] == ["A courier waits.", None]
    assert not rules.wants_words


def test_words_missed_once_come_with_a_later_window() -> None:
    rules = book(PACKAGE)
    rules.judge(seen(10, {PACKAGE.ask: 0.9}))
    assert rules.add_words(seen(10, {})) == ()  # describing failed
    assert rules.wants_words
    (update,) = rules.judge(seen(12, {PACKAGE.ask: 0.9}, "A package."))
    assert update.event_type == "rule_update"


def test_a_closed_incident_wants_no_words() -> None:
    rules = book(PACKAGE)
    rules.judge(seen(10, {PACKAGE.ask: 0.9}))
    (clear,) = rules.judge(seen(12, {PACKAGE.ask: 0.1}, "An empty step."))
    assert (clear.event_type, clear.text) == ("rule_clear", None)
    assert not rules.wants_words


def test_words_do_not_vote() -> None:
    twice = Rule("twice", "?", debounce=Debounce(2, 2), cooldown_s=0, describe=True)
    rules = book(twice)
    rules.judge(seen(10, {"?": 0.9}))
    assert rules.add_words(seen(10, {"?": 0.9}, "Words.")) == ()
    assert rules.open_incidents == {}


def test_settling_closes_what_is_open_and_says_why() -> None:
    rules = book(PERSON, PACKAGE)
    assert rules.settle("the camera is offline", 5.0, 0.0) == ()
    (match,) = rules.judge(seen(10, {PERSON.ask: 0.8}))
    (clear,) = rules.settle("the camera is offline", 99.0, 1_700_000_099.0)
    assert (clear.event_type, clear.rule, clear.score) == ("rule_clear", "person", None)
    assert clear.incident_id == match.incident_id
    assert (clear.captured_s, clear.wall_time) == (99.0, 1_700_000_099.0)
    assert clear.text == "the camera is offline"
    assert clear.timings == Timings()
    assert rules.settle("the camera is offline", 100.0, 0.0) == ()


def test_another_cameras_observation_is_refused() -> None:
    with pytest.raises(ValueError, match="garage came to the rules of porch"):
        book(PERSON).judge(seen(10, {}, camera="garage"))


windows = st.lists(
    st.tuples(
        st.floats(0.5, 20.0),
        st.dictionaries(st.sampled_from([PERSON.ask, PACKAGE.ask]), st.floats(0, 1)),
        st.one_of(st.none(), st.just("Words.")),
        st.booleans(),
    ),
    max_size=40,
)


@given(windows)
def test_incidents_of_a_rule_never_overlap_and_end_as_they_began(
    steps: list[tuple[float, dict[str, float], str | None, bool]],
) -> None:
    rules = book(PERSON, PACKAGE, VISITOR)
    now_s, events = 0.0, []
    for wait_s, answers, description, lost in steps:
        now_s += wait_s
        events += rules.judge(seen(now_s, answers, description))
        if lost:
            events += rules.settle("lost", now_s, now_s)
    events += rules.settle("the end", now_s, now_s)
    assert rules.open_incidents == {}
    assert [e.captured_s for e in events] == sorted(e.captured_s for e in events)
    assert len({e.event_id for e in events}) == len(events)
    for name in ("person", "package", "visitor"):
        mine = [e for e in events if e.rule == name]
        for _, of_one in itertools.groupby(mine, key=lambda e: e.incident_id):
            kinds = [e.event_type for e in of_one]
            assert kinds in (
                ["rule_match", "rule_clear"],
                ["rule_match", "rule_update", "rule_clear"],
            )
        opened = [e.incident_id for e in mine if e.event_type == "rule_match"]
        assert len(opened) == len(set(opened))
