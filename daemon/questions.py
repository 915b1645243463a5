"""Which questions does the running daemon answer?

Knows the store and the configuration's names; no socket and no terminal.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from daemon.config_errors import did_you_mean
from daemon.control import Answer, ControlError
from daemon.store import Store
from daemon.store_events import SEVERITIES, EventFilter, events, incidents, newest_event
from daemon.store_queries import why

Json = dict[str, Any]


class NotRemembered(ControlError):
    """There is no store, or it cannot be read."""


def answers(
    store: Store | None,
    rules: Mapping[str, Collection[str]],
    failed: Callable[[str], Mapping[str, str]] = lambda _: {},
) -> dict[str, Answer]:
    """Operation -> what answers it. `rules`: camera -> the rules that are judged on it.

    `failed`: camera -> its rules that failed their selftest, and how.
    """

    def why_told(kept: Store, asked: Json) -> Iterator[Json]:
        for told in _why(kept, rules, asked):
            yield {**told, "selftests": dict(failed(str(asked["camera"])))}

    return {
        "why": partial(_guarded, store, why_told),
        "events": partial(_guarded, store, lambda kept, asked: _events(kept, rules, asked)),
    }


def _guarded(
    store: Store | None, answer: Callable[[Store, Json], Iterator[Json]], request: Json
) -> Iterator[Json]:
    if store is None:
        raise NotRemembered("nothing is remembered: name a file in store.path, and restart")
    try:
        yield from answer(store, request)
    except sqlite3.Error as error:
        raise NotRemembered(f"{store.path}: the store cannot be read ({error})") from error


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


def _events(store: Store, rules: Mapping[str, Collection[str]], request: Json) -> Iterator[Json]:
    """Events, each with its number, or `incidents`; says which camera or rule there is not."""
    wanted = _filter(request)
    if wanted.after > newest_event(store.path):
        wanted = replace(wanted, after=0)  # the store was begun anew meanwhile
    if request.get("incidents"):
        if wanted.search is not None:
            raise ControlError("words are searched for in events, not in incidents")
        found: list[Json] = [{"incident": one} for one in incidents(store.path, wanted)]
    else:
        found = [{"number": number, "event": one} for number, one in events(store.path, wanted)]
    yield from found
    if not found:
        _check_names(wanted, rules)


def _filter(request: Json) -> EventFilter:
    severity = request.get("severity")
    if severity is not None and severity not in SEVERITIES:
        raise ControlError(f"there is no severity '{severity}'. There are: {', '.join(SEVERITIES)}")
    until = request.get("until")
    return EventFilter(
        camera=request.get("camera"),
        rule=request.get("rule"),
        search=request.get("search"),
        severity=severity,
        since=float(request.get("since") or 0.0),
        until=None if until is None else float(until),
        after=int(request.get("after") or 0),
        before=None if request.get("before") is None else int(request["before"]),
        limit=int(request.get("limit") or 100),
    )


def _check_names(wanted: EventFilter, rules: Mapping[str, Collection[str]]) -> None:
    """Nothing was found: perhaps the name is wrong. One that is gone may still have events."""
    known_rules = list(dict.fromkeys(rule for of in rules.values() for rule in of))
    for what, name, known in (
        ("camera", wanted.camera, list(rules)),
        ("rule", wanted.rule, known_rules),
    ):
        if name is not None and name not in known:
            guess = did_you_mean(name, known)
            there = ", ".join(known) or "none"
            raise ControlError(f"there is no {what} '{name}'.{guess} There are: {there}")
