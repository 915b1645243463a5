"""Is a late reader told to catch up, and nobody else?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipelines.sources.lag import MOST_S, Lag

FPS = 10


def read(lag: Lag, stamps: Iterator[float], start_s: float, took_s: float) -> float:
    """Read packets that take `took_s` each; when the last was read."""
    now_s = start_s
    for stamp_s in stamps:
        now_s += took_s
        lag.arrived(stamp_s, now_s)
    return now_s


def stamps(seconds: float, start_s: float = 0.0) -> Iterator[float]:
    return (start_s + index / FPS for index in range(round(seconds * FPS)))


def test_a_reader_that_keeps_up_is_not_behind() -> None:
    lag = Lag()
    read(lag, stamps(600), 1000.0, 1 / FPS)
    assert lag.behind_s == pytest.approx(0.0, abs=1e-6)
    assert not lag.catching_up


def test_a_slow_reader_is_told_at_two_seconds_until_it_has_caught_up() -> None:
    lag = Lag()
    lag.arrived(0.0, 1000.0)
    lag.arrived(0.1, 1000.0 + MOST_S)
    assert lag.behind_s == pytest.approx(MOST_S - 0.1, abs=0.01)
    assert not lag.catching_up
    lag.arrived(0.2, 1000.0 + MOST_S + 0.3)
    assert lag.catching_up
    now_s = read(lag, stamps(1.5, 0.3), 1000.0 + MOST_S + 0.3, 0.001)  # what waits is read at once
    assert lag.catching_up
    read(lag, stamps(1.0, 1.8), now_s, 0.001)
    assert not lag.catching_up


def test_a_camera_whose_stamps_are_slow_is_not_given_up() -> None:
    lag = Lag()
    caught_up = 0
    now_s = 1000.0
    for stamp_s in stamps(600):
        now_s += 1.05 / FPS
        lag.arrived(stamp_s, now_s)
        caught_up += lag.catching_up
    assert lag.behind_s is not None
    assert lag.behind_s <= MOST_S + 1.0
    assert caught_up < 0.03 * 600 * FPS  # of all pictures


def test_clocks_that_run_a_little_apart_are_no_lag() -> None:
    lag = Lag()
    read(lag, stamps(20_000), 1000.0, (1 + 1e-4) / FPS)  # 2 s apart at the end
    assert lag.behind_s == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize("by_s", [-1000.0, -3.0, 3.0, 46_722.0])
def test_a_clock_that_was_set_is_no_lag(by_s: float) -> None:
    lag = Lag()
    now_s = read(lag, stamps(60, 5000.0), 1000.0, 1 / FPS)
    read(lag, stamps(60, 5060.0 + by_s), now_s, 1 / FPS)
    assert lag.behind_s == pytest.approx(0.0, abs=1e-6)
    assert not lag.catching_up


def test_a_burst_at_the_start_is_no_lag() -> None:
    lag = Lag()
    now_s = read(lag, stamps(8), 1000.0, 0.001)  # a restreamer sends what it kept since a keyframe
    read(lag, stamps(60, 8.0), now_s, 1 / FPS)
    assert lag.behind_s == pytest.approx(0.0, abs=0.01)


def test_packets_without_a_stamp_tell_nothing() -> None:
    lag = Lag()
    lag.arrived(None, 1000.0)
    assert lag.behind_s is None
