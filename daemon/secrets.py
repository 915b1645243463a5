"""Where do passwords come from?

Knows no YAML. A `{NAME}` in the configuration stands for the first of these that there is:

1. a systemd credential: the file `$CREDENTIALS_DIRECTORY/NAME`, or `smolwatch_NAME` beside it,
   as systemd calls the files of a whole directory (systemd.exec(5), `LoadCredential=`)
2. the file that the environment variable `NAME_FILE` names (as containers do it)
3. the environment variable `NAME`
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from pipelines.errors import SmolwatchError

_REFERENCE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_CREDENTIAL_PREFIX = "smolwatch_"  # the ID in systemd/smolwatch.service's LoadCredential=


class SecretError(SmolwatchError):
    """A secret is not there or cannot be read. Names it, and never shows its value."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """Looks names up in `env` (`os.environ`) and the files it points to.

    `found` holds every value that was given out: wherever one turns up again, it is to be masked.
    """

    env: Mapping[str, str] = field(repr=False)
    found: set[str] = field(default_factory=set, repr=False, compare=False)

    def look_up(self, name: str) -> str:
        """The value of `{name}`. Raises `SecretError` that says where it was looked for."""
        value = self._value_of(name)
        self.found.add(value)
        return value

    def _value_of(self, name: str) -> str:
        if folder := self.env.get("CREDENTIALS_DIRECTORY"):
            for path in (Path(folder, name), Path(folder, _CREDENTIAL_PREFIX + name)):
                if path.exists():
                    return read_secret_file(path)
        if path_text := self.env.get(f"{name}_FILE"):
            return read_secret_file(Path(path_text))
        if value := self.env.get(name):
            return value
        message = (
            f"no value for {{{name}}}: give it as a systemd credential (a file {name} in "
            f"/etc/smolwatch/credentials), as a file that {name}_FILE names, or in the "
            f"environment variable {name}"
        )
        raise SecretError(message)

    def fill(self, template: str) -> str:
        """`template` with its `{NAME}`s replaced, percent-encoded where it is an address.

        A template that is no address, such as `{NAME}` alone, takes the value as it is. Raises
        `SecretError`.
        """
        is_url = "://" in template

        def value_of(reference: re.Match[str]) -> str:
            value = self.look_up(reference.group(1))
            return quote(value, safe="") if is_url else value

        return _REFERENCE.sub(value_of, template)


def read_secret_file(path: Path) -> str:
    """The text of `path` without line ends at its end. Raises `SecretError`."""
    try:
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        message = f"cannot read the secret file {path}: {error.strerror}"
        raise SecretError(message) from error
    except UnicodeDecodeError:
        # Not chained: the error holds the bytes.
        message = f"the secret file {path} is not UTF-8 text"
        raise SecretError(message) from None
    if not text:
        message = f"the secret file {path} is empty"
        raise SecretError(message)
    return text
