"""Which clips of a camera's alerts are there, and why are there no others?

Knows the store, the rules' wishes and the media folder; joins nothing. Answers the control socket:
the command joins the clips itself, so that no video goes through the daemon.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from daemon.config import Config
from daemon.config_errors import did_you_mean
from daemon.control import Answer, ControlError
from daemon.store import Store
from daemon.store_events import EVENTS_LIMIT, EventFilter, events

Json = dict[str, Any]

_ALERTS: Final = ("rule_match", "rule_update")


@dataclass(frozen=True, slots=True)
class Keeping:
    """What the configuration says of clips. `rules`: camera -> rule -> whether it keeps one."""

    folder: Path | None
    rules: Mapping[str, Mapping[str, bool]]


def keeping(config: Config) -> Keeping:
    """Take it from the configuration."""
    return Keeping(
        config.media.dir.absolute() if config.media is not None else None,
        {
            camera: {
                rule.name: config.rules[rule.name].clip is not None
                for rule in config.rules_for(camera)
            }
            for camera in config.cameras
        },
    )


def answers_of(store: Store | None, kept: Keeping) -> dict[str, Answer]:
    """Operation -> what answers it."""

    def answer(request: Json) -> Iterator[Json]:
        if store is None:
            raise ControlError("nothing is remembered: name a file in store.path, and restart")
        try:
            yield from _highlights(store, kept, request)
        except sqlite3.Error as error:
            raise ControlError(f"{store.path}: the store cannot be read ({error})") from error

    return {"highlights": answer}


def _highlights(store: Store, kept: Keeping, request: Json) -> Iterator[Json]:
    """`{"clip": ...}` for each that is there, oldest first, then `{"missing": sentences}`."""
    camera = str(request["camera"])
    if camera not in kept.rules:
        guess = did_you_mean(camera, kept.rules)
        raise ControlError(
            f"there is no camera '{camera}'.{guess} There are: {', '.join(kept.rules)}"
        )
    until = request.get("until")
    wanted = EventFilter(
        camera=camera,
        since=float(request["since"]),
        until=None if until is None else float(until),
        limit=EVENTS_LIMIT,
    )
    found = _incidents(content for _, content in events(store.path, wanted))
    without: Counter[str] = Counter()
    gone = 0
    for incident in found:
        file = incident["clip"]
        if file is None:
            without[incident["rule"]] += 1
        elif kept.folder is None or not (kept.folder / file).is_file():
            gone += 1
        else:
            yield {"clip": incident | {"path": str(kept.folder / file)}}
    yield {"missing": list(_missing(camera, kept, len(found), without, gone))}


def _incidents(contents: Iterator[Json]) -> list[Json]:
    """What each incident's events say together."""
    found: dict[str, Json] = {}
    for event in contents:
        if event["event_type"] not in _ALERTS:
            continue
        known = found.setdefault(
            event["incident_id"],
            {
                **{key: event[key] for key in ("ts", "rule", "severity", "score")},
                "clip": None,
                "words": None,
            },
        )
        known["clip"] = (event.get("media") or {}).get("clip") or known["clip"]
        known["words"] = event["text"] or known["words"]
    return list(found.values())


def _missing(
    camera: str, kept: Keeping, alerts: int, without: Counter[str], gone: int
) -> Iterator[str]:
    """Why alerts have no clip, and what to do, in the words of the configuration."""
    if not alerts:
        yield f"{camera} had no alerts in that time"
    rules = kept.rules[camera]
    for rule, count in sorted(without.items()):
        of = f"{count} alert{'' if count == 1 else 's'} of {rule}"
        if rules.get(rule):
            yield f"{of} without a clip: it was not made (see the log), or not yet"
        elif rule not in rules:
            yield f"{of} without a clip: there is no such rule any more"
        else:
            add = f"add `clip: {{before_s: 5, after_s: 5}}` to rules.{rule}"
            media = "" if kept.folder else ", and `media: {dir: /var/lib/smolwatch/media}`"
            yield f"{of} without a clip: {add}{media}"
    if gone:
        yield (
            f"{gone} clip{' was' if gone == 1 else 's were'} deleted since: more are kept with "
            "media.max_age_days and media.max_bytes"
        )
