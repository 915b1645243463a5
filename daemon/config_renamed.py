"""What is a key called now that was called otherwise, here before or in a program like this one?

Knows no values. A key that a release had and the next has under another name is added here, so that
the old one's error names the new one; CHANGELOG and docs/upgrading.md say it, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# `*` is a name that the user chose. Those without a release are what the configurations of Frigate
# (docs.frigate.video) and Zigbee2MQTT (www.zigbee2mqtt.io) call the same.
RENAMED: Final[Mapping[tuple[str, ...], str]] = {
    ("mqtt", "host"): "broker",
    ("mqtt", "server"): "broker",
    ("mqtt", "user"): "username",
    ("mqtt", "topic_prefix"): "base_topic",
    ("mqtt", "tls_ca_certs"): "ca_file",
    ("mqtt", "ca"): "ca_file",
    ("cameras", "*", "url"): "source",
    ("cameras", "*", "path"): "source",
    ("rules", "*", "question"): "ask",
    ("rules", "*", "prompt"): "ask",
}


def new_name(path: tuple[str | int, ...]) -> str | None:
    """The key beside `path` that does now what `path` did, if there is one."""
    for old, new in RENAMED.items():
        if len(old) == len(path) and all(o in {"*", p} for o, p in zip(old, path, strict=True)):
            return new
    return None
