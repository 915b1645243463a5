"""How is the link to the broker encrypted, and who do we say we are?

Knows files and Python's `ssl`; no connection.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from daemon.mqtt.reasons import BrokerError


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of a link. `repr` leaves the key's password out."""

    ca_file: Path | None = None  # None: the system's certificate authorities
    cert_file: Path | None = None  # ours, for brokers that ask clients for one
    key_file: Path | None = None  # None: the key is in `cert_file`
    key_password: str | None = field(default=None, repr=False)

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 or newer, the broker's certificate and host name checked.

        Read anew for each connection, so that a certificate renewed on disk is taken up. Raises
        `BrokerError` that names the key of the configuration.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:  # ssl.SSLError is one too
            raise BrokerError(
                f"mqtt.ca_file {str(self.ca_file)!r} cannot be used ({error}): it must be a "
                "readable PEM file with the certificate of the broker's CA"
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert_file is not None:
            self._load_ours(context, self.cert_file)
        return context

    def _load_ours(self, context: ssl.SSLContext, cert_file: Path) -> None:
        asked: list[None] = []

        def password() -> str:
            """Never the terminal's question, which would hang a service."""
            asked.append(None)
            return self.key_password or ""

        try:
            context.load_cert_chain(cert_file, self.key_file, password)
        except OSError as error:
            raise BrokerError(self._unusable(cert_file, error, asked=bool(asked))) from error

    def _unusable(self, cert_file: Path, error: OSError, *, asked: bool) -> str:
        key = "mqtt.key_file" if self.key_file else "mqtt.cert_file"
        key_file = str(self.key_file or cert_file)
        if not isinstance(error, ssl.SSLError):
            missing = next((n for n, p in self._ours(cert_file) if not _is_readable(p)), key)
            path = dict(self._ours(cert_file)).get(missing, cert_file)
            return f"{missing} {str(path)!r} cannot be read ({error.strerror or error})"
        if error.reason == "KEY_VALUES_MISMATCH":
            return (
                f"{key} {key_file!r} is not the key of the certificate in mqtt.cert_file "
                f"{str(cert_file)!r}: name the key that it was made with"
            )
        if asked and self.key_password is None:
            return f"{key} {key_file!r} is encrypted: give its password as mqtt.key_password"
        if asked:
            return f"{key} {key_file!r} does not open with mqtt.key_password: correct it"
        return (
            f"mqtt.cert_file {str(cert_file)!r} cannot be used with its key {key_file!r} "
            f"({error.reason or error}): both must be PEM, the certificate first"
        )

    def _ours(self, cert_file: Path) -> list[tuple[str, Path]]:
        ours = [("mqtt.cert_file", cert_file)]
        return ours + ([("mqtt.key_file", self.key_file)] if self.key_file else [])


def _is_readable(path: Path) -> bool:
    try:
        with path.open("rb"):
            return True
    except OSError:
        return False
