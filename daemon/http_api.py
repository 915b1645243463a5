"""What is answered over HTTP?

Knows paths, their arguments and the parts that answer; no connection, and nobody's rights. Errors
are `{"error": ...}` in words for people. docs/http.md is its reference.
"""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio.to_thread
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from daemon.config_errors import did_you_mean
from daemon.control import Answer
from daemon.figures import Gauges, not_ready
from daemon.http_arguments import body_of, search_of
from daemon.http_guard import TRUSTED, error_response
from daemon.media_files import is_ours
from daemon.media_links import MediaLinks
from daemon.metrics import CONTENT_TYPE, Exposition
from daemon.overview import cameras_content, status_content
from daemon.pulse import Pulse
from daemon.questions import NotRemembered
from daemon.redact import mask_urls
from pipelines.errors import RequestRefused, SmolwatchError
from pipelines.requests import check_question

Json = dict[str, Any]
T = TypeVar("T")
log = structlog.get_logger(__name__)

READS_AT_ONCE: Final = 4  # of store and figures: the cameras need the machine more
ASKS_AT_ONCE: Final = 12  # more than may wait for the model, so that a refusal never waits
_LOOK_S: Final = 0.5  # whether whoever asked is still there
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
        wanted = search_of(request, numbers=("after", "before"))
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
        found = await self._answers("events", {**search_of(request), "incidents": True})
        return JSONResponse({"incidents": [one["incident"] for one in found]})

    async def ask(self, request: Request) -> Response:
        """A question about a camera's last seconds."""
        asked = await body_of(request, {"question": str, **_OF_A_LOOK})
        if "question" not in asked:
            raise HTTPException(400, "question is missing: what do you want to know?")
        try:
            check_question(asked["question"])
        except RequestRefused as error:
            raise HTTPException(400, str(error)) from error
        return await self._asked(request, asked)

    async def describe(self, request: Request) -> Response:
        """Words for a camera's newest window."""
        return await self._asked(request, await body_of(request, _OF_A_LOOK))

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
        answers, gone = self._to.answers["ask"](wanted), threading.Event()
        work = partial(_answered, answers, gone)
        waiting = asyncio.create_task(anyio.to_thread.run_sync(work, limiter=self._asks))
        try:
            while not (await asyncio.wait({waiting}, timeout=_LOOK_S))[0]:
                if await request.is_disconnected():
                    return Response(status_code=499)  # nobody reads it
            return JSONResponse(waiting.result())
        finally:
            gone.set()  # the model need not answer any more

    async def _answers(self, operation: str, wanted: Json) -> list[Json]:
        return await self._read(lambda: list(self._to.answers[operation](wanted)))

    async def _read(self, work: Callable[[], T]) -> T:
        """In a thread: what reads the disk must not hold up everybody."""
        return await anyio.to_thread.run_sync(work, limiter=self._reads)


def _answered(answers: Iterator[Json], gone: threading.Event) -> Json | None:
    """In a thread: the answer, or None where nobody waits for it any more."""
    try:
        for told in answers:
            if "answer" in told:
                found: Json = told["answer"]
                return found
            if gone.is_set():
                break
        return None
    finally:
        if isinstance(answers, Generator):
            answers.close()


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


async def _failed(request: Request, error: Exception) -> Response:
    """What nobody foresaw."""
    log.error("http.failed", path=request.url.path, exc_info=error)
    return error_response(500, "smolwatch could not answer: look into its log")
