"""Which certificates do the tests show?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


class Authority:
    """A CA of a test's own, with its certificates as files."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._ca = trustme.CA(organization_name=name)
        self.file = folder / f"{name}.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def issue(
        self, name: str, *, common_name: str | None = None, days: float = 2.0, of: str | None = None
    ) -> tuple[Path, Path]:
        """Certificate and key for a host (or a client with `common_name`), in files called `of`."""
        now = datetime.now(UTC)
        issued = self._ca.issue_cert(
            name, common_name=common_name, not_before=now - timedelta(days=9),
            not_after=now + timedelta(days=days),
        )  # fmt: skip
        certificate = self._folder / f"{of or name}.crt"
        key = self._folder / f"{of or name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        return certificate, key
