"""Where is smolwatch asked over HTTP, and by whom?

Knows one section of the configuration; what is answered is `daemon.http_api`'s affair.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo

from daemon.config_broker import split_host
from daemon.config_errors import Refused
from daemon.config_sections import SecretFile, SecretText, Section, Text

PORT: Final = 8642
_SHORTEST_TOKEN: Final = 16
_TOKEN: Final = re.compile(r"[!-~]+")  # what a header holds: printable, no space
_NEEDED: Final = """is needed, since {listen} can be reached from other machines:
    token: "{{HTTP_TOKEN}}"     a secret of 16 characters or more (openssl rand -hex 24)
    listen: 127.0.0.1:{port}    or else listen on this machine only"""


def split_listen(text: str) -> tuple[str, int]:
    """Host and port; an empty host stands for all addresses."""
    if text.startswith(":") and text[1:].isdecimal():
        return "0.0.0.0", int(text[1:])  # noqa: S104 - as it is meant; a token is needed then
    host, port = split_host(text)
    return host, PORT if port is None else port


def is_local(host: str) -> bool:
    """Whether only this machine can call it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(text: str) -> str:
    host, port = split_listen(text)
    if not host or port > 65535:
        raise Refused(f"found '{text}'; expected an address and a port, such as 127.0.0.1:{PORT}")
    return text


def _token(secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
    listen, from_file = info.data.get("listen"), info.data.get("token_file")
    if secret is not None and from_file is not None:
        raise Refused("given twice, here and as `token_file`: keep one")
    found = secret or from_file
    if found is None:
        if listen is not None and not is_local(split_listen(listen)[0]):
            raise Refused(_NEEDED.format(listen=listen, port=split_listen(listen)[1]))
        return None
    plain = found.get_secret_value()
    if len(plain) < _SHORTEST_TOKEN or not _TOKEN.fullmatch(plain):
        raise Refused(
            f"expected {_SHORTEST_TOKEN} or more letters, digits and signs without spaces: make "
            "one with `openssl rand -hex 24`"
        )
    return secret


def _base_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise Refused("expected how others reach it, such as http://10.0.0.4:8642")
    return text.rstrip("/")


def _with_certificate(key_file: Path | None, info: ValidationInfo) -> Path | None:
    if key_file is not None and info.data.get("cert_file") is None:
        raise Refused("is of no use without `cert_file`, the certificate that it belongs to")
    return key_file


def _host(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:]+\]", name):
        raise Refused("expected a host's name without scheme and port, such as camera-box.lan")
    return name.lower()


class HttpConfig(Section):
    """Health, metrics, pictures of alerts, and questions, over HTTP."""

    listen: Annotated[str, AfterValidator(_listen)] = Field(
        default=f"127.0.0.1:{PORT}",
        description="address:port; others than this machine's own need a token; port 0: a free one",
    )
    token_file: SecretFile | None = Field(default=None, description="a file with the token")
    token: Annotated[SecretText | None, AfterValidator(_token)] = Field(
        default=None,
        validate_default=True,
        description='what has to be sent as `Authorization: Bearer ...`: "{NAME}", or in plain',
    )
    cert_file: Path | None = Field(
        default=None,
        description="the certificate of https, in PEM; without it there is no encryption",
    )
    key_file: Annotated[Path | None, AfterValidator(_with_certificate)] = Field(
        default=None, description="its key, without a password; left out: it is in cert_file"
    )
    hosts: tuple[Annotated[Text, AfterValidator(_host)], ...] = Field(
        default=(),
        description="names by which others call it, besides addresses, localhost, base_url's "
        "host and this machine's name",
    )
    base_url: Annotated[Text | None, AfterValidator(lambda v: v and _base_url(v))] = Field(
        default=None,
        description="how others reach it; then events over MQTT tell addresses of pictures and "
        "clips instead of file names",
        examples=["http://10.0.0.4:8642"],
    )

    @property
    def plain_token(self) -> str | None:
        """The token itself, from wherever it came."""
        secret = self.token or self.token_file
        return secret.get_secret_value() if secret else None
