"""Which ids do words become, and which words do ids become?

Knows no tensors and no prompt: text to ids and back, and which ids mean yes and no.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from pipelines.errors import ModelError
from pipelines.smolvlm2.prompt import END_TOKEN, IMAGE_TOKEN, NEEDED_TOKENS


class Tokens:
    """A checkpoint's tokenizer, and the ids smolwatch reads answers from."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Take a tokenizer; `ModelError` if it lacks a control token or a one-token yes or no."""
        self._tokenizer = tokenizer
        self.image_id = self._control_id(IMAGE_TOKEN)
        self.end_id = self._control_id(END_TOKEN)
        for token in NEEDED_TOKENS:
            self._control_id(token)
        self.yes_ids = self._ids_of_word("yes")
        self.no_ids = self._ids_of_word("no")

    @classmethod
    def from_file(cls, path: Path) -> Tokens:
        """Read a `tokenizer.json`. Raises `ModelError`."""
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception, nothing narrower
            raise ModelError(f"{path} is no tokenizer file ({error}); fetch it anew") from error
        return cls(tokenizer)

    @property
    def vocab_size(self) -> int:
        """One more than the greatest id."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, control tokens included; nothing is added around it."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Words of `ids`, without control tokens and outer blanks."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=True).strip()

    def _control_id(self, token: str) -> int:
        token_id = self._tokenizer.token_to_id(token)
        if token_id is None:
            raise ModelError(f"the tokenizer has no {token}: it is not one of SmolVLM's")
        return token_id

    def _ids_of_word(self, word: str) -> tuple[int, ...]:
        """All ids that alone read as `word`, in every casing and spacing, ascending."""
        ids = self._tokenizer.get_vocab(with_added_tokens=False).values()
        found = [i for i in ids if self._tokenizer.decode([i]).strip().lower() == word]
        if not found:
            raise ModelError(f"the tokenizer has no single token for {word!r}")
        return tuple(sorted(found))
