"""Are precision, recall and the proposed thresholds what they should be?"""

import pytest

from daemon.backtest_score import Score as Counts
from daemon.backtest_score import at_least, propose, score, sweep, warnings
from daemon.truth import TrueSpan
from pipelines.rules import Rule
from pipelines.rules.replay import IncidentSpan

RULE = Rule("dog", ask="dog")


def incident(opened_s: float, closed_s: float | None = None) -> IncidentSpan:
    closed_s = opened_s + 2 if closed_s is None else closed_s
    return IncidentSpan(opened_s - 7, opened_s, closed_s, 0.9, 0.9, None)


def counted(incidents: list[IncidentSpan], truths: list[TrueSpan], within_s: float = 0.0) -> Counts:
    return score([(incidents, truths)], within_s)


def test_an_incident_is_right_if_its_time_touches_the_event() -> None:
    found = counted([incident(20), incident(60)], [TrueSpan(12, 15), TrueSpan(100, 102)])
    assert (found.expected, found.found, found.false, found.duplicates) == (2, 1, 1, 0)
    assert (found.precision, found.recall) == (0.5, 0.5)
    assert found.median_late_s == 8.0


def test_the_tolerance_widens_the_event_on_both_sides() -> None:
    early, late = [TrueSpan(9.0, 11.5)], [TrueSpan(23.5, 30.0)]
    for truths in (early, late):
        assert counted([incident(20)], truths, 1.0).found == 0
        assert counted([incident(20)], truths, 1.5).found == 1


def test_each_event_is_matched_once_and_a_second_incident_is_a_duplicate() -> None:
    found = counted([incident(20), incident(24)], [TrueSpan(15, 25)])
    assert (found.found, found.false, found.duplicates, found.precision) == (1, 0, 1, 0.5)


def test_one_incident_does_not_stand_for_two_events() -> None:
    found = counted([incident(20, 60)], [TrueSpan(15, 18), TrueSpan(50, 52)])
    assert (found.found, found.recall) == (1, 0.5)


def test_two_incidents_match_two_events_that_both_touch() -> None:
    # The first incident touches both; it must leave the later event to the second.
    found = counted([incident(20), incident(27)], [TrueSpan(21, 23), TrueSpan(14, 30)])
    assert (found.found, found.duplicates) == (2, 0)


def test_at_a_maybe_an_incident_is_neither_right_nor_wrong() -> None:
    truths = [TrueSpan(15, 18, maybe=True)]
    found = counted([incident(20), incident(90)], truths)
    assert (found.expected, found.found, found.false, found.ignored) == (0, 0, 1, 1)
    assert found.recall is None


def from_levels(levels: dict[str, float]) -> object:
    """A rule whose true events reach `yes`, and whose false ones reach `no`."""

    def tried(open_above: float, close_below: float) -> Counts:
        found = Counts(expected=20)
        found.found = 20 if open_above <= levels["yes"] else 0
        found.false = 5 if open_above <= levels["no"] else 0
        found.duplicates = 7 if close_below >= levels["dip"] else 0
        return found

    return tried


def test_the_proposal_is_the_middle_of_what_does_best() -> None:
    tried = from_levels({"yes": 0.8, "no": 0.32, "dip": 0.5})
    proposal = propose(RULE, sweep(RULE, tried), tried)  # type: ignore[arg-type]
    assert proposal.open_above == 0.6
    assert 0.2 <= proposal.close_below <= 0.25
    assert "from 0.35 to 0.8" in proposal.reason
    assert "Precision 1.00 and recall 1.00" in proposal.reason
    assert "Yours (0.7 and 0.4) do as well" in proposal.reason


def test_a_threshold_at_the_edge_is_not_called_as_good() -> None:
    tried = from_levels({"yes": 0.72, "no": 0.12, "dip": 0.9})
    assert "Yours" not in propose(RULE, sweep(RULE, tried), tried).reason  # type: ignore[arg-type]


def test_the_sweep_holds_the_configured_thresholds_and_keeps_them_in_order() -> None:
    rule = Rule("dog", ask="dog", open_above=0.66, close_below=0.5)
    trials = sweep(rule, lambda *_: Counts())
    assert (0.66, 0.5) in {(trial.open_above, trial.close_below) for trial in trials}
    assert all(0.0 <= trial.close_below < trial.open_above for trial in trials)


@pytest.mark.parametrize(("found", "of", "least"), [(10, 10, 0.722), (0, 5, 0.0), (30, 30, 0.886)])
def test_what_a_share_may_truly_be(found: int, of: int, least: float) -> None:
    # Where all are found, Wilson's lower end is n / (n + z * z).
    assert at_least(found, of) == pytest.approx(least, abs=1e-3)


def test_too_little_is_said() -> None:
    few = warnings(Counts(expected=3, found=3), judged_s=300, true_s=20)
    assert "with 3 true events, a recall of 1.00 may truly be 0.44" in few[0]
    assert "4.7 minutes" in few[1]
    assert warnings(Counts(expected=30, found=29), judged_s=7200, true_s=300) == []
    assert "recall is unknown" in warnings(Counts(), judged_s=7200, true_s=0)[0]
