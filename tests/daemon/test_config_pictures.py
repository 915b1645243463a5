"""Do reference pictures get from the configuration to the model?"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from daemon.app import build_app
from daemon.config import Config, ConfigError, load_config
from daemon.service import load_model
from pipelines.clock import SystemClock
from pipelines.rules import Ask, Not
from pipelines.smolvlm2.model import SmolVLM2
from pipelines.zones import plain_question
from tests.checkpoints import write_tiny_checkpoint
from tests.pipelines.smolvlm2.conftest import make_frames, make_window

TEXT = """\
cameras: {gate: {source: "scene://yard"}}
rules:
  plain: {ask: "Is the gate open?"}
  shown:
    ask: "Is the gate open?"
    examples:
      - {image: closed.png, says: closed}
      - {image: open.png, says: open}
    zone: [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
  nested:
    all:
      - not: {ask: "Is the gate open?", examples: [{image: closed.png, says: closed}]}
  later:
    sequence:
      - {ask: "Is there a person?"}
      - {ask: "Is it open?", examples: [{image: open.png, says: open}], within_s: 9}
"""


def write_picture(path: Path, grey: int, width: int = 64, height: int = 48) -> None:
    image = np.full((height, width, 3), grey, np.uint8)
    image[:, : width // 2, 0] = 250  # blue, in OpenCV's order
    assert cv2.imwrite(str(path), image)


def load(folder: Path, text: str = TEXT) -> Config:
    folder.mkdir(exist_ok=True)
    write_picture(folder / "closed.png", 10)
    write_picture(folder / "open.png", 200, 3000, 1000)
    (folder / "c.yaml").write_text(text)
    return load_config(folder / "c.yaml", {})


def test_pictures_are_read_from_where_the_file_lies(tmp_path: Path) -> None:
    config = load(tmp_path / "etc")
    both, closed, opened = config.examples
    assert both.says == ("closed", "open")
    assert (closed.says, opened.says) == (("closed",), ("open",))
    first, second = (frame.image for frame in both.frames)
    assert first.shape == (48, 64, 3)
    assert tuple(first[0, 0]) == (10, 10, 250)  # RGB
    assert max(second.shape) == 1024
    plain, shown, nested, later = config.rules_for("gate")
    assert plain.ask == "Is the gate open?"
    assert plain_question(shown.ask) == both.question("Is the gate open?")
    assert shown.ask.endswith("[zone 0,0 to 0.5,1]")
    assert nested.condition.parts == (Not(Ask(closed.question("Is the gate open?"))),)  # type: ignore[union-attr]
    assert later.questions[-1] == opened.question("Is it open?")
    said = config.model_dump(mode="json")["rules"]["shown"]["examples"]
    assert said == [
        {"image": "closed.png", "says": "closed"},
        {"image": "open.png", "says": "open"},
    ]


def test_from_the_file_to_the_models_prompt(tmp_path: Path) -> None:
    directory = write_tiny_checkpoint(tmp_path / "tiny")
    config = load(tmp_path / "etc", f"model: {{name: {directory}, threads: 1}}\n{TEXT}")
    model = load_model(config)
    assert isinstance(model, SmolVLM2)
    app = build_app(config, model, None, SystemClock())
    book = app.inference.book("gate")
    asked = [plain_question(question) for question in book.questions]
    prompts: list[str] = []
    prefill_all = model._engine.prefill_all

    def watching(wanted):  # type: ignore[no-untyped-def]
        read = model._tokens._tokenizer.decode
        prompts.extend(read(list(one.ids), skip_special_tokens=False) for one in wanted)
        return prefill_all(wanted)

    model._engine.prefill_all = watching  # type: ignore[method-assign]
    seen = model.observe(make_window(make_frames(2, 36, 64)), asked, None)
    assert len(seen.answers) == len(asked) == 5
    assert sorted(prompt.count('Example of "') for prompt in prompts) == [0, 1, 1, 2]
    text = max(prompts, key=len).replace("<image>", "")
    picture = "<fake_token_around_image><global-img><fake_token_around_image>"
    assert text.replace(" ", "").startswith(
        f'<|im_start|>User:Exampleof"closed":{picture}\nExampleof"open":{picture}\nYouare'
    )


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        ("[{image: none.png, says: x}]", "4: rules.r.examples.0.image: {}/none.png cannot be read"),
        ("[{image: c.yaml, says: x}]", "c.yaml is no picture that can be read; expected a JPEG"),
        ("[{image: empty.png, says: x}]", "empty.png is no picture that can be read"),
        ("[{image: ., says: x}]", "cannot be read (Is a directory)"),
        ("[{image: tiny.png, says: x}]", "has 20x20 pixels; expected 32 to 12000"),
        ("[{image: long.png, says: x}]", "has 400x40 pixels; cut it to what the camera sees"),
        ("[{image: ok.png}]", "rules.r.examples.0.says: missing"),
        ('[{image: ok.png, says: "an <image>"}]', "which only the model may use"),
        ('[{image: ok.png, says: "a\\nb"}]', "found several lines"),
        ("[{image: 3, says: x}]", "expected the path of a picture"),
        ("[]", "at least one"),
        ("[{image: ok.png, says: x, why: y}]", "unknown key"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, examples: str, said: str) -> None:
    write_picture(tmp_path / "ok.png", 50)
    write_picture(tmp_path / "tiny.png", 50, 20, 20)
    write_picture(tmp_path / "long.png", 50, 400, 40)
    (tmp_path / "empty.png").touch()
    text = (
        f"cameras: {{gate: {{source: 'scene://yard'}}}}\nrules:\n  r:\n    examples: {examples}\n"
    )
    (tmp_path / "c.yaml").write_text(f"{text}    ask: Is it open?\n")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "c.yaml", {})
    assert said.format(tmp_path) in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/c.yaml:4: rules.r.examples")
    assert len(caught.value.problems) == 1, "a list of wrong items is not empty, too"


def test_pictures_without_a_question_are_refused(tmp_path: Path) -> None:
    text = TEXT.replace('ask: "Is the gate open?"\n    examples', "match: open\n    examples")
    with pytest.raises(ConfigError, match="`examples` go with `ask`"):
        load(tmp_path, text)
