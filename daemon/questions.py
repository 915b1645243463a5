"""Which questions does the running daemon answer?

Knows the store and the configuration's names; no socket and no terminal.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any

from daemon.config_errors import did_you_mean
from daemon.control import Answer, ControlError
from daemon.store import Store
from daemon.store_queries import EventFilter, events, why

Json = dict[str, Any]


def answers(store: Store | None, rules: Mapping[str, Collection[str]]) -> dict[str, Answer]:
    """Operation -> what answers it. `rules`: camera -> the rules that are judged on it."""
    return {
        "why": partial(_guarded, store, lambda kept, asked: _why(kept, rules, asked)),
        "events": partial(_guarded, store, _events),
    }


def _guarded(
    store: Store | None, answer: Callable[[Store, Json], Iterator[Json]], request: Json
) -> Iterator[Json]:
    if store is None:
        raise ControlError("nothing is remembered: name a file in store.path, and restart")
    try:
        yield from answer(store, request)
    except sqlite3.Error as error:
        raise ControlError(f"{store.path}: the store cannot be read ({error})") from error


def _why(store: Store, rules: Mapping[str, Collection[str]], request: Json) -> Iterator[Json]:
    camera, rule = str(request["camera"]), request.get("rule")
    if camera not in rules:
        guess = did_you_mean(camera, rules)
        raise ControlError(f"there is no camera '{camera}'.{guess} There are: {', '.join(rules)}")
    known = rules[camera]
    if rule is not None and rule not in known:
        guess = did_you_mean(str(rule), known)
        there = ", ".join(known) or "none"
        raise ControlError(f"{camera} has no rule '{rule}'.{guess} There are: {there}")
    yield why(store.path, camera, float(request["at"]))


def _events(store: Store, request: Json) -> Iterator[Json]:
    wanted = EventFilter(
        camera=request.get("camera"),
        rule=request.get("rule"),
        search=request.get("search"),
        since=float(request.get("since") or 0.0),
        after=int(request.get("after") or 0),
        limit=int(request.get("limit") or 100),
    )
    for number, content in events(store.path, wanted):
        yield {"number": number, "event": content}
