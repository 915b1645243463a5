"""Is an engine that says something else refused, with the figure?"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipelines.errors import ModelError
from pipelines.smolvlm2.exam import (
    Exam,
    Grade,
    Paper,
    Sheet,
    grade,
    load,
    most_logit_error,
    require,
    save,
)

ROUNDING = 0.1
LOGITS = torch.tensor([[2.0, 1.0, -3.0, 0.0], [0.5, 0.0, 4.0, 1.0]])


def sheet(error: float = 0.0, words: tuple[int, ...] = (3, 4)) -> Sheet:
    logits = LOGITS.clone()
    logits[1, 2] += error
    return Sheet(logits, list(words))


def test_a_grade_is_the_worst_of_all_papers():
    right = [sheet(), sheet()]
    assert grade(right, right, 2) == Grade(0.0, 0.0, same_words=True)
    worst = grade([sheet(0.25), sheet(-2.0, (3, 5))], right, 2)
    assert worst.logit_error == 2.0
    yes, no = torch.tensor([0.5, 0.0]).logsumexp(0), torch.tensor([4.0, 1.0]).logsumexp(0)
    fewer_no = torch.tensor([2.0, 1.0]).logsumexp(0)
    expected = (yes - fewer_no).sigmoid() - (yes - no).sigmoid()
    assert worst.p_yes_error == pytest.approx(expected.item(), abs=1e-6)
    assert not worst.same_words


@pytest.mark.parametrize(
    ("given", "precision", "says"),
    [
        (Grade(0.002, 0.0, same_words=True), "f32", r"up to 0\.002 off \(allowed: 0\.001\)"),
        (Grade(0.0, 0.0, same_words=False), "f32", "its words differ"),
        (Grade(0.81, 0.0, same_words=True), "bf16", r"up to 0\.81 off \(allowed: 0\.8\)"),
        (Grade(0.5, 0.21, same_words=True), "bf16", r"p_yes up to 0\.21 \(allowed: 0\.2\)"),
        (Grade(4.1, 0.0, same_words=True), "int8", r"up to 4\.1 off \(allowed: 4\)"),
        (Grade(0.5, 0.3, same_words=True), "int8", r"p_yes up to 0\.30"),
        (Grade(float("nan"), float("nan"), same_words=True), "f32", "nan off"),
        (Grade(float("nan"), float("nan"), same_words=True), "bf16", "nan off"),
        (Grade(0.0, float("nan"), same_words=True), "int8", "up to nan"),
    ],
)
def test_below_the_bar_is_refused_with_the_figure_and_the_way_out(given, precision, says):
    with pytest.raises(ModelError, match=says) as refused:
        require(given, ROUNDING, "openvino", precision)
    assert "Set engine: torch" in str(refused.value)
    finer = {"f32": None, "bf16": "f32", "int8": "auto"}[precision]
    assert str(refused.value).endswith(
        f", or precision: {finer}" if finer else ". Set engine: torch"
    )


@pytest.mark.parametrize(
    ("given", "precision"),
    [
        (Grade(0.0009, 0.0, same_words=True), "f32"),
        (Grade(0.79, 0.19, same_words=False), "bf16"),
        (Grade(3.9, 0.19, same_words=False), "int8"),
    ],
)
def test_at_the_bar_it_passes(given, precision):
    assert given.logit_error <= most_logit_error(ROUNDING, precision)
    require(given, ROUNDING, "openvino", precision)


def test_a_model_that_rounding_hardly_moves_is_held_to_little():
    assert most_logit_error(0.0, "bf16") == pytest.approx(0.08)
    assert most_logit_error(ROUNDING, "bf16") == pytest.approx(0.8)


def test_papers_and_sheets_come_back_as_they_were_stored(tmp_path: Path):
    frames = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    papers = [Paper(frames, [1, 2, 3], [[4], [5, 6]], [7, 8]), Paper(frames, [9], [[1]], [2])]
    sheets = [sheet(), Sheet(LOGITS[:1], [])]
    save(tmp_path / "exam.npz", Exam(papers, sheets, ROUNDING))
    stored = load(tmp_path / "exam.npz")
    again, right = stored.papers, stored.right
    assert stored.rounding == ROUNDING
    assert [paper.suffixes for paper in again] == [[[4], [5, 6]], [[1]]]
    assert [(p.prefix_ids, p.describe_ids) for p in again] == [([1, 2, 3], [7, 8]), ([9], [2])]
    assert all(torch.equal(paper.frames, frames) for paper in again)
    assert [one.words for one in right] == [[3, 4], []]
    assert torch.equal(right[1].logits, LOGITS[:1])
