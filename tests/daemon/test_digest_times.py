"""Is a digest due when it should be, on the days when clocks are set as well?"""

from __future__ import annotations

from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.digest_times import Schedule

BERLIN = ZoneInfo("Europe/Berlin")
DAILY = Schedule("day", time(7, 0), BERLIN)
HOURLY = Schedule("hour", zone=BERLIN)


def at(text: str, zone: ZoneInfo = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("now", "since", "until", "hours"),
    [
        ("2026-11-22T07:00:00", "2026-11-21T07:00", "2026-11-22T07:00", 24),
        ("2026-11-22T06:59:59", "2026-11-20T07:00", "2026-11-21T07:00", 24),
        ("2026-03-29T12:00:00", "2026-03-28T07:00", "2026-03-29T07:00", 23),  # clocks go forward
        ("2026-10-25T12:00:00", "2026-10-24T07:00", "2026-10-25T07:00", 25),
        ("2026-03-01T08:00:00", "2026-02-28T07:00", "2026-03-01T07:00", 24),
    ],
)
def test_a_day_is_what_the_clock_on_the_wall_shows(
    now: str, since: str, until: str, hours: int
) -> None:
    found = DAILY.newest(at(now))
    assert found == (at(since), at(until))
    assert found[1] - found[0] == hours * 3600


def test_an_hour_that_is_left_out_or_comes_twice() -> None:
    left_out = Schedule("day", time(2, 30), BERLIN)  # on 29 March 2026: 02:00 becomes 03:00
    assert left_out.newest(at("2026-03-29T12:00"))[1] == at("2026-03-29T03:30")
    twice = Schedule("day", time(2, 30), BERLIN)
    first = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=0).timestamp()
    again = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1).timestamp()
    assert again - first == 3600
    assert twice.newest(again + 60)[1] == first
    assert twice.due(again + 60, told_until=first) is None  # once is enough


def test_every_hour() -> None:
    now = at("2026-11-22T16:20:30")
    assert HOURLY.newest(now) == (at("2026-11-22T15:00"), at("2026-11-22T16:00"))
    nepal = Schedule("hour", zone=ZoneInfo("Asia/Kathmandu"))  # 5:45 h ahead of UTC
    since, until = nepal.newest(now)
    assert datetime.fromtimestamp(until, UTC).minute == 15
    assert until - since == 3600


def test_what_was_missed_is_made_up_once_while_it_is_of_use() -> None:
    seven = at("2026-11-22T07:00")
    assert DAILY.due(at("2026-11-22T10:00"), seven - 86_400) == (seven - 86_400, seven)
    assert DAILY.due(at("2026-11-22T10:00"), seven - 9 * 86_400) == (seven - 86_400, seven)
    assert DAILY.due(at("2026-11-22T10:00"), seven) is None
    assert DAILY.due(at("2026-11-22T23:00"), seven - 86_400) is None
    assert HOURLY.due(at("2026-11-22T16:20"), 0.0) is not None
    assert HOURLY.due(at("2026-11-22T16:40"), 0.0) is None


@settings(max_examples=300, deadline=None)
@given(
    now=st.floats(1.7e9, 1.9e9),
    every=st.sampled_from(["hour", "day"]),
    clock=st.times(),
    zone=st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "UTC"]),
)
def test_stretches_are_over_and_follow_each_other(
    now: float, every: str, clock: time, zone: str
) -> None:
    schedule = Schedule(every, clock.replace(second=0, microsecond=0), ZoneInfo(zone))  # type: ignore[arg-type]
    since, until = schedule.newest(now)
    for later in (0.001, 0.25, 1.0, 7.77):
        if every == "hour" and int(now + later) // 900 == int(now) // 900:
            assert schedule.newest(now + later) == (since, until)  # the very same numbers
            assert schedule.due(now + later, told_until=until) is None
    assert until <= now + 1e-3
    assert now - until <= 25.6 * 3600
    assert 0 < until - since <= 25.6 * 3600
    if every == "day":
        assert schedule.newest(until - 1)[1] == since
