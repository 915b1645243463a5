"""How is a camera's address kept without showing its password?

Knows no source: it is the one place where user names, passwords and tokens are masked.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

_MASK = "***"
_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_LOCAL_SCHEMES = frozenset({"", "file", "scene", "usb"})  # their queries are settings, not tokens
_IN_PATH = re.compile(r"(?i)([/_&](?:password|passwd|pass|pwd)=)([^&_/?#]+)")  # XM cameras do that
_TELLING = re.compile(r"(?i)pass|pwd|token|key|auth|secret|sig")  # names of secret settings
_SHORTEST_TOKEN = 4  # `channel=1` is no secret, and masking every "1" would garble a message


@dataclass(frozen=True, slots=True)
class SourceUrl:
    """A camera's address. `str`, `repr` and format show it masked; `secret` is the real one."""

    secret: str = field(repr=False)

    @property
    def scheme(self) -> str:
        """`rtsp`, `http`, `file`, `scene`..., lower case; empty for a plain path."""
        found = _SCHEME.match(self.secret)
        return found.group(1).lower() if found else ""

    def redact(self, text: str) -> str:
        """`text` with every trace of the address's secrets masked (libraries quote addresses)."""
        text = text.replace(self.secret, str(self))
        for word in sorted(self._secret_words(), key=len, reverse=True):
            text = text.replace(word, _MASK)
        return text

    @property
    def passwords(self) -> frozenset[str]:
        """What is a secret of the address wherever it turns up, as it is and as headers hold it.

        Of the query only what is called so: `subtype=main` must not mask every "main" of a log.
        """
        if self.scheme in _LOCAL_SCHEMES:
            return frozenset()
        user, _, password = self._user_info.partition(":")
        words = {password, unquote(password)} if password else {unquote(user)}
        if password:  # what `Authorization: Basic` sends
            words.add(b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode())
        words |= {value for name, value in self._query if _TELLING.search(name)}
        words |= {form for found in self._in_path() for form in (found, unquote(found))}
        return frozenset(filter(None, words))

    @property
    def _user_info(self) -> str:
        return self.secret.partition("://")[2].rpartition("@")[0]

    @property
    def _query(self) -> list[tuple[str, str]]:
        return parse_qsl(self.secret.partition("?")[2].partition("#")[0])

    def _in_path(self) -> set[str]:
        return {found[2] for found in _IN_PATH.finditer(self.secret)}

    def _secret_words(self) -> set[str]:
        if self.scheme in _LOCAL_SCHEMES:
            return set()
        tokens = {value for _, value in self._query if len(value) >= _SHORTEST_TOKEN}
        words = {*self.passwords, self._user_info, *tokens, *self._in_path()}
        return words - {""}  # an address without a login: nothing stands between any two letters

    def __str__(self) -> str:
        if self.scheme in _LOCAL_SCHEMES:
            return self.secret
        # Greedy up to the last @: a password may hold @, / or ? that nobody escaped.
        masked = re.sub(r"(?s)(?<=://).*@", f"{_MASK}@", self.secret, count=1)
        masked = _IN_PATH.sub(rf"\1{_MASK}", masked)
        return re.sub(r"([?&][^=&#]*)=[^&#]*", rf"\1={_MASK}", masked)

    def __repr__(self) -> str:
        return f"SourceUrl({str(self)!r})"


def local_path(url: SourceUrl) -> tuple[str, dict[str, str]]:
    """The path and the `?key=value` settings of a `file://` address or a plain path."""
    if url.scheme == "file":
        parts = urlsplit(url.secret)
        return unquote(parts.netloc + parts.path), dict(parse_qsl(parts.query))
    path, _, query = url.secret.partition("?")
    return path, dict(parse_qsl(query))
