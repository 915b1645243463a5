"""How does smolwatch run where there is no broker yet?

Knows no message: it runs amqtt on loopback in a thread of its own. amqtt speaks MQTT 3.1.1, and
mistakes an MQTT 5 CONNECT with a last will for an unfinished one: connect with 3.1.1 at once.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

from daemon.mqtt.reasons import BrokerError

HOST = "127.0.0.1"  # there is no password, so nobody outside this machine may reach it
_LISTENER = "default"


class EmbeddedBroker:
    """A broker for the demo and for trying things out; anonymous, on loopback, in memory.

    `port` 0 takes a free one. Starting and stopping are bounded; a started broker is stopped by
    `stop`, or by leaving its `with` block.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    def start(self, timeout_s: float = 10.0) -> int:
        """Listen and return the port. Raises `BrokerError` if that does not come about in time."""
        self._thread = threading.Thread(target=self._run, name="embedded-broker", daemon=True)
        self._thread.start()
        if not self._started.wait(timeout_s):
            raise BrokerError(f"the embedded broker did not start within {timeout_s:.0f} s")
        if self._error is not None:
            raise BrokerError(
                f"the embedded broker cannot listen on {HOST}:{self.port} ({self._error}): give "
                "mqtt.port another number or 0, or stop the broker that has it"
            ) from self._error
        return self.port

    def stop(self, timeout_s: float = 5.0) -> None:
        """Close all connections and the port; a second call does nothing."""
        loop, stop, thread = self._loop, self._stop, self._thread
        self._loop = self._stop = self._thread = None
        if loop is not None and stop is not None and thread is not None and thread.is_alive():
            loop.call_soon_threadsafe(stop.set)
            thread.join(timeout_s)

    def __enter__(self) -> EmbeddedBroker:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            self._error = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        # Imported here: it takes 0.2 s, and whoever has a broker never needs it.
        from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter  # noqa: PLC0415
        from amqtt.broker import Broker  # noqa: PLC0415

        # Its warnings are about each client that tries MQTT 5 first, as ours does.
        for name in ("amqtt", "transitions"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        broker: Any = Broker(_config(), loop=asyncio.get_running_loop())

        lines: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await broker.external_connected(
                StreamReaderAdapter(reader), StreamWriterAdapter(writer), _LISTENER
            )
            writer.close()  # amqtt leaves it open where nobody said CONNECT
            lines.pop(writer, None)

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            lines[writer] = asyncio.create_task(serve(reader, writer))

        # Our own listener, handed to amqtt: it tells which port it got, amqtt's does not.
        server = await asyncio.start_server(connected, HOST, self.port)
        self.port = server.sockets[0].getsockname()[1]
        await broker.start()
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._started.set()
        await self._stop.wait()
        # A line accepted a moment ago becomes known only some turns later, and asyncio loses it
        # for good if its server is closed before (CPython issue 109564).
        await _turns()
        server.close()
        await broker.shutdown()
        for writer, task in lines.items():
            task.cancel()
            writer.transport.abort()
        await _turns()  # sockets close one turn after they are told to


async def _turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def _config() -> dict[str, object]:
    return {
        "listeners": {_LISTENER: {"type": "external"}},
        # Named one by one: amqtt's defaults log every packet and publish its own load.
        "plugins": {
            "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True},
        },
    }
