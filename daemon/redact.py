"""How is a secret kept out of text that somebody else wrote?

Knows no log and no topic: text in, text out. `pipelines.sources.url` masks a whole address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

MASK = "***"
# Greedy to the token's last @: passwords hold @ and / that nobody escaped.
_USER_INFO = re.compile(r"(?<=://)[^\s\"'<>]*@")
_QUERY_SECRET = re.compile(
    r"([?&](?:[a-z_]*pass(?:word|wd)?|pwd|token|secret|api_?key|auth|sig(?:nature)?)=)[^&\s\"'<>]*",
    re.IGNORECASE,
)
_IN_PATH = re.compile(r"(?i)([/_](?:password|passwd|pass|pwd)=)[^&_/?#\s\"'<>]+")  # XM cameras
_HEADER = re.compile(
    r"(authorization[\"']?\s*[:=]\s*[\"']?(?:basic|bearer|digest)\s+)[^\s\"',]+", re.IGNORECASE
)
_SHORTEST_SECRET = 3  # masking every "1" or "ab" of a text would garble it


def mask_urls(text: str) -> str:
    """`text` with the user information and telling query values of every address masked."""
    if "://" not in text:
        return text
    text = _QUERY_SECRET.sub(rf"\1{MASK}", _USER_INFO.sub(f"{MASK}@", text))
    return _IN_PATH.sub(rf"\1{MASK}", text)


class Redactor:
    """Masks addresses' credentials and the values it was told to keep secret.

    `secrets` are passwords and tokens of the configuration; those shorter than three characters
    cannot be masked sensibly and are left to the address masking.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # Longest first: one secret may be a part of another.
        told = sorted((s for s in secrets if len(s) >= _SHORTEST_SECRET), key=len, reverse=True)
        self._secret = re.compile("|".join(map(_pattern, told))) if told else None

    def text(self, text: str) -> str:
        """One text, masked."""
        if self._secret is not None:
            text = self._secret.sub(MASK, text)
        return mask_urls(_HEADER.sub(rf"\1{MASK}", text))

    def value(self, value: object) -> object:
        """A log or JSON value, masked at every depth; unknown objects become their text."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes):
            return [self.value(item) for item in value]
        return self.text(value.decode(errors="replace") if isinstance(value, bytes) else str(value))


def _pattern(secret: str) -> str:
    """As it is, as addresses hold it, and as messages and JSON quote it, however deep."""
    return "".join(_one(char, first=number == 0) for number, char in enumerate(secret))


def _one(char: str, *, first: bool) -> str:
    encoded = "".join(f"%{byte:02x}" for byte in char.encode())
    as_bytes = "".join(rf"\\+x{byte:02x}" for byte in char.encode())
    point = ord(char)
    forms = [
        r"\\+" if char == "\\" else ("" if first else r"\\*") + re.escape(char),
        rf"(?i:{encoded})",
        rf"\\+(?i:u{point:04x}|x{point:02x})",
        rf"(?i:{as_bytes})",
    ]
    if char == " ":
        forms.append(r"\+")
    return f"(?:{'|'.join(forms)})"
