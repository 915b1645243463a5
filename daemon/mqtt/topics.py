"""Where does each message go?

Knows no payload: names in, topics out. docs/mqtt.md has the table of topics.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

RESERVED_SLUG = "bridge"
_SLUG = re.compile(r"[a-z0-9_]+")
_MAX_BASE_CHARS = 128
_NOT_IN_A_BASE = re.compile(r"[+#\x00-\x1f\x7f]|//|^[/$]|/$|^\s|\s$|^$")


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics below one base topic, such as `smolwatch`.

    Raises `ValueError` for a base that a broker would refuse or read as a wildcard. Camera and
    rule names are slugs; `check_slug` says so where they enter, in the configuration.
    """

    base: str = "smolwatch"

    def __post_init__(self) -> None:
        if _NOT_IN_A_BASE.search(self.base) or len(self.base) > _MAX_BASE_CHARS:
            raise ValueError(
                f"base topic {self.base!r}: take a word or words joined by single slashes, such as "
                f"`smolwatch` or `home/smolwatch`, of at most {_MAX_BASE_CHARS} characters, "
                "without +, # or a leading $"
            )

    def bridge(self, name: str) -> str:
        """`B/bridge/NAME`: state, info, health, cameras."""
        return f"{self.base}/{RESERVED_SLUG}/{name}"

    def camera(self, camera: str, name: str) -> str:
        """`B/CAMERA/NAME`: availability, state, event, description, digest, health."""
        return f"{self.base}/{check_slug(camera, 'camera')}/{name}"

    def rule(self, camera: str, rule: str) -> str:
        """`B/CAMERA/rule/RULE`: a rule's state."""
        return self.camera(camera, f"rule/{check_slug(rule, 'rule')}")


def check_slug(name: str, what: str) -> str:
    """`name`, if a camera or rule (`what`) may be named so; else a `ValueError` with a fix."""
    if not _SLUG.fullmatch(name):
        fixed = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_") or f"{what}_1"
        raise ValueError(
            f"{what} name {name!r}: only a-z, 0-9 and _ may stand in it; try {fixed!r}"
        )
    if name == RESERVED_SLUG:
        raise ValueError(
            f"{what} name {name!r} is reserved for smolwatch itself; try '{name}_{what}'"
        )
    return name
