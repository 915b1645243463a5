"""Does the bundled model really see? It gives all other tests their teeth."""

import pytest

from pipelines.scenes.acts import EVENT_NAMES
from pipelines.scenes.evaluate import Report, Sample, draw_sample, figures, judge
from pipelines.scenes.truth import QUESTIONS
from pipelines.smolvlm2.loading import from_name
from pipelines.smolvlm2.model import SmolVLM2

QUICK = 2 * len(EVENT_NAMES)  # clips; the model card's figures come from 2,000


@pytest.fixture(scope="module")
def model() -> SmolVLM2:
    return from_name("bundled", precision="f32")


@pytest.fixture(scope="module")
def samples() -> list[tuple[Sample, Sample]]:
    return [draw_sample(5_000 + i) for i in range(QUICK)]


def test_it_describes_answers_and_turns_round(
    model: SmolVLM2, samples: list[tuple[Sample, Sample]]
) -> None:
    report = Report()
    for turn, (whole, part) in enumerate(samples):
        judge(model, whole, part, turn, report)
    told = figures(report, QUICK)
    assert report.descriptions.total == QUICK
    assert report.descriptions.share >= 0.93, told["wrong"]
    assert sum(s.right for s in report.answers.values()) >= 0.985 * sum(
        s.total for s in report.answers.values()
    )
    assert report.reversed_answers.total >= 16
    assert report.reversed_answers.share >= 0.97
    assert report.reversed_descriptions.share >= 0.85


def test_the_score_can_fail(model: SmolVLM2, samples: list[tuple[Sample, Sample]]) -> None:
    """The same clips against the truth of other clips: the report must say how bad that is."""
    report = Report()
    for turn in range(8):
        whole, part = samples[turn]
        other = samples[turn + 3][0]
        judge(model, Sample(whole.event, whole.images, whole.times_s, other.truth), part, 0, report)
    assert report.descriptions.share <= 0.3
    assert report.wrong


def test_a_frozen_picture_shows_no_event(
    model: SmolVLM2, samples: list[tuple[Sample, Sample]]
) -> None:
    """Eight times the same frame: whatever the clip was, nobody can arrive or leave."""
    questions = [
        QUESTIONS[k][0] for k in ("person_arrive", "person_leave", "car_arrive", "car_leave")
    ]
    for whole, _ in samples[:6]:
        still = (whole.images[-1],) * 8
        seen = model.observe_images(still, whole.times_s, questions, None)
        assert max(seen.answers.values()) < 0.5
