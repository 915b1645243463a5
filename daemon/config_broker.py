"""Which settings of the broker make sense?

Knows no file: a value comes in, with those given before it, and is returned or `Refused`.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TypeVar

from pydantic import ValidationInfo

from daemon.config_errors import Refused

T = TypeVar("T")

_TOPIC = re.compile(r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*")
_TLS_UNSAID = """say whether the link to a broker that is not on this machine is encrypted:
    tls: true     it is, and the broker's certificate is checked (the broker needs a TLS listener)
    tls: false    it is not: who listens on the network reads the password and every event"""


def topic(text: str) -> str:
    """A base topic."""
    if not _TOPIC.fullmatch(text):
        raise Refused("expected letters, digits, _ . and -, with / between levels: smolwatch/attic")
    return text


def broker(text: str) -> str:
    """A host, not an address with user and password."""
    host, said = split_host(text)
    if "/" in text or "@" in text or not host:
        raise Refused(
            "expected a host, host:port or `embedded`; user, password and TLS have keys of their "
            "own: username, password or password_file, tls"
        )
    if said is not None and not 1 <= said <= 65535:
        raise Refused(f"found port {said}; expected 1 to 65535")
    return text


def split_host(text: str) -> tuple[str, int | None]:
    """Host and port of `host`, `host:port`, `[v6]:port` or a bare IPv6 address."""
    bracketed = re.fullmatch(r"\[([^]]+)\](?::(\d+))?", text)
    named = re.fullmatch(r"([^:\s]+)(?::(\d+))?", text)
    found = bracketed or named
    if found:
        return found.group(1), int(found.group(2)) if found.group(2) else None
    return (text, None) if _is_address(text) else ("", None)


def not_embedded(value: T, info: ValidationInfo) -> T:
    """Keys that only a broker elsewhere has."""
    if value is not None and _broker(info) == "embedded":
        raise Refused("the embedded broker is on this machine and has none: delete this")
    return value


def port(value: int | None, info: ValidationInfo) -> int | None:
    """Said once; 0, for any free one, is only possible with a broker of our own."""
    if value == 0 and _broker(info) != "embedded":
        raise Refused("found 0; expected 1 to 65535 (0 is for `broker: embedded`)")
    if value is not None and split_host(_broker(info))[1] is not None:
        raise Refused("given twice, here and in `broker`: keep one")
    return value


def with_username(value: T, info: ValidationInfo) -> T:
    """MQTT 3.1.1 knows no password without a user name."""
    if "username" in info.data and info.data["username"] is None:
        raise Refused("a password needs a user name with it: add `username:`")
    return value


def only_password(value: T, info: ValidationInfo) -> T:
    """Two passwords are one too many."""
    if info.data.get("password") is not None:
        raise Refused("given twice, here and as `password`: keep one")
    return value


def tls(value: bool | None, info: ValidationInfo) -> bool | None:  # noqa: FBT001 - pydantic's way
    """To be said where the link leaves this machine."""
    host = split_host(_broker(info))[0]
    if value is None and host and host != "embedded" and not _is_this_machine(host):
        raise Refused(_TLS_UNSAID)
    return value


def with_tls(value: T, info: ValidationInfo) -> T:
    """Certificates are for TLS."""
    if "tls" in info.data and not info.data["tls"]:
        raise Refused("is only used with `tls: true`: add that, or delete this")
    return value


def with_certificate(value: T, info: ValidationInfo) -> T:
    """A key is the key of a certificate."""
    if value is not None and "cert_file" in info.data and info.data["cert_file"] is None:
        raise Refused("belongs to a certificate of our own: add `cert_file:`, or delete this")
    return value


def _broker(info: ValidationInfo) -> str:
    """What `broker:` says; empty where that was refused."""
    return str(info.data.get("broker", ""))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_this_machine(host: str) -> bool:
    if _is_address(host):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")
