"""Is an engine that says something else refused, with the figure?"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipelines.errors import ModelError
from pipelines.smolvlm2.exam import Grade, Paper, Sheet, grade, load, require, save

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
        (Grade(0.5, 0.21, same_words=True), "bf16", r"p_yes is up to 0\.21 off \(allowed: 0\.2\)"),
        (Grade(0.5, 0.3, same_words=True), "int8", r"p_yes is up to 0\.30 off"),
        (Grade(float("nan"), float("nan"), same_words=True), "f32", "nan off"),
        (Grade(float("nan"), float("nan"), same_words=True), "int8", "nan off"),
    ],
)
def test_below_the_bar_is_refused_with_the_figure_and_the_way_out(given, precision, says):
    with pytest.raises(ModelError, match=says) as refused:
        require(given, "openvino", precision)
    assert "Set engine: torch" in str(refused.value)
    assert ("precision: f32" in str(refused.value)) == (precision != "f32")


@pytest.mark.parametrize(
    ("given", "precision"),
    [
        (Grade(0.0009, 0.0, same_words=True), "f32"),
        (Grade(0.4, 0.19, same_words=False), "bf16"),
        (Grade(0.4, 0.19, same_words=False), "int8"),
    ],
)
def test_at_the_bar_it_passes(given, precision):
    require(given, "openvino", precision)


def test_papers_and_sheets_come_back_as_they_were_stored(tmp_path: Path):
    frames = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    papers = [Paper(frames, [1, 2, 3], [[4], [5, 6]], [7, 8]), Paper(frames, [9], [[1]], [2])]
    sheets = [sheet(), Sheet(LOGITS[:1], [])]
    save(tmp_path / "exam.npz", papers, sheets)
    again, right = load(tmp_path / "exam.npz")
    assert [paper.suffixes for paper in again] == [[[4], [5, 6]], [[1]]]
    assert [(p.prefix_ids, p.describe_ids) for p in again] == [([1, 2, 3], [7, 8]), ([9], [2])]
    assert all(torch.equal(paper.frames, frames) for paper in again)
    assert [one.words for one in right] == [[3, 4], []]
    assert torch.equal(right[1].logits, LOGITS[:1])
