"""Which tokens does the bundled model read?

Knows no pixels. A byte-level BPE of SmolLM2's kind (digits one by one), trained on the project's
own sentences, with SmolVLM2's special tokens; any other text still works, byte by byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from pipelines.scenes.truth import NIGHT_SENTENCE, QUESTIONS, SENTENCES
from pipelines.smolvlm2.prompt import (
    END_TOKEN,
    FAKE_TOKEN,
    GLOBAL_TOKEN,
    IMAGE_TOKEN,
    START_TOKEN,
    question_suffix,
    video_prefix,
)

VOCAB_SIZE: Final = 640
PAD_TOKEN: Final = "<|im_end|>"  # noqa: S105 - as in SmolVLM2
SPECIAL_TOKENS: Final = (START_TOKEN, PAD_TOKEN, END_TOKEN, FAKE_TOKEN, GLOBAL_TOKEN, IMAGE_TOKEN)


def _corpus() -> Iterator[str]:
    for wordings in (*QUESTIONS.values(), *SENTENCES.values()):
        for text in wordings:
            yield from (question_suffix(text), f" {text}", f" {text} {NIGHT_SENTENCE}")
    for _ in range(40):  # the commonest words become one token each
        yield from (" Yes.", " No.")
    for frames in range(1, 17):
        yield video_prefix([i * 1.3 for i in range(frames)], frames * 1.3, 1)


def train_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Train the tokenizer and write `tokenizer.json` and `tokenizer_config.json` to `folder`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        _corpus(),
        trainers.BpeTrainer(
            vocab_size=VOCAB_SIZE,
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=START_TOKEN,
        eos_token=END_TOKEN,
        pad_token=PAD_TOKEN,
        additional_special_tokens=[FAKE_TOKEN, GLOBAL_TOKEN, IMAGE_TOKEN],
        clean_up_tokenization_spaces=False,
    )
    fast.save_pretrained(folder)
    return fast
