"""What words surround the frames and the question?

Knows no tensors and no tokenizer: pure strings, those of transformers' SmolVLM processor with its
default chat template (`transformers/models/smolvlm/processing_smolvlm.py`, Apache-2.0; a test
holds every character to its constants). SmolVLM2 was tuned on exactly this wording. Pictures
without times, cut into tiles or not, are worded as by its Idefics3 processor.

The prompt is cut after the last frame. All questions of a window share what stands before the cut
(the prefix), each adds its own suffix. The cut lies behind a special token, so tokenizing the two
parts apart gives the ids of the whole; behind the blank line it would not, since byte-level BPE
joins a trailing blank line to one token and splits it before a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from num2words import num2words

IMAGE_TOKEN = "<image>"  # noqa: S105 - a marker in the prompt, no password
FAKE_TOKEN = "<fake_token_around_image>"  # noqa: S105
GLOBAL_TOKEN = "<global-img>"  # noqa: S105
START_TOKEN = "<|im_start|>"  # noqa: S105
END_TOKEN = "<end_of_utterance>"  # noqa: S105
NEEDED_TOKENS = (IMAGE_TOKEN, FAKE_TOKEN, START_TOKEN, END_TOKEN, "<|im_end|>")
# The first SmolVLM 2.2B spells this one out, letter by letter; the others have it.
CONTROL_TOKENS = (*NEEDED_TOKENS, GLOBAL_TOKEN)

DESCRIBE_PROMPT = "Describe what happens in this video."
PICTURE_PROMPT = "Describe what is in this picture."


def video_prefix(
    timestamps_s: Sequence[float],
    duration_s: float,
    tokens_per_frame: int,
    says: Sequence[str] = (),
    begun: int | None = None,
) -> str:
    """Give all that stands before the question's blank line, equal for all questions of a window.

    `says`: what reference pictures show. They stand before the video, each behind its words; their
    features come first. The wording is smolwatch's own, the model was not tuned on it.

    `timestamps_s` are seconds from the window's start, one a frame, oldest first; like the
    processor, whole seconds are shown and the rest is cut off. `duration_s` is shown as H:MM:SS.
    Each frame holds `tokens_per_frame` image tokens, in whose place its features go.

    `begun`: of a window that grows, how many frames it began with. The words before the frames
    must not change then, so they tell that number, and `duration_s` is of those frames: the first
    window from a start on is worded as any other, later ones have frames beyond what was announced.

    Raises `ValueError` without frames or with a negative time.
    """
    if not timestamps_s:
        raise ValueError("a prompt needs at least one frame")
    if min(*timestamps_s, duration_s) < 0:
        raise ValueError(f"times start at 0, not {list(timestamps_s)} of {duration_s} s")
    frame_count = num2words(begun or len(timestamps_s))
    picture = _picture(tokens_per_frame)
    intro = (
        f"{START_TOKEN}User: {_examples(says, picture)}You are provided the following series of "
        f"{frame_count} frames from a {timedelta(seconds=int(duration_s))} [H:MM:SS] video.\n"
    )
    frames = (f"\nFrame from {int(t // 60):02d}:{int(t % 60):02d}:{picture}" for t in timestamps_s)
    return intro + "".join(frames)


def question_suffix(text: str) -> str:
    """Give the blank line, the question and the start of the answer's turn.

    Blanks around `text` are dropped. Raises `ValueError` if nothing is left, or if it holds one of
    the model's control tokens, which would be read as a frame or as the end of the question.
    """
    return f"\n\n{_plain(text)}{END_TOKEN}\nAssistant:"


def pictures_prefix(
    grids: Sequence[tuple[int, int]], tokens_per_frame: int, says: Sequence[str] = ()
) -> str:
    """Give all that stands before the question about pictures, which is a video without times.

    `grids`: rows and columns into which each picture is cut (`tiles.Tiled`), (0, 0) for one that is
    not. This is how the first SmolVLM was tuned, and how SmolVLM2 is shown single pictures: the
    wording is that of `transformers/models/idefics3/processing_idefics3.py`, a test holds it to it.
    `says`: as in `video_prefix`. Raises `ValueError` without pictures.
    """
    if not grids:
        raise ValueError("a prompt needs at least one picture")
    examples = _examples(says, _picture(tokens_per_frame))
    pictures = "".join(_cut_picture(*grid, tokens_per_frame) for grid in grids)
    return f"{START_TOKEN}User:{' ' if examples else ''}{examples}{pictures}"


def picture_suffix(text: str) -> str:
    """Give the question behind pictures and the start of the answer's turn.

    Raises `ValueError` as `question_suffix` does.
    """
    return f"{_plain(text)}{END_TOKEN}\nAssistant:"


def text_prompt(text: str) -> str:
    """Give the whole prompt of a task without frames, up to the answer.

    Raises `ValueError` as `question_suffix` does.
    """
    return f"{START_TOKEN}User: {_plain(text)}{END_TOKEN}\nAssistant:"


def without_control_tokens(text: str) -> str:
    """Words that a model or a person wrote, fit to stand in a prompt."""
    for token in CONTROL_TOKENS:
        text = text.replace(token, " ")
    return text


def _picture(tokens: int) -> str:
    return FAKE_TOKEN + GLOBAL_TOKEN + IMAGE_TOKEN * tokens + FAKE_TOKEN


def _examples(says: Sequence[str], picture: str) -> str:
    return "".join(f'Example of "{_plain(words)}":{picture}\n' for words in says)


def _cut_picture(rows: int, columns: int, tokens: int) -> str:
    """Tiles row by row, then the whole picture."""
    if not rows:
        return _picture(tokens)
    lines = (
        "".join(
            f"{FAKE_TOKEN}<row_{row}_col_{column}>{IMAGE_TOKEN * tokens}"
            for column in range(1, columns + 1)
        )
        for row in range(1, rows + 1)
    )
    return "".join(f"{line}\n" for line in lines) + "\n" + _picture(tokens)


def _plain(text: str) -> str:
    question = text.strip()
    if not question:
        raise ValueError("the question is empty")
    for token in CONTROL_TOKENS:
        if token in question:
            raise ValueError(f"the question {question!r} holds the control token {token}")
    return question
