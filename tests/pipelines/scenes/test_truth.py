"""Is what the scenes say of themselves true?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.scenes.acts import EVENT_NAMES, EventName
from pipelines.scenes.render import event_clip
from pipelines.scenes.stage import State, Thing
from pipelines.scenes.truth import QUESTIONS, SENTENCES, WindowTruth

TURNED = {
    "person_cross_left": "person_cross_right",
    "person_cross_right": "person_cross_left",
    "person_arrive": "person_leave",
    "person_leave": "person_arrive",
    "package_deliver": "package_take",
    "package_take": "package_deliver",
    "car_arrive": "car_leave",
    "car_leave": "car_arrive",
    "dog_cross_left": "dog_cross_right",
    "dog_cross_right": "dog_cross_left",
}
seeds = st.integers(0, 2**20)
events = st.sampled_from(EVENT_NAMES)


@settings(max_examples=150, deadline=None)
@given(events, seeds)
def test_a_clip_holds_its_whole_event(event: EventName, seed: int) -> None:
    clip = event_clip(event, seed)
    truth = clip.truth()
    assert clip.lead_s + clip.act.duration_s < (clip.num_frames - 1) / 10
    assert truth.label == event
    assert truth.whole
    assert any(text.startswith(SENTENCES[event]) for text in truth.descriptions())


@settings(max_examples=150, deadline=None)
@given(events, seeds)
def test_reversed_frames_tell_the_reverse(event: EventName, seed: int) -> None:
    truth = event_clip(event, seed).truth()
    back = truth.reversed()
    assert back.label == TURNED.get(event, event)
    assert back.reversed().answers() == truth.answers()


@settings(max_examples=100, deadline=None)
@given(events, seeds, st.floats(-9, 9), st.floats(0.2, 1.4), st.integers(2, 10))
def test_any_window_has_consistent_answers(
    event: EventName, seed: int, begin_s: float, interval_s: float, num_frames: int
) -> None:
    act = event_clip(event, seed).act
    states = [act.state_at(begin_s + i * interval_s) for i in range(num_frames)]
    truth = WindowTruth.of(states, night=False)
    answers = truth.answers()
    assert set(answers) == set(QUESTIONS)
    assert not (answers["person_arrive"] and answers["person_leave"])
    assert not (answers["package_deliver"] and answers["package_take"])
    assert not (answers["empty"] and (answers["person"] or answers["car"] or answers["package"]))
    if answers["person_arrive"] or answers["person_stand"]:
        assert answers["person"]
    assert truth.label in {*SENTENCES, "unclear"}


@pytest.mark.parametrize(
    ("event", "yes"),
    [
        ("car_arrive", {"car", "car_arrive", "motion"}),
        ("package_deliver", {"person", "package", "package_deliver", "motion"}),
        ("person_cross_left", {"person", "person_cross", "person_cross_left", "motion"}),
        ("empty", {"empty"}),
    ],
)
def test_the_answers_of_a_plain_event(event: EventName, yes: set[str]) -> None:
    truth = next(
        clip.truth()
        for clip in (event_clip(event, seed) for seed in range(50))
        if not clip.act.stage.night and not clip.truth()._bystanders()
    )
    assert {kind for kind, answer in truth.answers().items() if answer} == yes


def test_somebody_half_in_the_picture_cannot_be_told() -> None:
    half = Thing("person", 0.0, 0.9, moving=True)
    assert half.visible == pytest.approx(0.5)
    truth = WindowTruth.of([State(), State(person=half)], night=False)
    assert truth.label == "unclear"
    assert truth.descriptions() == ()
    assert truth.answers()["person_arrive"] is None


def test_wordings_of_different_kinds_never_collide() -> None:
    questions = [q for wordings in QUESTIONS.values() for q in wordings]
    sentences = [s for wordings in SENTENCES.values() for s in wordings]
    assert len(set(questions)) == len(questions)
    assert len(set(sentences)) == len(sentences)


def test_events_are_drawn_the_same_from_the_same_seed() -> None:
    first, second = event_clip("package_take", 5), event_clip("package_take", 5)
    assert first.act == second.act
    assert first.lead_s == second.lead_s
    assert np.array_equal(first.images(160)[30], second.images(160)[30])
