"""Does a scene camera's script hang together?"""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import SourceError
from pipelines.scenes.acts import EVENT_NAMES, events_of, possible
from pipelines.scenes.address import parse_scene
from pipelines.scenes.script import Script
from pipelines.scenes.stage import PLACES, Place, random_stage
from pipelines.scenes.verdict import Verdict
from pipelines.window_plan import WindowPlan

places = st.sampled_from(PLACES)
seeds = st.integers(0, 2**20)


def script_of(place: Place, seed: int, **kwargs: object) -> Script:
    return Script(random_stage(np.random.default_rng(seed), place), seed, **kwargs)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(places, seeds)
def test_each_act_begins_with_what_the_one_before_left(place: Place, seed: int) -> None:
    script = script_of(place, seed)
    assert len(script.happenings(0.0, 120.0)) >= 4
    acts = [act for _, act in script._acts]
    for before, after in pairwise(acts):
        assert after.before == before.after
        assert possible(after.event, after.before)
        assert after.event in events_of(place)


@settings(max_examples=40, deadline=None)
@given(places, seeds)
def test_nothing_appears_or_vanishes_between_frames(place: Place, seed: int) -> None:
    """Actors come over the edge, packages from hands; no jump between frames at 10 fps."""
    script = script_of(place, seed)
    states = [script.state_at(t / 10) for t in range(600)]
    for a, b in pairwise(states):
        for one, other in ((a.person, b.person), (a.car, b.car), (a.dog, b.dog)):
            if one is None or other is None:
                present = one or other
                assert present is None or present.visible < 0.5
            else:
                assert abs(one.x - other.x) < 0.12


def test_the_order_of_asking_does_not_change_the_script() -> None:
    forward, backward = script_of("driveway", 3), script_of("driveway", 3)
    times = [5.0, 31.0, 90.0]
    there = [forward.state_at(t) for t in times]
    back = [backward.state_at(t) for t in reversed(times)][::-1]
    assert there == back
    assert forward.happenings(0, 90) == backward.happenings(0, 90)


def test_given_events_are_played_in_order_and_then_it_is_still() -> None:
    script = script_of("driveway", 1, events=["car_leave", "car_arrive"], first_pause_s=(2, 2))
    assert script.state_at(0.0).car is not None  # it must stand there to be able to leave
    found = script.happenings(0.0, 500.0)
    assert [h.event for h in found] == ["car_leave", "car_arrive"]
    assert found[0].start_s == 2.0
    assert script.state_at(found[0].end_s + 1).car is None
    assert script.state_at(499.0) == script._acts[-1][1].state_at(499.0 - found[1].start_s)


def test_verdict_expects_what_was_shown_and_calls_the_rest_false() -> None:
    script = script_of("driveway", 1, events=["car_arrive"], first_pause_s=(20, 20))
    verdict = Verdict(script, WindowPlan(num_frames=8, interval_s=1.0, stride_s=1.0))
    happening = script.happenings(0, 100)[0]
    (stretch,) = verdict.expected("Did a car arrive?", 2, 8.0, 60.0)
    assert happening.start_s < stretch.start_s <= happening.end_s + 1
    assert stretch.end_s < happening.end_s + 8
    assert verdict.expected("Did a car leave?", 2, 8.0, 60.0) == []
    assert verdict.is_false("Did a car leave?", stretch.start_s + 2)
    assert not verdict.is_false("Did a car arrive?", stretch.start_s + 1)
    assert verdict.is_false("Did a car arrive?", 55.0)
    with pytest.raises(KeyError, match="truth"):
        verdict.answer("Is the kettle on?", 10.0)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("scene://beach", "driveway, porch"),
        ("scene://porch?event=car_arrive", "cannot"),
        ("scene://porch?event=party", "person_arrive"),
        ("scene://porch?colour=red", "unknown colour"),
        ("scene://porch?seed=seven", "seed=seven"),
        ("scene://porch?light=dim", "day nor night"),
        ("scene://driveway?events=car_leave,car_leave", "cannot follow"),
        ("scene://driveway?fps=0", "fps=0"),
        ("scene://porch?mix=party:2", "person_arrive"),
        ("scene://porch?mix=person_arrive:2&event=person_arrive", "leave it or"),
        ("scene://porch?mix=package_take:often", "package_take=often"),
        ("scene://porch?mix=package_take", "package_take= must be a number"),
        ("scene://porch?pause_s=9-7", "ends before it begins"),
        ("scene://porch?pause_s=long", "pause_s=long"),
    ],
)
def test_a_wrong_address_says_what_is_allowed(url: str, says: str) -> None:
    with pytest.raises(SourceError, match=says):
        parse_scene(url)


def test_an_address_sets_light_size_and_rate() -> None:
    scene = parse_scene("scene://yard?light=night&width=320&fps=5&seed=9&start_s=3")
    assert scene.stage.place == "yard"
    assert scene.stage.night
    assert (scene.width_px, scene.height_px, scene.fps) == (320, 180, 5.0)
    assert scene.script.happenings(0, 60)[0].start_s == 3.0


def test_a_mix_makes_rare_events_frequent_and_leaves_the_others_in() -> None:
    url = "scene://driveway?seed=3&pause_s=8-9&mix=car_arrive:12,car_leave:12,car_parked:4"
    script = parse_scene(url).script
    told = script.happenings(0.0, 3000.0)
    named = Counter(happening.event for happening in told)
    assert 0.4 < (named["car_arrive"] + named["car_leave"]) / len(told) < 0.9
    assert abs(named["car_arrive"] - named["car_leave"]) <= 1
    assert {"person_cross_left", "dog_cross_right", "package_deliver"} <= named.keys()
    still = [b.start_s - a.end_s for a, b in pairwise(told)]
    assert min(still) >= 8.0
    assert max(still) > 20.0  # while a car was parked, and nothing else


def test_a_mix_of_nothing_that_can_happen_is_a_still_scene() -> None:
    none = ",".join(f"{event}:0" for event in EVENT_NAMES)
    assert parse_scene(f"scene://porch?mix={none}").script.happenings(0.0, 500.0) == ()


def test_scripts_without_a_mix_stay_what_they_were() -> None:
    """Tests, the demo and the model's card name seeds."""
    told = parse_scene("scene://driveway?seed=248").script.happenings(0.0, 45.0)
    assert [(h.event, round(h.start_s, 3)) for h in told] == [
        ("car_arrive", 4.713),
        ("dog_cross_right", 17.761),
        ("person_arrive", 31.372),
    ]
