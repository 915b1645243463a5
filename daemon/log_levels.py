"""How much does each part say?

Knows parts by the names that people use, and which loggers they are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from pipelines.errors import SmolwatchError

Level = Literal["debug", "info", "warning", "error", "critical"]
Part = Literal["capture", "model", "rules", "mqtt", "store", "media", "http", "control", "ffmpeg"]

LEVELS: Final[tuple[str, ...]] = get_args(Level)
PARTS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "capture": ("pipelines.capture", "pipelines.vitals", "pipelines.sources"),
        "model": ("pipelines.smolvlm2", "pipelines.inference", "daemon.model_loader"),
        "rules": ("pipelines.rules", "daemon.resume", "daemon.selftest_memory", "daemon.digest"),
        "mqtt": ("daemon.mqtt", "daemon.publisher", "daemon.delivery", "daemon.desk", "amqtt"),
        "store": (
            "daemon.store", "daemon.store_file", "daemon.disk_reserve", "daemon.outbox",
            "daemon.eventlog",
        ),
        "media": ("daemon.media",),
        "http": ("daemon.http_server", "daemon.http_api", "uvicorn"),
        "control": ("daemon.control",),
        "ffmpeg": ("libav",),
    }
)  # fmt: skip


class UnknownPart(SmolwatchError):
    """There is no such part or level."""


def set_level(part: str, level: str) -> None:
    """From now on; `part` may be `all`. Raises `UnknownPart`."""
    if level not in LEVELS:
        raise UnknownPart(f"there is no level {level!r}: {', '.join(LEVELS)}")
    if part == "all":
        logging.getLogger().setLevel(level.upper())
        for names in PARTS.values():
            for name in names:
                logging.getLogger(name).setLevel(logging.NOTSET)
        return
    if part not in PARTS:
        raise UnknownPart(f"there is no part {part!r}: all, {', '.join(PARTS)}")
    for name in PARTS[part]:
        logging.getLogger(name).setLevel(level.upper())


def levels() -> dict[str, str]:
    """What each part says now."""
    return {
        part: logging.getLevelName(logging.getLogger(names[0]).getEffectiveLevel()).lower()
        for part, names in PARTS.items()
    }


def level_answer(request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Over the control socket: set one if one is given, and tell them all."""
    part, level = request.get("part"), request.get("level")
    if part is not None and level is not None:
        set_level(str(part), str(level))
    yield {"levels": levels()}
