"""Do the commands do what the README says?"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemon import __version__
from daemon.cli import app

runner = CliRunner()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    done = runner.invoke(
        app, ["scene", "render", "--event", "car_arrive", "--seed", "7", "--out", str(path)]
    )
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert told["event"] == "car_arrive"
    assert 0 < told["start_s"] < told["end_s"] < 8
    return path


def test_version() -> None:
    assert runner.invoke(app, ["--version"]).output.strip() == f"smolwatch {__version__}"


def test_describe_says_what_a_rendered_clip_shows(clip: Path) -> None:
    asked = ["--ask", "Did a car arrive?", "--ask", "Did a car leave?"]
    done = runner.invoke(app, ["describe", str(clip), "--json", *asked])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert "car" in told["description"].lower()
    assert told["answers"]["Did a car arrive?"] > 0.9
    assert told["answers"]["Did a car leave?"] < 0.1
    assert "drawn scenes" in done.stderr


def test_describe_takes_model_and_questions_from_a_configuration(
    clip: Path, tmp_path: Path
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "cameras: {yard: {source: scene://yard}}\nrules:\n  car:\n    ask: Did a car arrive?\n"
    )
    done = runner.invoke(app, ["describe", str(clip), "-c", str(path)])
    assert list(json.loads(done.stdout)["answers"]) == ["Did a car arrive?"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["describe", "none.mp4"], 1, "no such file"),
        (["describe", "none.mp4", "--model", "bundeld"], 1, "did you mean 'bundled'"),
        (["scene", "render", "--event", "party", "--out", "x.mp4"], 2, "person_arrive"),
        (["scene", "render", "--event", "empty", "--out", "no/such/folder/x.mp4"], 1, "written"),
        (["check-config", "-c", "none.yaml"], 78, "none.yaml"),
        (["run", "-c", "none.yaml"], 78, "none.yaml"),
    ],
)
def test_mistakes_are_told_with_what_to_do(
    arguments: list[str], code: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = runner.invoke(app, arguments)
    assert done.exit_code == code
    assert says in done.stderr
    assert "Traceback" not in done.output


def test_check_config_likes_what_is_shipped() -> None:
    for name in ("smolwatch.example.yaml", "demo.yaml"):
        path = Path(__file__).parents[2] / "configs" / name
        done = runner.invoke(app, ["check-config", "-c", str(path)])
        assert done.exit_code == 0, done.output
        assert "2 cameras" in done.output
