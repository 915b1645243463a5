"""How does one connection to the broker live and end?

Knows no queue and no retry: one `Link` is one attempt. The publisher makes a new one each time,
so that nothing is left over in paho: its queue forgets, ours does not.
"""

from __future__ import annotations

import math
import queue
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable, Iterator

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.exception import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from daemon.mqtt.link_events import (
    Accepted,
    Acknowledged,
    Arrived,
    Ended,
    LinkEvent,
    Subscribed,
)
from daemon.mqtt.options import MqttOptions
from daemon.mqtt.payloads import Message
from daemon.mqtt.reasons import (
    UNSUPPORTED_PROTOCOL,
    Problem,
    connect_failed,
    connect_refused,
    link_lost,
    nonsense,
)

CONNECT_TIMEOUT_S = 5.0
_CUT_S = 0.5  # how long a network thread may take to notice that its socket was shut down
_MOST_WAITING = 1000  # messages delivered and not yet taken; more are left out
_MOST_BYTES = 256 * 1024  # of a delivered message; nothing that we want is as long
_RECEIVE_MAXIMUM = 65_535  # MQTT 5, 3.2.2.3.3: what an absent property means


# What paho raises over bytes or names it cannot read (its own list, `_packet.DECODE_ERRORS`).
_UNREADABLE = (MQTTException, ValueError, LookupError, struct.error)


class Link:
    """One connection, from opening the socket to its end, on paho's network thread.

    What happens on it is read from `events`; `wake` is set whenever there is one. Callbacks do
    nothing but put events in a queue: an exception in a callback would end paho's thread.
    """

    def __init__(
        self,
        options: MqttOptions,
        protocol: MQTTProtocolVersion,
        will: Message,
        wake: threading.Event,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._options = options
        self._wake = wake
        self._events: queue.SimpleQueue[LinkEvent] = queue.SimpleQueue()
        self._over = threading.Event()
        self._abandoned = False
        self._accepted = False
        self._refused_with: int | None = None
        self._problem: Problem | None = None
        self._client = self._new_client(protocol, tls)
        self._client.will_set(will.topic, will.payload, will.qos, will.retain)

    def open(self) -> None:
        """Start connecting, in the background; an `Accepted` or `Ended` tells what came of it."""
        options = self._options
        self._client.connect_async(options.host, options.port, options.keepalive_s)
        self._client.loop_start()

    def events(self) -> Iterator[LinkEvent]:
        """What happened since the last call, in order; does not wait."""
        while True:
            try:
                yield self._events.get_nowait()
            except queue.Empty:
                return

    def send(self, message: Message, left_s: float | None = None) -> int:
        """Hand a message to the network thread; its `Acknowledged` carries the returned mid.

        `left_s`: after so many seconds the broker may forget it (MQTT 5). If the link has just
        ended there will be no answer, but an `Ended`.
        """
        info = self._client.publish(
            message.topic, message.payload, message.qos, message.retain,
            self._properties(message, left_s),
        )  # fmt: skip
        return info.mid

    def subscribe(self, topic: str, *, as_published: bool = False) -> int:
        """Ask for a topic's messages; a `Subscribed` carries the returned mid.

        `as_published`: an `Arrived` is `retained` if it was sent to be kept, not only if it was
        (MQTT 5, 3.8.3.1; 3.1.1 cannot tell). What is too long, or comes faster than it is taken,
        does not arrive.
        """
        if as_published and self._client.protocol == MQTTProtocolVersion.MQTTv5:
            options = SubscribeOptions(1, retainAsPublished=True)
            return self._client.subscribe(topic, options=options)[1] or 0
        return self._client.subscribe(topic, qos=1)[1] or 0

    def unsubscribe(self, topic: str) -> None:
        """Ask for no more of them."""
        self._client.unsubscribe(topic)

    def close(self, timeout_s: float) -> None:
        """Say goodbye, so that the broker drops the last will, or cut the line after `timeout_s`.

        A thread that still asks for the host's address cannot be cut: it ends by itself.
        """
        self._abandoned = True
        self._client.disconnect()
        if not self._over.wait(timeout_s):
            line = self._client.socket()
            if isinstance(line, socket.socket):
                _shut_down(line)
            self._over.wait(_CUT_S)
        if self._over.is_set():
            # Client and link refer to each other: cut here, sockets close now and not some day.
            self._client.on_connect = self._client.on_connect_fail = None
            self._client.on_disconnect = self._client.on_publish = None
            self._client.on_subscribe = self._client.on_message = None
            self._client.when_over = None

    def _new_client(
        self, protocol: MQTTProtocolVersion, tls: ssl.SSLContext | None
    ) -> _ThreadedClient:
        client = _ThreadedClient(
            CallbackAPIVersion.VERSION2,
            client_id=self._options.client_id,
            protocol=protocol,
            reconnect_on_failure=False,
        )
        client.suppress_exceptions = True
        client.connect_timeout = CONNECT_TIMEOUT_S
        if self._options.username is not None:
            client.username_pw_set(self._options.username, self._options.password)
        if tls is not None:
            client.tls_set_context(tls)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.when_over = self._when_over
        return client

    def _properties(self, message: Message, left_s: float | None) -> Properties | None:
        if self._client.protocol != MQTTProtocolVersion.MQTTv5:
            return None
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho's
        if message.correlation is not None:
            properties.CorrelationData = message.correlation
        if left_s is not None:
            properties.MessageExpiryInterval = max(1, math.ceil(left_s))
        return properties

    def _lost(self, reason: ReasonCode | None) -> Problem:
        options = self._options
        return link_lost(
            reason, options.broker, accepted=self._accepted, tls=options.tls is not None
        )

    def _tell(self, event: LinkEvent) -> None:
        self._events.put(event)
        self._wake.set()

    # From here on: paho's network thread.

    def _on_connect(
        self,
        client: paho.Client,
        _userdata: object,
        _flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if self._abandoned:  # closed while the address was looked up
            client.disconnect()
        elif reason.is_failure:
            self._refused_with = reason.value
            self._problem = connect_refused(reason, self._options.broker)
        else:
            self._accepted = True
            window = getattr(properties, "ReceiveMaximum", _RECEIVE_MAXIMUM)
            told = {} if properties is None else properties.json()  # type: ignore[no-untyped-call]
            self._tell(Accepted(window, getattr(properties, "MaximumPacketSize", None), told))

    def _on_connect_fail(self, client: paho.Client, _userdata: object) -> None:
        error = sys.exception()  # paho calls this from its `except OSError`, and passes no error on
        broker, tls = self._options.broker, self._options.tls is not None
        self._problem = connect_failed(error or OSError("no reason given"), broker, tls=tls)
        client.disconnect()  # or paho would wait a second before it gives up

    def _on_disconnect(
        self,
        _client: paho.Client,
        _userdata: object,
        _flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if self._problem is None:
            self._problem = self._lost(reason)

    def _on_publish(
        self,
        _client: paho.Client,
        _userdata: object,
        mid: int,
        reason: ReasonCode,
        _properties: Properties,
    ) -> None:
        self._tell(Acknowledged(mid, reason))

    def _on_subscribe(
        self,
        _client: paho.Client,
        _userdata: object,
        mid: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        for reason in reasons:  # one, as topics are subscribed to one by one
            self._tell(Subscribed(mid, reason))

    def _on_message(
        self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage
    ) -> None:
        if len(message.payload) > _MOST_BYTES or self._events.qsize() >= _MOST_WAITING:
            return
        try:
            topic = message.topic
        except UnicodeDecodeError:  # a broker that lets such a topic through
            return
        asked = message.properties  # absent in MQTT 3.1.1, and each of them may be
        self._tell(
            Arrived(
                topic,
                bytes(message.payload),
                message.retain,
                response_topic=getattr(asked, "ResponseTopic", None),
                correlation=getattr(asked, "CorrelationData", None),
            )
        )

    def _when_over(self, error: Exception | None) -> None:
        problem = self._problem
        if problem is None and error is not None:
            problem = nonsense(error, self._options.broker)
        if problem is None:
            problem = self._lost(None)
        refused = self._refused_with == UNSUPPORTED_PROTOCOL
        self._over.set()
        self._tell(Ended(problem, self._accepted, refused))


class _ThreadedClient(paho.Client):
    """paho's client, whose thread says when it ends, whatever ended it.

    `loop_forever` is what `loop_start` runs; paho tells nobody when it returns, and what it raises
    over a host name it cannot encode or a packet it cannot read would only reach standard error.
    """

    when_over: Callable[[Exception | None], None] | None = None

    def loop_forever(
        self,
        timeout: float = 1.0,
        retry_first_connection: bool = False,  # noqa: FBT001, FBT002  # paho's signature
    ) -> MQTTErrorCode:
        error: Exception | None = None
        rc = MQTTErrorCode.MQTT_ERR_PROTOCOL
        try:
            rc = super().loop_forever(timeout, retry_first_connection)
        except _UNREADABLE as unreadable:
            error = unreadable
        finally:
            if self.when_over is not None:
                self.when_over(error)
        return rc


def _shut_down(line: socket.socket) -> None:
    try:
        line.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it was closed in the same moment, which is what was wanted
