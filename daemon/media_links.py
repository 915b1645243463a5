"""What is the address of a picture or clip?

Knows names of files and a secret; opens nothing. With a token, each address carries a signature
for this one file, so that a phone's notification or a dashboard, which can send no header, may
show it and nothing else. Another token makes all of them void.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

_PURPOSE = b"smolwatch media\0"


class MediaLinks:
    """Makes addresses, and knows them again. `token` None: no signature is made or asked for."""

    def __init__(self, base_url: str | None, token: str | None) -> None:
        self._base_url = base_url
        self._key = None if token is None else token.encode()

    def path(self, name: str) -> str:
        """The address without the host."""
        signature = self._signature(name)
        return f"/media/{name}" if signature is None else f"/media/{name}?sig={signature}"

    def is_signed(self, name: str, signature: str) -> bool:
        """Whether `signature` was made for this file. In constant time."""
        wanted = self._signature(name)
        return wanted is not None and hmac.compare_digest(wanted.encode(), signature.encode())

    def as_urls(self, content: Mapping[str, Any]) -> Mapping[str, Any]:
        """An event as it is told: with addresses, where it is known how others reach us."""
        media = content.get("media")
        if not media or self._base_url is None:
            return content
        urls = {kind: self._base_url + self.path(name) for kind, name in media.items()}
        return {**content, "media": urls}

    def as_paths(self, content: Mapping[str, Any]) -> Mapping[str, Any]:
        """A stored event, with addresses below the one who is asked."""
        media = content.get("media")
        if not media:
            return content
        return {**content, "media": {kind: self.path(name) for kind, name in media.items()}}

    def _signature(self, name: str) -> str | None:
        if self._key is None:
            return None
        return hmac.new(self._key, _PURPOSE + name.encode(), hashlib.sha256).hexdigest()[:32]
