"""Is a file of truth read as it is meant, and are mistakes in it told?"""

from pathlib import Path

import pytest
import yaml

from daemon.truth import TrueSpan, TruthError, draft, read_truth

YAML = """
porch.mp4:
  - {start_s: 12.5, end_s: 16, rule: dog}
  - {start_s: 1:30, end_s: "1:34.5", maybe: true}
night/porch.mp4: []
"""
JSON = '{"porch.mp4": [{"start_s": 12.5, "end_s": 16}], "empty.mp4": []}'
CSV = (
    "file,start_s,end_s,rule,maybe\nporch.mp4,12.5,16,dog,\nporch.mp4,1:30,1:34.5,,yes\ne.mp4,,,,\n"
)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(("name", "text"), [("t.yaml", YAML), ("t.csv", CSV)])
def test_spans_of_the_rule_and_of_no_rule(tmp_path: Path, name: str, text: str) -> None:
    truth = read_truth(write(tmp_path, name, text))
    both = (TrueSpan(12.5, 16.0), TrueSpan(90.0, 94.5, maybe=True))
    assert truth.spans(Path("/x/porch.mp4"), "dog") == both
    assert truth.spans(Path("/x/porch.mp4"), "cat") == both[1:]


def test_a_recording_without_events_is_known_and_another_is_not(tmp_path: Path) -> None:
    truth = read_truth(write(tmp_path, "t.json", JSON))
    assert truth.spans(Path("empty.mp4"), "dog") == ()
    assert truth.spans(Path("other.mp4"), "dog") is None
    assert read_truth(write(tmp_path, "t.csv", CSV)).spans(Path("e.mp4"), "dog") == ()


def test_the_longest_name_that_fits_counts(tmp_path: Path) -> None:
    truth = read_truth(write(tmp_path, "t.yaml", YAML))
    assert truth.spans(Path("/x/night/porch.mp4"), "dog") == ()


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "t.yaml",
            "a.mp4: [{start_s: 5, end_s: 3}]",
            "a.mp4, event 1: end_s 3 is before",
        ),
        ("t.yaml", "a.mp4: [{start_s: 5}]", "a.mp4, event 1, end_s: Field required"),
        ("t.yaml", "a.mp4: [{start_s: 5, end_s: 6, rul: x}]", "rul: Extra inputs"),
        ("t.yaml", "a.mp4: [{start_s: soon, end_s: 6}]", "start_s: Input should be a valid number"),
        ("t.yaml", "[1, 2]", "expected recordings, each with a list"),
        ("t.yaml", "a: [", "line 1: neither YAML nor JSON"),
        ("t.csv", "file,start_s,end_s,maybe\na.mp4,1,2,perhaps\n", "a.mp4, event 1, maybe"),
        ("t.csv", "file,start_s\na.mp4,1\n", "end_s: Field required"),
    ],
)
def test_mistakes_are_told_with_their_place(
    tmp_path: Path, name: str, text: str, says: str
) -> None:
    with pytest.raises(TruthError, match="t\\.") as caught:
        read_truth(write(tmp_path, name, text))
    assert says in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TruthError, match=r"none\.yaml: cannot be read: No such file"):
        read_truth(tmp_path / "none.yaml")


def test_names_that_fit_no_recording_are_a_slip(tmp_path: Path) -> None:
    truth = read_truth(write(tmp_path, "t.yaml", YAML))
    truth.check([Path("porch.mp4"), Path("b.mp4")])
    with pytest.raises(TruthError, match=r"it names porch\.mp4.*none of the recordings \(b\.mp4\)"):
        truth.check([Path("b.mp4")])


def test_a_draft_can_be_read_back(tmp_path: Path) -> None:
    name = 'a "b": #c.mp4'
    text = draft({name: [(1.0, 2.5)], "empty.mp4": []}, "dog")
    assert list(yaml.safe_load(text)) == [name, "empty.mp4"]
    truth = read_truth(write(tmp_path, "t.yaml", text))
    assert truth.spans(Path(name), "dog") == (TrueSpan(1.0, 2.5),)
    assert truth.spans(Path("empty.mp4"), "dog") == ()
