"""Does the training do what it says, in small?"""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.scenes import train
from pipelines.scenes.architecture import TOKENS_PER_FRAME, build_model
from pipelines.scenes.dataset import ROW_TOKENS, Clips, Packer, write_clips
from pipelines.scenes.tokenizer import SPECIAL_TOKENS, train_tokenizer
from pipelines.scenes.train import Trainee, attention_mask, learning_rate, to_pixels
from pipelines.smolvlm2.loading import from_name


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    folder = tmp_path_factory.mktemp("clips")
    write_clips(folder, 12, seed=3, workers=2)
    return Clips.read(folder)


@pytest.fixture(scope="module")
def packer(tmp_path_factory: pytest.TempPathFactory) -> Packer:
    return Packer(train_tokenizer(tmp_path_factory.mktemp("tokenizer")))


def test_the_tokenizer_is_of_smolvlm2s_kind(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(tmp_path)
    for token in SPECIAL_TOKENS:
        assert len(tokenizer(token).input_ids) == 1
    assert len(tokenizer(" Yes").input_ids) == len(tokenizer(" No").input_ids) == 1
    odd = "Ünïcode über 17 Zeilen?"
    assert tokenizer.decode(tokenizer(odd).input_ids) == odd


def test_a_row_holds_the_prefix_and_questions_with_their_answers(
    clips: Clips, packer: Packer
) -> None:
    batch = packer.pack(clips.words, np.arange(12), np.random.default_rng(0))
    for row in range(12):
        used = len(clips.words[row].forward.times_s)
        assert (batch.feature[row] >= 0).sum() == used * TOKENS_PER_FRAME
        prefix = int((batch.segment[row] == 0).sum())
        for segment in range(1, batch.segment[row].max() + 1):
            places = np.flatnonzero(batch.segment[row] == segment)
            assert batch.position[row, places[0]] == prefix  # each stands right behind the frames
            said = batch.target[row, places]
            text = packer._tokenizer.decode(said[said >= 0])
            assert text.startswith(" ")
            assert text.endswith(".<end_of_utterance>")
    assert batch.ids.shape == (12, ROW_TOKENS)


def test_questions_of_a_row_do_not_see_each_other() -> None:
    segment = torch.tensor([[0, 0, 1, 1, 2, 2, -1]])
    sees = attention_mask(segment)[0, 0]
    assert sees[5].tolist() == [True, True, False, False, True, True, False]
    assert sees[3].tolist() == [True, True, True, True, False, False, False]
    assert sees[0].tolist() == [True, *[False] * 6]
    assert sees[6, 6]  # padding sees something: a row of nothing is NaN


def test_a_packed_row_gives_the_logits_of_separate_questions(clips: Clips, packer: Packer) -> None:
    """Training must see what inference will: the same hidden states, packed or alone."""
    trainee = Trainee(build_model(packer._tokenizer)).eval()
    batch = packer.pack(clips.words, np.arange(1), np.random.default_rng(1))
    rows = {k: torch.from_numpy(v) for k, v in vars(batch).items()}
    visual = torch.randn(8, 256, 192)
    with torch.inference_mode():
        packed = trainee.read(visual, rows)
        keep = (rows["segment"][0] == 0) | (rows["segment"][0] == 2)
        alone = {k: v[:, keep] for k, v in rows.items() if v.shape == (1, ROW_TOKENS)}
        single = trainee.read(visual, alone)
    assert torch.allclose(packed[0, keep], single[0], atol=1e-4)


def test_pixels_span_minus_one_to_one() -> None:
    frames = torch.randint(0, 256, (8, 72, 128, 3), dtype=torch.uint8)
    pixels = to_pixels(frames, augment=False)
    assert pixels.shape == (8, 3, 128, 128)
    assert pixels.min() >= -1.0
    assert pixels.max() <= 1.0
    assert not torch.equal(to_pixels(frames, augment=True), pixels)


def test_the_learning_rate_warms_up_and_falls() -> None:
    assert learning_rate(0, 1000) < learning_rate(199, 1000)
    assert math.isclose(learning_rate(1000, 1000), 1e-5, rel_tol=0.01)


def test_a_few_steps_run_and_the_checkpoint_loads(
    tmp_path: Path, clips: Clips, packer: Packer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "BATCH", 4)  # the schedule's size, not the code, is for a GPU
    monkeypatch.setattr(train, "PATCH_STEPS", 1)
    monkeypatch.setattr(torch, "compile", lambda function: function)
    tokenizer = train_tokenizer(tmp_path)
    trainee = Trainee(build_model(tokenizer))
    before = trainee.patch_head.weight.detach().clone()
    train.fit(trainee, clips, packer, tmp_path, 3, seed=1)
    assert not torch.equal(before, trainee.patch_head.weight)
    train.save_model(trainee.model, tmp_path)
    model = from_name(tmp_path, precision="f32")
    images = list(clips.frames[0])
    seen = model.observe_images(images, [float(i) for i in range(8)], ["Is it night?"], None)
    assert 0.0 <= seen.answers["Is it night?"] <= 1.0
