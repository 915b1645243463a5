"""With which certificate is HTTP encrypted, and when is it read again?

Knows two files and Python's `ssl`; no connection.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)


class Certificate:
    """PEM files of a certificate and its key; no `key_file`: the key is in `cert_file`, too."""

    def __init__(self, cert_file: Path, key_file: Path | None) -> None:
        self._cert_file = cert_file
        self._key_file = key_file
        self._seen: tuple[int, ...] = ()  # the files' times of change, as last read

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 or newer, with what the files hold now. `OSError` where they are of no use."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._seen = self._changed()
        self._load(context)
        return context

    def renew(self, context: ssl.SSLContext) -> None:
        """Read files that changed (certbot renews every two months), for the next connections.

        What is of no use, or only half written, is logged, and the certificate before stays.
        """
        try:
            changed = self._changed()
            if changed == self._seen:
                return
            self._seen = changed
            self.context()  # another one: half a pair must not get into the one that is used
            self._load(context)
        except OSError as error:
            log.warning("http.certificate", error=words(error), hint="the one before is used on")
        else:
            log.info("http.certificate", cert_file=str(self._cert_file))

    def _load(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(self._cert_file, self._key_file, _no_password)

    def _changed(self) -> tuple[int, ...]:
        files = (self._cert_file, self._key_file)
        return tuple(file.stat().st_mtime_ns for file in files if file is not None)


def words(error: OSError) -> str:
    """What is wrong, and how to mend it; a file that is missing is named."""
    if not isinstance(error, ssl.SSLError):
        name = f"{error.filename}: " if error.filename else ""
        return f"http.cert_file, http.key_file: {name}{error.strerror or error}"
    if error.reason == "KEY_VALUES_MISMATCH":
        return "http.key_file is not the key of the certificate in http.cert_file"
    return (
        f"http.cert_file cannot be used with its key ({error.reason or error}): both must be PEM, "
        "the certificate first, the key without a password"
    )


def _no_password() -> str:
    """Instead of the terminal's question, for which a service would wait for ever."""
    return ""
