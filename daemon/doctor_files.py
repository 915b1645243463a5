"""Are the model's files what was fetched, or installed?

Knows the checksums that `smolwatch model pull` and pip wrote down; loads nothing. A damaged weight
changes answers, and is no error when the model is loaded.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from importlib import metadata
from importlib.metadata import PackagePath
from pathlib import Path
from typing import Final

from daemon.findings import Finding
from pipelines.errors import ModelError
from pipelines.smolvlm2.hub import is_here, verify
from pipelines.smolvlm2.presets import PRESETS

BUNDLED: Final = "pipelines/scenes/model/"


def check_files(name: str) -> Iterator[Finding]:
    """Every byte of the model that the configuration calls `name`: a minute for the largest.

    Nothing of a model that is not there (loading it says so), nor of a directory: nobody has
    written down what should be in it.
    """
    if name == "bundled":
        yield from bundled_files(_installed())
    elif name in PRESETS and is_here(PRESETS[name].place):
        yield _pulled(name)


def _pulled(name: str) -> Finding:
    try:
        wrong = verify(PRESETS[name].place)
    except ModelError:
        return Finding(
            "warn", "files", f"{name} was not pulled by smolwatch: there are no checksums of it",
            f"smolwatch model pull {name} checks it, and fetches only what is wrong",
        )  # fmt: skip
    if wrong:
        told = "; ".join(f"{file} {what}" for file, what in wrong.items())
        return Finding("fail", "files", f"{name}: {told}", f"smolwatch model pull {name}")
    return Finding("ok", "files", f"{name}: every byte as it was pulled")


def bundled_files(files: Iterable[PackagePath]) -> Iterator[Finding]:
    """Those of a wheel, held against what pip wrote down; nothing where there is no wheel."""
    known = [file for file in files if str(file).startswith(BUNDLED) and file.hash is not None]
    wrong = [file.name for file in known if not _is_right(file)]
    if wrong:
        yield Finding(
            "fail", "files", f"the bundled model's {', '.join(wrong)}: not what was installed",
            "install smolwatch anew: pip install --force-reinstall --no-deps smolwatch-*.whl",
        )  # fmt: skip
    elif known:
        yield Finding("ok", "files", "the bundled model: every byte as it was installed")


def _installed() -> list[PackagePath]:
    try:
        return metadata.files("smolwatch") or []
    except metadata.PackageNotFoundError:
        return []


def _is_right(file: PackagePath) -> bool:
    """See the Python packaging guide, "Recording installed projects"."""
    assert file.hash is not None  # noqa: S101 - the caller looked
    try:
        with Path(file.locate()).open("rb") as content:
            found = hashlib.file_digest(content, file.hash.mode).digest()
    except OSError:
        return False
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode() == file.hash.value
