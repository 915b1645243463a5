"""Who is let in over HTTP?

Knows headers, the token and our names; no answer. A web page that somebody looks at can send
requests to this machine, under a name that it made point here (DNS rebinding) or straight to the
address: so names that are not ours, foreign origins and all but plain reading without JSON are
refused, and no page is ever allowed to read an answer (no CORS).
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.config_http import HttpConfig
from daemon.media_links import MediaLinks

OPEN: Final = ("/healthz", "/readyz")  # whether it is alive is no secret; details are
TRUSTED: Final = "smolwatch.trusted"  # in the scope: whether details may be told
LONGEST_S: Final = 660.0  # for a whole answer: the longest wait for the model, and a slow reader
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no answer."""

    status: int
    error: str


def error_response(status: int, error: str) -> Response:
    """`{"error": ...}`, in words for people."""
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return Response(json.dumps({"error": error}), status, headers, "application/json")


class Admission:
    """Judges the head of a request. Pure; from any thread."""

    def __init__(self, config: HttpConfig, links: MediaLinks, host_names: Iterable[str]) -> None:
        self._token = config.plain_token
        self._links = links
        base = urlsplit(config.base_url or "").hostname
        ours = {"localhost", *config.hosts, *(name.lower() for name in host_names)}
        self._hosts = frozenset({*ours, *([base.lower()] if base else [])})

    def refusal(self, method: str, path: str, query: str, headers: Headers) -> Refusal | None:
        """Why the request is refused whoever sends it, or None."""
        host = headers.get("host", "")
        if not self._is_ours(host):
            return Refusal(
                421,
                f"this is not {host or 'a host without a name'}: call it by its address, or add "
                "the name to http.hosts",
            )
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return Refusal(403, "pages of other sites get no answer")
        if method == "POST" and _media_type(headers) != "application/json":
            return Refusal(415, "send JSON, with Content-Type: application/json")
        if path in OPEN or self.is_trusted(path, query, headers):
            return None
        return Refusal(401, "send the token of http.token: Authorization: Bearer ...")

    def is_trusted(self, path: str, query: str, headers: Headers) -> bool:
        """Whether there is no token, or it was sent, or the address of a file is signed."""
        if self._token is None:
            return True
        scheme, _, sent = headers.get("authorization", "").partition(" ")
        if hmac.compare_digest(sent.strip().encode(), self._token.encode()):
            return scheme.lower() == "bearer"
        name = path.removeprefix("/media/")
        signature = parse_qs(query).get("sig", [""])[0]
        return name != path and self._links.is_signed(name, signature)

    def _is_ours(self, host: str) -> bool:
        """Addresses are: a page cannot make its own name one."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.lower() in self._hosts
        return True


class Guard:
    """The outermost part: refuses, bounds the time of an answer, and adds headers to all."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, path = Headers(scope=scope), str(scope["path"])
        query = scope["query_string"].decode("latin-1")
        refused = self._admission.refusal(scope["method"], path, query, headers)
        scope[TRUSTED] = self._admission.is_trusted(path, query, headers)

        app = self._app if refused is None else error_response(refused.status, refused.error)
        started = False

        async def send_guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                told = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    told.setdefault(name, value)
            await send(message)

        try:
            async with asyncio.timeout(LONGEST_S):
                await app(scope, receive, send_guarded)
        except TimeoutError:
            return  # who reads so slowly has its connection closed
        except asyncio.CancelledError:  # by the server, which stops
            if not started:
                gone = error_response(503, "smolwatch is stopping: ask again when it runs")
                await gone(scope, receive, send_guarded)


def own_names() -> tuple[str, ...]:
    """By which this machine is known: its name, and that in the local network (mDNS)."""
    name = socket.gethostname()
    short = name.partition(".")[0]
    return name, short, f"{short}.local"


def _media_type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()
