"""What arrived over MQTT, and when?

Knows a broker that comes and goes; a real client that asks again for everything on each link.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

TOPIC: Final = "smolwatch/#"
# Longer than any broker is frozen: a link that the recorder gave up would lose what comes then.
_KEEPALIVE_S: Final = 600


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message."""

    at_s: float  # since the soak began
    topic: str
    payload: bytes

    @property
    def content(self) -> dict[str, Any]:
        return dict(json.loads(self.payload))


class Recorder:
    """Keeps all that arrives, in order. `listening` while the broker has its subscription."""

    def __init__(self, port: int, began_s: float) -> None:
        self.arrivals: list[Arrival] = []
        self.listening = threading.Event()
        self._began_s = began_s
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(TOPIC, qos=1)
        self._client.on_subscribe = lambda *_: self.listening.set()
        self._client.on_disconnect = lambda *_: self.listening.clear()
        self._client.on_message = self._keep
        self._client.connect("127.0.0.1", port, keepalive=_KEEPALIVE_S)
        self._client.loop_start()

    def newest(self, topic: str) -> Arrival | None:
        """The last message on a topic."""
        return next((a for a in reversed(self.arrivals) if a.topic == topic), None)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _keep(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        now_s = time.monotonic() - self._began_s
        self.arrivals.append(Arrival(now_s, message.topic, bytes(message.payload)))
