"""How are requests over HTTP taken, and by whom never?

Knows sockets, connections and their bounds; no path and no answer. One thread with its own event
loop: who connects and then says nothing, says it slowly, or sends too much, is hung up on.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from functools import partial
from typing import Any, Final

import h11
import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from daemon.config_http import split_listen
from daemon.http_tls import Certificate, words
from pipelines.clock import Clock

MOST_CONNECTIONS: Final = 64
HEAD_S: Final = 10.0  # for a request's head, from the connection or the last answer on
HEAD_BYTES: Final = 16_384
IDLE_S: Final = 10  # a connection that is kept open, between requests
STOP_S: Final = 1  # for answers that are under way when it ends
POLL_S: Final = 0.2
RENEW_S: Final = 60.0  # between looks at whether the certificate was renewed
RETRY_S: Final = 5.0  # an address that is not there yet, or another process's

log = structlog.get_logger(__name__)


class HttpServer:
    """The HTTP thread. An address that cannot be had is tried again: alerts go on meanwhile.

    `port` is where it listens; None while it does not.
    """

    def __init__(
        self,
        listen: str,
        app: ASGIApp,
        clock: Clock,
        certificate: Certificate | None = None,
        *,
        head_s: float = HEAD_S,
    ) -> None:
        self._listen = listen
        self._certificate = certificate
        self._head_s = head_s
        self._app = app
        self._clock = clock
        self._told: str | None = None
        self.port: int | None = None
        self.heartbeat_s = clock.monotonic_s()

    def run(self, stop: threading.Event) -> None:
        """Answer until `stop`; ends within two seconds of it."""
        # Otherwise strangers fill the log; what fails of ours, `daemon.http_api` tells itself.
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
        while not stop.is_set():
            self.heartbeat_s = self._clock.monotonic_s()
            try:
                context = self._certificate.context() if self._certificate else None
            except OSError as error:
                self._tell(words(error), "openssl makes a certificate: see docs/http.md")
                self._clock.wait(stop, RETRY_S)
                continue
            found = _listener(self._listen)
            if isinstance(found, OSError):
                hint = "name another address or port in http.listen, or write `http: off`"
                self._tell(found.strerror or str(found), hint)
                self._clock.wait(stop, RETRY_S)
                continue
            with found:
                self._told = None
                self.port = found.getsockname()[1]
                tls = context is not None
                log.info("http.listening", listen=self._listen, port=self.port, tls=tls)
                with asyncio.Runner(loop_factory=partial(_Loop, self._head_s)) as runner:
                    runner.run(self._serve(found, context, stop))
                self.port = None

    def _tell(self, said: str, hint: str) -> None:
        """Once, and not every five seconds."""
        if said != self._told:
            log.error("http.unavailable", listen=self._listen, error=said, hint=hint)
        self._told = said

    async def _serve(
        self, listener: socket.socket, context: ssl.SSLContext | None, stop: threading.Event
    ) -> None:
        config = self._config()
        config.load()
        config.ssl = context
        server, looked_s = uvicorn.Server(config), self._clock.monotonic_s()
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not serving.done():
            self.heartbeat_s = now_s = self._clock.monotonic_s()
            if self._certificate and context and now_s - looked_s >= RENEW_S:
                looked_s = now_s
                self._certificate.renew(context)
            server.should_exit = stop.is_set()
            await asyncio.wait({serving}, timeout=POLL_S)
        serving.result()

    def _config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self._app,
            http=partial(_Bounded, head_s=self._head_s),  # type: ignore[arg-type]
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=STOP_S,
            h11_max_incomplete_event_size=HEAD_BYTES,
        )


class _Loop(asyncio.SelectorEventLoop):
    """With a bound for the time of a TLS handshake, for which uvicorn has no setting."""

    def __init__(self, handshake_s: float) -> None:
        super().__init__()
        self._handshake_s = handshake_s

    async def create_server(self, *args: Any, **more: Any) -> asyncio.Server:
        """See `asyncio.loop.create_server`."""
        if more.get("ssl") is not None:
            more["ssl_handshake_timeout"] = self._handshake_s
        return await super().create_server(*args, **more)


def _listener(listen: str) -> socket.socket | OSError:
    """A socket that listens there, or why there is none."""
    host, port = split_listen(listen)
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        return error
    listener = socket.socket(family, kind)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(MOST_CONNECTIONS)
    except OSError as error:
        listener.close()
        return error
    return listener


class _Bounded(H11Protocol):
    """uvicorn's connection, with bounds that it has not: their number, and the time of a head."""

    def __init__(self, *args: Any, head_s: float, **more: Any) -> None:
        """`head_s`: the time for a head; the others are uvicorn's own."""
        super().__init__(*args, **more)
        self._head_s = head_s
        self._head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > 2 * MOST_CONNECTIONS:  # beyond the first half is told so
            transport.abort()
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Bytes of a head, or of what follows."""
        super().data_received(data)
        self._await_head()

    def on_response_complete(self) -> None:
        """The next head may come; uvicorn bounds the time until its first byte."""
        super().on_response_complete()
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        super().connection_lost(exc)
        if self._head is not None:
            self._head.cancel()

    def _await_head(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            if self._head is not None:
                self._head.cancel()
            self._head = None
        elif self._head is None:
            self._head = self.loop.call_later(self._head_s, self._hang_up)

    def _hang_up(self) -> None:
        self._head = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()
