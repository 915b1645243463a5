"""Where are the files that come with smolwatch: configurations, units, documents?

Does not know what is in them. They stand at the top of the repository; a wheel carries them within
the package (`force-include` in pyproject.toml), so that an installed smolwatch has them, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

FOLDERS: Final = ("configs", "docs", "systemd")
_PACKAGE: Final = Path(__file__).parent


class NotShipped(FileNotFoundError):
    """No such file comes with smolwatch."""


def shipped(name: str) -> Path:
    """The file or folder `name`, such as `configs/demo.yaml`.

    Raises:
        NotShipped: there is none, or `name` leaves the folders above.

    """
    parts = Path(name).parts
    path = _root() / name
    if not parts or parts[0] not in FOLDERS or ".." in parts or not path.exists():
        raise NotShipped(f"{name} does not come with smolwatch; `smolwatch files` lists what does")
    return path


def all_shipped() -> Iterator[str]:
    """The names of all files, folder by folder."""
    root = _root()
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file():
                yield path.relative_to(root).as_posix()


def _root() -> Path:
    installed = _PACKAGE / "share"
    return installed if installed.is_dir() else _PACKAGE.parent
