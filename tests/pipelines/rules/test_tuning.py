"""Do thresholds move while a rule is watched, and does its hysteresis hold?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.rules import Debounce, Rule
from tests.pipelines.rules.test_language import Story

RULE = Rule("r", "r?", debounce=Debounce(2, 3), cooldown_s=0.0)
SHARES = st.floats(0.01, 1.0)


@pytest.mark.parametrize(
    ("open_above", "close_below"), [(0.7, 0.4), (0.9, 0.6), (0.35, 0.2), (1.0, 0.7)]
)
def test_closing_moves_with_opening(open_above: float, close_below: float) -> None:
    assert RULE.opening_at(open_above).close_below == pytest.approx(close_below)


@given(st.tuples(SHARES, SHARES).filter(lambda pair: pair[0] != pair[1]), SHARES, SHARES)
def test_there_is_a_band_at_every_threshold(
    pair: tuple[float, float], one: float, other: float
) -> None:
    rule = Rule("r", "r?", open_above=max(pair), close_below=min(pair))
    low, high = (rule.opening_at(at) for at in sorted((one, other)))
    assert 0.0 < low.close_below < low.open_above  # p_yes never falls to 0: it must be able to
    assert low.close_below <= high.close_below + 1e-9


def test_nothing_opens_at_zero() -> None:
    with pytest.raises(ValueError, match="close_below < open_above"):
        RULE.opening_at(0.0)


def test_a_rule_opens_by_its_new_threshold_and_closes_by_its_new_one() -> None:
    story = Story(RULE)
    assert story.windows(3, r=0.6) == [[], [], []]
    story.book.tune(RULE.opening_at(0.5))
    assert story.windows(2, r=0.6) == [[], ["+r"]]
    assert story.windows(3, r=0.3) == [[], [], []]  # 0.4 would have closed; 0.2857 is asked now
    assert story.windows(2, r=0.28) == [[], ["-r"]]


def test_what_is_open_stays_open_when_the_threshold_is_raised() -> None:
    story = Story(RULE)
    assert story.windows(2, r=0.8) == [[], ["+r"]]
    story.book.tune(RULE.opening_at(0.9))
    assert story.windows(4, r=0.8) == [[]] * 4
    assert story.windows(2, r=0.6) == [[], ["-r"]]  # close_below has risen to 0.6


def test_votes_by_the_old_threshold_do_not_count() -> None:
    story = Story(RULE)
    assert story.window(r=0.75) == []
    story.book.tune(RULE.opening_at(0.9))
    assert story.window(r=0.95) == []
    assert story.window(r=0.95) == ["+r"]


def test_the_other_rules_keep_their_votes() -> None:
    story = Story(RULE, Rule("q", "q?", debounce=Debounce(2, 3), cooldown_s=0.0))
    assert story.window(r=0.75, q=0.75) == []
    story.book.tune(RULE.opening_at(0.9))
    assert story.window(r=0.75, q=0.75) == ["+q"]
    with pytest.raises(KeyError):
        story.book.tune(Rule("nobody", "?"))
