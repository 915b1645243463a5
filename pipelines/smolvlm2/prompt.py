"""What words surround the frames and the question?

Knows no tensors and no tokenizer: pure strings, those of transformers' SmolVLM processor with its
default chat template (`transformers/models/smolvlm/processing_smolvlm.py`, Apache-2.0; a test
holds every character to its constants). SmolVLM2 was tuned on exactly this wording.

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
CONTROL_TOKENS = (IMAGE_TOKEN, FAKE_TOKEN, GLOBAL_TOKEN, START_TOKEN, END_TOKEN, "<|im_end|>")

DESCRIBE_PROMPT = "Describe what happens in this video."


def video_prefix(
    timestamps_s: Sequence[float],
    duration_s: float,
    tokens_per_frame: int,
    says: Sequence[str] = (),
) -> str:
    """Give all that stands before the question's blank line, equal for all questions of a window.

    `says`: what reference pictures show. They stand before the video, each behind its words; their
    features come first. The wording is smolwatch's own, the model was not tuned on it.

    `timestamps_s` are seconds from the window's start, one a frame, oldest first; like the
    processor, whole seconds are shown and the rest is cut off. `duration_s` is shown as H:MM:SS.
    Each frame holds `tokens_per_frame` image tokens, in whose place its features go.

    Raises `ValueError` without frames or with a negative time.
    """
    if not timestamps_s:
        raise ValueError("a prompt needs at least one frame")
    for words in says:
        _plain(words)
    if min(*timestamps_s, duration_s) < 0:
        raise ValueError(f"times start at 0, not {list(timestamps_s)} of {duration_s} s")
    frame_count = num2words(len(timestamps_s))
    picture = FAKE_TOKEN + GLOBAL_TOKEN + IMAGE_TOKEN * tokens_per_frame + FAKE_TOKEN
    examples = "".join(f'Example of "{words.strip()}":{picture}\n' for words in says)
    intro = (
        f"{START_TOKEN}User: {examples}You are provided the following series of "
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


def _plain(text: str) -> str:
    question = text.strip()
    if not question:
        raise ValueError("the question is empty")
    for token in CONTROL_TOKENS:
        if token in question:
            raise ValueError(f"the question {question!r} holds the control token {token}")
    return question
