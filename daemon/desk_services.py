"""What can the daemon have done for those who ask over MQTT?

Knows the parts and joins them for `daemon.desk`; knows no request.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from daemon import __version__
from daemon.ask_back import picture_of
from daemon.config_sections import MqttConfig
from daemon.mqtt import payloads
from daemon.mqtt.homeassistant import STATUS_TOPIC
from daemon.mqtt.payloads import Message, iso_utc
from daemon.mqtt.reading import Reader
from daemon.mqtt.topics import Topics
from daemon.outbox import Outbox
from daemon.settings import Settings
from pipelines.capture import CaptureWorker
from pipelines.errors import SmolwatchError
from pipelines.packet_ring import PacketRing
from pipelines.ring import FrameRing

Json = dict[str, Any]


class NoPicture(SmolwatchError):
    """There is no picture of now; the message says why."""


class Photographer:
    """Publishes a camera's newest picture, masked as everything in a ring."""

    def __init__(
        self,
        topics: Topics,
        captures: Mapping[str, CaptureWorker],
        rings: Mapping[str, FrameRing],
        recordings: Mapping[str, PacketRing],
        outbox: Outbox | None,
    ) -> None:
        self._topics = topics
        self._captures = captures
        self._rings = rings
        self._recordings = recordings
        self._outbox = outbox

    def snapshot(self, camera: str) -> Json:
        """Put it on the camera's topic, and tell of it. Raises `NoPicture`."""
        capture = self._captures[camera]
        if not capture.is_enabled:  # its health says so only when its thread has let go
            raise NoPicture(f"{camera} is switched off: switch it on first")
        health, frame = capture.health(), self._rings[camera].newest()
        if health.state != "online" or frame is None:
            why = health.message or "it has sent no picture yet: ask again in a while"
            raise NoPicture(f"{camera} has no picture of now: {why}")
        jpeg = picture_of(frame, self._recordings.get(camera))
        told = payloads.snapshot(self._topics, camera, jpeg)
        if self._outbox is not None:
            self._outbox.put(told)
        return {
            "camera": camera,
            "topic": told.topic,
            "ts": iso_utc(frame.wall_time),
            "bytes": len(jpeg),
        }


def contents(messages: Mapping[str, Callable[[], Message]]) -> dict[str, Callable[[], Json]]:
    """What answers with what is published anyway, by operation; and `ping`."""

    def content(make: Callable[[], Message]) -> Json:
        told: Json = json.loads(make().payload)
        return told

    made = {operation: partial(content, make) for operation, make in messages.items()}
    return {**made, "ping": lambda: {"version": __version__}}


def reader(mqtt: MqttConfig, topics: Topics, settings: Settings) -> Reader:
    """What reads the commands that the configuration allows."""
    cameras = {name: settings.rules(name) for name in settings.cameras}
    prefixes = (mqtt.discovery_prefix, STATUS_TOPIC.partition("/")[0])
    return Reader(topics, mqtt.commands, cameras, elsewhere=prefixes)
