"""Do pictures, cut into tiles, reach the model as transformers' Idefics3 processor has it?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from tokenizers import Tokenizer
from transformers import Idefics3ForConditionalGeneration, PreTrainedTokenizerFast
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.idefics3.processing_idefics3 import Idefics3Processor

from pipelines.errors import InferenceError, ModelError
from pipelines.smolvlm2.loading import from_name
from pipelines.smolvlm2.prompt import picture_suffix, pictures_prefix
from pipelines.smolvlm2.random_weights import write_preprocessor_config, write_random_checkpoint
from pipelines.smolvlm2.tiles import Tiling
from pipelines.smolvlm2.tokens import Tokens
from pipelines.types import Image
from tests.checkpoints import write_tiny_checkpoint
from tests.pipelines.smolvlm2.conftest import QUESTIONS, make_frames, make_window

# The published chat template of the first SmolVLM (chat_template.json), for one user turn.
TURN = "<|im_start|>User:{content}<end_of_utterance>\nAssistant:"
TILE_PX = 64
SIZES = [(90, 160), (160, 90), (64, 64), (33, 257), (240, 250), (1, 300), (57, 64)]


def picture(height: int, width: int, seed: int = 0) -> Image:
    """Smooth colours with some edges, so that resizing is what differs, if anything does."""
    random = np.random.default_rng(seed)
    small = PillowImage.fromarray(random.integers(0, 255, (6, 6, 3), dtype=np.uint8))
    return np.asarray(small.resize((width, height), PillowImage.Resampling.BILINEAR)).copy()


@pytest.fixture(scope="session")
def first_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "first"
    write_tiny_checkpoint(folder, model_type="idefics3")
    write_preprocessor_config(folder, TILE_PX)
    return folder


def processor(directory: Path) -> Idefics3Processor:
    """transformers' own, without the vote of its constructor for torchvision."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_file(str(directory / "tokenizer.json")),
        additional_special_tokens=["<image>"],
    )
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": 4 * TILE_PX}, max_image_size={"longest_edge": TILE_PX}
    )
    made = Idefics3Processor(images, tokenizer, image_seq_len=16)
    made.chat_template = None
    return made


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_ids_and_tiles_are_those_of_the_idefics3_processor(first_dir: Path, height, width):
    image = picture(height, width)
    expected = processor(first_dir)(
        images=[PillowImage.fromarray(image)],
        text=TURN.format(content="<image>Is it open?"),
        return_tensors="pt",
    )
    tiled = Tiling(TILE_PX, 4 * TILE_PX).cut(image)
    tokens = Tokens.from_file(first_dir / "tokenizer.json")
    prefix = pictures_prefix([(tiled.rows, tiled.columns)], 16)
    ids = tokens.encode(prefix) + tokens.encode(picture_suffix("Is it open?"))
    assert ids == expected["input_ids"][0].tolist()
    pixels = np.stack(tiled.images).transpose(0, 3, 1, 2) / 127.5 - 1.0
    theirs = expected["pixel_values"][0].numpy()
    assert pixels.shape == theirs.shape
    assert np.abs(pixels - theirs).mean() * 127.5 < 2.0


def test_frames_in_a_row_are_unsplit_pictures(first_dir: Path):
    images = [PillowImage.fromarray(picture(36, 64, seed)) for seed in range(3)]
    expected = processor(first_dir)(
        images=images,
        text=TURN.format(content="<image><image><image>Is it open?"),
        images_kwargs={"do_image_splitting": False},
        return_tensors="pt",
    )
    tokens = Tokens.from_file(first_dir / "tokenizer.json")
    text = pictures_prefix([(0, 0)] * 3, 16) + picture_suffix("Is it open?")
    assert tokens.encode(text) == expected["input_ids"][0].tolist()


def reference(directory: Path) -> Idefics3ForConditionalGeneration:
    return Idefics3ForConditionalGeneration.from_pretrained(directory, dtype=torch.float32).eval()


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_the_first_smolvlm_answers_about_a_picture_as_transformers_does(first_dir: Path, engine):
    if engine == "openvino":
        pytest.importorskip("openvino")
    image = picture(90, 160)
    model = from_name(first_dir, engine=engine, precision="f32", device="cpu")
    seen = model.observe_picture(image, QUESTIONS, "Read the sign.")
    tokens = Tokens.from_file(first_dir / "tokenizer.json")
    tiled = Tiling(TILE_PX, 4 * TILE_PX).cut(image)
    assert (tiled.rows, tiled.columns) == (3, 4)
    assert seen.timings.frames_encoded == 13
    pixels = torch.from_numpy(np.stack(tiled.images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    module = reference(first_dir)
    for question, p_yes in seen.answers.items():
        text = pictures_prefix([(3, 4)], 16) + picture_suffix(question)
        ids = torch.tensor([tokens.encode(text)])
        with torch.inference_mode():
            logits = module(input_ids=ids, pixel_values=pixels[None]).logits[0, -1]
        yes, no = (logits[list(some)].logsumexp(0) for some in (tokens.yes_ids, tokens.no_ids))
        assert p_yes == pytest.approx(float((yes - no).sigmoid()), abs=1e-4)
    text = pictures_prefix([(3, 4)], 16) + picture_suffix("Read the sign.")
    ids = torch.tensor([tokens.encode(text)])
    made = module.generate(
        input_ids=ids,
        pixel_values=pixels[None],
        max_new_tokens=48,
        do_sample=False,
        eos_token_id=tokens.end_id,
        pad_token_id=tokens.end_id,
    )
    assert seen.description == tokens.decode(made[0, ids.shape[1] :].tolist())


def test_the_first_smolvlm_takes_a_window_as_pictures_in_a_row(first_dir: Path):
    frames = make_frames(3, 64, 64)
    model = from_name(first_dir, engine="torch", precision="f32", device="cpu")
    [p_yes] = model.observe(make_window(frames), QUESTIONS[:1], None).answers.values()
    tokens = Tokens.from_file(first_dir / "tokenizer.json")
    text = pictures_prefix([(0, 0)] * 3, 16) + picture_suffix(QUESTIONS[0])
    stacked = torch.from_numpy(np.stack([frame.image for frame in frames]))
    pixels = stacked.permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        ids = torch.tensor([tokens.encode(text)])
        logits = reference(first_dir)(input_ids=ids, pixel_values=pixels[None]).logits[0, -1]
    yes, no = (logits[list(some)].logsumexp(0) for some in (tokens.yes_ids, tokens.no_ids))
    assert p_yes == pytest.approx(float((yes - no).sigmoid()), abs=1e-4)


def test_a_checkpoint_that_says_nothing_of_tiles_sees_a_picture_as_one_frame(tiny_dir: Path):
    seen = from_name(tiny_dir, engine="torch", device="cpu").observe_picture(
        picture(90, 160), QUESTIONS, None
    )
    assert seen.timings.frames_encoded == 1


def test_a_second_question_about_a_picture_costs_no_second_look(first_dir: Path):
    model = from_name(first_dir, engine="torch", device="cpu")
    model.observe_picture(picture(90, 160), QUESTIONS, None)
    seen = model.observe_picture(picture(90, 160), (), "What does it say?")
    assert seen.timings.frames_encoded == 0
    other = model.observe_picture(picture(90, 160, seed=1), (), "What does it say?")
    assert other.timings.frames_encoded == 13


def test_what_is_no_picture_is_said(first_dir: Path):
    model = from_name(first_dir, engine="torch", device="cpu")
    with pytest.raises(InferenceError, match="must be uint8"):
        model.observe_picture(np.zeros((4, 4), np.uint8), QUESTIONS, None)


def test_tiles_of_another_model_are_refused(tmp_path: Path):
    write_preprocessor_config(tmp_path, 512)
    with pytest.raises(ModelError, match="cuts pictures for another model"):
        Tiling.of_checkpoint(tmp_path, TILE_PX)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["smolvlm-256m", "256m"])
def test_the_256m_sizes_look_at_a_picture_in_tiles(tmp_path: Path, name: str):
    directory = write_random_checkpoint(tmp_path / name, name)
    torch.set_num_threads(2)
    model = from_name(directory, engine="torch", precision="f32", device="cpu")
    seen = model.observe_picture(picture(720, 1280), QUESTIONS, None)
    assert seen.timings.frames_encoded == 13  # three rows of four, and the whole
    assert all(0 <= p_yes <= 1 for p_yes in seen.answers.values())
