"""What is asked over HTTP, and is it well formed?

Knows the arguments of a search and the body of a question; not what answers them. What is wrong is
raised as an `HTTPException` in words for people.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from daemon.config_errors import did_you_mean
from daemon.moments import moment
from daemon.store_events import EVENTS_LIMIT

Json = dict[str, Any]

BODY_BYTES: Final = 65_536
BODY_S: Final = 10.0
_PAGE: Final = 100
_TEXTS: Final = ("camera", "rule", "search", "severity")
_MOMENTS: Final = ("since", "until")


def search_of(request: Request, numbers: tuple[str, ...] = ()) -> Json:
    """The arguments of a search, as the control socket takes them. Unknown ones are refused."""
    known = (*_TEXTS, *_MOMENTS, *numbers, "limit")
    wanted: Json = {"limit": _PAGE, **dict.fromkeys(numbers)}
    now = time.time()
    for key, text in request.query_params.items():
        if key not in known:
            guess = did_you_mean(key, known)
            raise HTTPException(400, f"unknown '{key}'.{guess} Known are: {', '.join(known)}")
        if key in _TEXTS:
            wanted[key] = text
        elif key in _MOMENTS:
            wanted[key] = moment(text, now)
        else:
            wanted[key] = _number(key, text)
    return wanted


def _number(key: str, text: str) -> int:
    most = EVENTS_LIMIT if key == "limit" else 2**62
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:20]) <= most:
        raise HTTPException(400, f"{key}: found '{text}'; expected a number from 1 to {most}")
    return int(text)


async def body_of(request: Request, known: Mapping[str, type]) -> Json:
    """The object that was sent, with keys of these kinds; all but `camera` may be left out."""
    told = _parsed(await _sent(request))
    for key, value in told.items():
        kind = known.get(key)
        if kind is None:
            guess = did_you_mean(key, tuple(known))
            raise HTTPException(400, f"unknown '{key}'.{guess} Known are: {', '.join(known)}")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_number if kind is float else isinstance(value, kind)):
            words = {str: "a text", float: "a number", bool: "true or false"}[kind]
            raise HTTPException(400, f"{key}: expected {words}")
    if "camera" not in told:
        raise HTTPException(400, "camera is missing: which one is to be looked at?")
    return told


async def _sent(request: Request) -> bytes:
    """All of a small body that comes in time."""
    found = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                found += part
                if len(found) > BODY_BYTES:
                    raise HTTPException(413, f"more than {BODY_BYTES // 1024} KiB are not read")
    except TimeoutError:
        raise HTTPException(408, f"the request did not come within {BODY_S:.0f} s") from None
    except ClientDisconnect:
        raise HTTPException(400, "the connection ended within the request") from None
    return bytes(found)


def _parsed(body: bytes) -> Json:
    try:
        told = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise HTTPException(400, 'expected a JSON object, such as {"camera": "porch"}')
    return told


def _refuse_constant(name: str) -> float:
    raise ValueError(name)  # NaN and infinities are Python's, not JSON's
