"""How is a secret kept out of text that somebody else wrote?

Knows no log and no topic: text in, text out. `pipelines.sources.url` masks a whole address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

MASK = "***"
# Greedy to the token's last @: passwords hold @ and / that nobody escaped.
_USER_INFO = re.compile(r"(?<=://)[^\s\"'<>]*@")
_QUERY_SECRET = re.compile(
    r"([?&](?:[a-z_]*pass(?:word|wd)?|pwd|token|secret|api_?key|auth|sig(?:nature)?)=)[^&\s\"'<>]*",
    re.IGNORECASE,
)
_SHORTEST_SECRET = 3  # masking every "1" or "ab" of a text would garble it


def mask_urls(text: str) -> str:
    """`text` with the user information and telling query values of every address masked."""
    if "://" not in text:
        return text
    return _QUERY_SECRET.sub(rf"\1{MASK}", _USER_INFO.sub(f"{MASK}@", text))


class Redactor:
    """Masks addresses' credentials and the values it was told to keep secret.

    `secrets` are passwords and tokens of the configuration; those shorter than three characters
    cannot be masked sensibly and are left to the address masking.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # As it is, as an address holds it, and as error messages quote it.
        forms = {
            form
            for secret in secrets
            for form in (secret, quote(secret, safe=""), repr(secret)[1:-1])
        }
        # Longest first: one secret may be a part of another.
        self._forms = sorted(
            (f for f in forms if len(f) >= _SHORTEST_SECRET), key=len, reverse=True
        )

    def text(self, text: str) -> str:
        """One text, masked."""
        for form in self._forms:
            text = text.replace(form, MASK)
        return mask_urls(text)

    def value(self, value: object) -> object:
        """A log or JSON value, masked at every depth; unknown objects become their text."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes):
            return [self.value(item) for item in value]
        return self.text(value.decode(errors="replace") if isinstance(value, bytes) else str(value))
