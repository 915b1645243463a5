"""Are strides lengthened in time, and do they not swing?"""

from __future__ import annotations

import pytest

from pipelines.throttle import LENGTHEN_S, MOST, SHORTEN_S, Limits, Reading, Throttle

HOT = Limits(max_temperature_c=80.0)
BUSY = Limits(cpu_share=0.5)


def factors(throttle: Throttle, begin_s: float, seconds: int, reading: Reading) -> list[int]:
    return [throttle.update(begin_s + second, reading) for second in range(seconds)]


def test_a_machine_within_its_limits_is_left_alone():
    assert set(factors(Throttle(HOT), 0.0, 300, Reading(1.0, 80.0))) == {1}
    assert set(factors(Throttle(BUSY), 0.0, 300, Reading(0.5, 99.0))) == {1}


@pytest.mark.parametrize(
    ("limits", "reading", "reason"),
    [
        (HOT, Reading(None, 82.4), "82 C (limit 80)"),
        (BUSY, Reading(0.73, None), "73% of the CPU (limit 50%)"),
    ],
)
def test_strides_double_step_by_step_up_to_a_bound(limits: Limits, reading: Reading, reason: str):
    throttle = Throttle(limits)
    seen = factors(throttle, 0.0, 5 * int(LENGTHEN_S), reading)
    assert seen[0] == 2  # at once
    assert seen[int(LENGTHEN_S) - 1] == 2  # the first step is given its time
    assert seen[int(LENGTHEN_S)] == 4
    assert max(seen) == seen[-1] == MOST
    assert throttle.reason == reason


def test_a_machine_that_does_not_tell_is_not_throttled():
    limits = Limits(0.5, 80.0)
    assert set(factors(Throttle(limits), 0.0, 60, Reading(None, None))) == {1}


def test_strides_shorten_only_when_it_is_well_below_for_long():
    throttle = Throttle(HOT)
    throttle.update(0.0, Reading(None, 82.0))
    assert set(factors(throttle, 1.0, 500, Reading(None, 77.0))) == {2}  # within the band
    easy = factors(throttle, 501.0, int(SHORTEN_S) + 1, Reading(None, 74.0))
    assert easy == [2] * int(SHORTEN_S) + [1]
    assert throttle.reason is None


def test_half_the_stride_must_be_expected_to_fit():
    throttle = Throttle(BUSY)
    throttle.update(0.0, Reading(0.6, None))
    # 0.3 now would be 0.6 with half the stride: to go back would be to come again.
    assert set(factors(throttle, 1.0, 500, Reading(0.3, None))) == {2}
    assert factors(throttle, 501.0, int(SHORTEN_S) + 1, Reading(0.2, None))[-1] == 1


def test_a_load_that_follows_strides_does_not_swing():
    throttle, changes, factor = Throttle(BUSY), 0, 1
    for second in range(3600):
        now = throttle.update(float(second), Reading(0.8 / factor, None))
        changes, factor = changes + (now != factor), now
    assert (changes, factor) == (1, 2)
