"""How does a camera ask for a login?

Knows Basic and Digest authentication (RFC 2617, as RTSP 1.0 uses them); no connection.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Literal

Scheme = Literal["basic", "digest"]

_REALM = "camera"
_NONCE = "5e3d0cafe"  # one will do: nobody attacks a test


@dataclass(frozen=True)
class Login:
    """Who may enter, and how they are asked. No user: everybody may."""

    user: str = ""
    password: str = ""
    scheme: Scheme = "basic"

    @property
    def challenge(self) -> str:
        """The `WWW-Authenticate` header of a 401."""
        if self.scheme == "basic":
            return f'Basic realm="{_REALM}"'
        return f'Digest realm="{_REALM}", nonce="{_NONCE}"'

    def accepts(self, method: str, authorization: str) -> bool:
        """Whether a request with this `Authorization` header may pass."""
        if not self.user:
            return True
        if self.scheme == "basic":
            login = f"{self.user}:{self.password}".encode()
            return authorization == "Basic " + base64.b64encode(login).decode()
        said = dict(re.findall(r'(\w+)="([^"]*)"', authorization))
        who = _md5(f"{self.user}:{_REALM}:{self.password}")
        what = _md5(f"{method}:{said.get('uri', '')}")
        return said.get("response") == _md5(f"{who}:{_NONCE}:{what}")


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()
