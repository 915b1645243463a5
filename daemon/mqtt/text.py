"""How do a model's words become text that is safe to hand on?

Knows no topic. The words are untrusted: writing in the picture can end up in them.
"""

from __future__ import annotations

import re
import unicodedata

SUMMARY_CHARS = 255  # Home Assistant's limit for a state
TEXT_BYTES = 8 * 1024
_ELLIPSIS = "…"


def clean(text: str) -> str:
    """`text` without control, format, private and unpaired surrogate characters.

    Line breaks stay; tabs become spaces. Format characters (Unicode's category Cf) go too, because
    among them are those that turn the reading direction and so forge what a person reads.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    text = text.replace("\u2028", "\n").replace("\u2029", "\n")
    return "".join(c for c in text if c == "\n" or not unicodedata.category(c).startswith("C"))


def full_text(text: str) -> str:
    """Cleaned, and of at most 8 KiB of UTF-8; a cut text ends in an ellipsis."""
    text = clean(text).strip()
    encoded = text.encode()
    if len(encoded) <= TEXT_BYTES:
        return text
    room = TEXT_BYTES - len(_ELLIPSIS.encode())
    return encoded[:room].decode(errors="ignore").rstrip() + _ELLIPSIS


def summary(text: str) -> str:
    """Cleaned, on one line, of at most 255 characters; a cut text ends in an ellipsis."""
    line = re.sub(r"\s+", " ", clean(text)).strip()
    if len(line) <= SUMMARY_CHARS:
        return line
    return line[: SUMMARY_CHARS - 1].rstrip() + _ELLIPSIS
