"""What is answered over HTTP?

Knows paths, their arguments and the parts that answer; no connection, and nobody's rights. Errors
are `{"error": ...}` in words for people. docs/http.md is its reference.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from daemon.config_errors import did_you_mean
from daemon.control import Answer
from daemon.figures import Gauges, not_ready
from daemon.http_guard import TRUSTED, error_response
from daemon.media_files import is_ours
from daemon.media_links import MediaLinks
from daemon.metrics import CONTENT_TYPE, Exposition
from daemon.moments import moment
from daemon.overview import cameras_content, status_content
from daemon.pulse import Pulse
from daemon.questions import NotRemembered
from daemon.redact import mask_urls
from daemon.store_events import EVENTS_LIMIT
from pipelines.errors import RequestRefused, SmolwatchError
from pipelines.requests import check_question

Json = dict[str, Any]
T = TypeVar("T")

BODY_BYTES: Final = 65_536
BODY_S: Final = 10.0
READS_AT_ONCE: Final = 4  # of store and figures: the cameras need the machine more
ASKS_AT_ONCE: Final = 12  # more than may wait for the model, so that a refusal never waits
_PAGE: Final = 100
_TEXTS: Final = ("camera", "rule", "search", "severity")
_MOMENTS: Final = ("since", "until")
_OF_A_LOOK: Final[Mapping[str, type]] = {
    "camera": str, "last_s": float, "wait_s": float, "snapshot": bool,
}  # fmt: skip


@dataclass(slots=True)
class Services:
    """The parts that answer. `answers`, the control socket's, may be exchanged."""

    gauges: Gauges
    exposition: Exposition
    pulse: Pulse
    links: MediaLinks
    answers: Mapping[str, Answer] = field(default_factory=dict)


def http_app(services: Services) -> Starlette:
    """The application; `daemon.http_guard.Guard` stands before it."""
    api = _Api(services)
    routes = [
        Route("/healthz", api.healthz),
        Route("/readyz", api.readyz),
        Route("/metrics", api.metrics),
        Route("/api/status", api.status),
        Route("/api/cameras", api.cameras),
        Route("/api/events", api.events),
        Route("/api/incidents", api.incidents),
        Route("/api/ask", api.ask, methods=["POST"]),
        Route("/api/describe", api.describe, methods=["POST"]),
        Route("/media/{name}", api.media),
    ]
    return Starlette(
        routes=routes,
        exception_handlers={
            HTTPException: _http_error,
            SmolwatchError: _refused,
            Exception: _failed,
        },
    )


class _Api:
    """One method a path."""

    def __init__(self, services: Services) -> None:
        self._to = services
        self._files = StaticFiles(directory=".", check_dir=False)  # only for how a file is sent
        self._reads = anyio.CapacityLimiter(READS_AT_ONCE)
        self._asks = anyio.CapacityLimiter(ASKS_AT_ONCE)

    async def healthz(self, request: Request) -> Response:
        """Whether the process lives and all its parts make progress."""
        late = self._to.pulse.late()
        told: Json = {"status": "stuck" if late else "ok"}
        if request.scope[TRUSTED]:
            told["late"] = list(late)
        return JSONResponse(told, 503 if late else 200)

    async def readyz(self, request: Request) -> Response:
        """Whether it watches: the model is there, and no camera is away."""
        reasons = await self._read(lambda: not_ready(self._to.gauges.read()))
        told: Json = {"ready": not reasons}
        if request.scope[TRUSTED]:
            told["reasons"] = reasons
        return JSONResponse(told, 503 if reasons else 200)

    async def metrics(self, _: Request) -> Response:
        """For Prometheus."""
        return Response(await self._read(self._to.exposition.text), 200, media_type=CONTENT_TYPE)

    async def status(self, _: Request) -> Response:
        """All figures."""
        return JSONResponse(await self._read(lambda: status_content(self._to.gauges.read())))

    async def cameras(self, _: Request) -> Response:
        """Each camera's figures and rules."""
        told = await self._read(lambda: cameras_content(self._to.gauges.read()))
        return JSONResponse({"cameras": told})

    async def events(self, request: Request) -> Response:
        """Events, oldest first, and where the ones before and after them begin."""
        wanted = _wanted(request, numbers=("after", "before"))
        found = await self._answers("events", wanted)
        events = [
            {"number": one["number"], **self._to.links.as_paths(one["event"])} for one in found
        ]
        full = len(events) == wanted["limit"]
        return JSONResponse(
            {
                "events": events,
                "before": events[0]["number"] if events and full else None,
                "after": events[-1]["number"] if events else wanted["after"],
            }
        )

    async def incidents(self, request: Request) -> Response:
        """Incidents, oldest first."""
        found = await self._answers("events", {**_wanted(request), "incidents": True})
        return JSONResponse({"incidents": [one["incident"] for one in found]})

    async def ask(self, request: Request) -> Response:
        """A question about a camera's last seconds."""
        asked = await _body(request, {"question": str, **_OF_A_LOOK})
        if "question" not in asked:
            raise HTTPException(400, "question is missing: what do you want to know?")
        try:
            check_question(asked["question"])
        except RequestRefused as error:
            raise HTTPException(400, str(error)) from error
        return await self._asked(request, asked)

    async def describe(self, request: Request) -> Response:
        """Words for a camera's newest window."""
        return await self._asked(request, await _body(request, _OF_A_LOOK))

    async def media(self, request: Request) -> Response:
        """A picture or clip of an event; parts of it, too."""
        name, folder = request.path_params["name"], self._to.gauges.there.media_dir
        if folder is None:
            raise HTTPException(404, "there are no pictures: the configuration has no media.dir")
        found = await self._read(lambda: _status_of(folder / name)) if is_ours(name) else None
        if found is None:
            raise HTTPException(404, "there is no such file: it may have been deleted for its age")
        response = self._files.file_response(folder / name, found, request.scope)
        # A file never changes under its name. Others' pages may show it: whoever has the address.
        response.headers["Cache-Control"] = "private, max-age=31536000, immutable"
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        return response

    async def _asked(self, request: Request, asked: Json) -> Response:
        """The model's answer, unless whoever asked goes away before it is there."""
        cameras = tuple(self._to.gauges.there.watched.captures)
        camera = asked.get("camera")
        if camera not in cameras:
            guess = did_you_mean(str(camera), cameras)
            raise HTTPException(
                404, f"there is no camera '{camera}'.{guess} There are: {', '.join(cameras)}"
            )
        wanted = {**asked, "last": asked.get("last_s"), "patience": asked.get("wait_s")}
        answers = self._to.answers["ask"](wanted)
        try:
            while True:
                told = await anyio.to_thread.run_sync(next, answers, limiter=self._asks)
                if "answer" in told:
                    return JSONResponse(told["answer"])
                if await request.is_disconnected():
                    return Response(status_code=499)  # nobody reads it
        finally:
            if isinstance(answers, Generator):
                answers.close()  # the model need not answer any more

    async def _answers(self, operation: str, wanted: Json) -> list[Json]:
        return await self._read(lambda: list(self._to.answers[operation](wanted)))

    async def _read(self, work: Callable[[], T]) -> T:
        """In a thread: what reads the disk must not hold up everybody."""
        return await anyio.to_thread.run_sync(work, limiter=self._reads)


def _wanted(request: Request, numbers: tuple[str, ...] = ()) -> Json:
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


async def _body(request: Request, known: Mapping[str, type]) -> Json:
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


def _status_of(path: Path) -> os.stat_result | None:
    """Of a file that is a file itself, and no link to somewhere else."""
    try:
        found = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for nothing else
    path = request.url.path[:100]
    words = {
        "Not Found": f"there is nothing at {path}: docs/http.md says what there is",
        "Method Not Allowed": f"{path} is not asked with {request.method}: see docs/http.md",
    }
    response = error_response(error.status_code, words.get(error.detail, error.detail))
    response.headers.update(error.headers or {})
    return response


async def _refused(_: Request, error: Exception) -> Response:
    """What the daemon refuses: for now, or because of what was asked."""
    later = isinstance(error, RequestRefused | NotRemembered)
    return error_response(503 if later else 400, mask_urls(str(error)))


async def _failed(_: Request, __: Exception) -> Response:
    """What nobody foresaw: its traceback is in the log."""
    return error_response(500, "smolwatch could not answer: look into its log")
