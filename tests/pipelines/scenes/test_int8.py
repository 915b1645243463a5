"""Does the bundled model decide in int8 as it does in float32?"""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("openvino")
pytest.importorskip("nncf")

from pipelines.scenes.evaluate import draw_sample
from pipelines.scenes.truth import QUESTIONS
from pipelines.smolvlm2.loading import from_name
from pipelines.smolvlm2.model import SmolVLM2
from pipelines.smolvlm2.prompt import DESCRIBE_PROMPT

CLIPS = 42  # three of each event, held out; asked every kind of question
THRESHOLDS = (0.4, 0.5, 0.7)  # where rules open and close by default, and the middle
SAME = 0.99


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_decisions_are_the_same_in_int8(record_property):
    samples = [draw_sample(20_000 + i)[0] for i in range(CLIPS)]
    questions = [wordings[0] for wordings in QUESTIONS.values()]

    def asked(model: SmolVLM2) -> tuple[list[float], int]:
        answers: list[float] = []
        true = 0
        for sample in samples:
            seen = model.observe_images(sample.images, sample.times_s, questions, DESCRIBE_PROMPT)
            answers += seen.answers.values()
            true += seen.description in sample.truth.descriptions()
        return answers, true

    whole, whole_true = asked(from_name("bundled", engine="torch", precision="f32"))
    eighth, eighth_true = asked(from_name("bundled", engine="openvino", precision="int8"))
    shares = {
        threshold: sum(
            (a >= threshold) == (b >= threshold) for a, b in zip(whole, eighth, strict=True)
        )
        / len(whole)
        for threshold in THRESHOLDS
    }
    told = (
        f"{len(whole)} decisions, the same share at each threshold: {shares}; "
        f"true descriptions: float32 {whole_true}, int8 {eighth_true} of {CLIPS}"
    )
    record_property("report", told)
    sys.stdout.write(f"\n{told}\n")
    assert min(shares.values()) >= SAME
    assert sum(p >= 0.5 for p in whole) > 0.1 * len(whole)  # there was something to decide
    assert eighth_true >= whole_true - 0.05 * CLIPS
