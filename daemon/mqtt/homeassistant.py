"""What is Home Assistant told, when, and when once more?

Knows no connection and no clock: it is told what the broker delivers and what time it is, and
returns what is to be sent. What an earlier run announced is read from the broker, which keeps it:
there it is also after a new disk, or from another machine; a file of our own would not know.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from daemon.mqtt.discovery import Site, message, removal
from daemon.mqtt.discovery_schemas import Platform
from daemon.mqtt.link_events import Arrived
from daemon.mqtt.payloads import Message
from daemon.mqtt.records import CameraEntry

log = structlog.get_logger(__name__)

STATUS_TOPIC = "homeassistant/status"  # its birth message; a setting apart from the prefix
LEARN_S = 10.0  # for the broker to deliver what it has kept
SETTLE_S = 3.0  # from its birth message to our answer: it is busy, and may come and go
UNSEEN_S = 300.0  # so old may an alert be that it missed, if nobody saw it go
AGAIN_S = 30.0  # between two answers at least, however often it restarts


class HomeAssistant:
    """Announces the bridge and the cameras, takes back what is gone, answers birth messages.

    Times are monotonic seconds. Nothing that arrives makes it raise.
    """

    def __init__(self, site: Site, cameras: Sequence[CameraEntry]) -> None:
        self._site = site
        self._devices = site.devices(cameras)
        self._removed: dict[str, dict[str, Platform]] = {topic: {} for topic in self._devices}
        self._learned_s: float | None = None  # until then the broker delivers what it has kept
        self._answer_s: float | None = None
        self._answered_s = -AGAIN_S
        self._offline_s: float | None = None
        self.kept_topics = f"{site.prefix}/device/+/config"

    @property
    def topics(self) -> tuple[str, ...]:
        """Where it announces."""
        return tuple(self._devices)

    def connected(self, now_s: float) -> tuple[str, ...]:
        """A link is up: the topics to subscribe to, before anything is announced on it."""
        self._learned_s = now_s + LEARN_S
        return STATUS_TOPIC, self.kept_topics

    def messages(self) -> tuple[Message, ...]:
        """All discovery messages; they go before the states they tell of."""
        return tuple(
            message(topic, device, self._removed[topic]) for topic, device in self._devices.items()
        )

    def change(self, cameras: Sequence[CameraEntry]) -> tuple[Message, ...]:
        """There are these cameras from now on: what is to be sent because of it."""
        before, now = self._devices, self._site.devices(cameras)
        removed = {topic: dict(self._removed.get(topic, {})) for topic in now}
        for topic, device in now.items():
            old = before[topic]["components"] if topic in before else {}
            gone = removed[topic] | {key: of["platform"] for key, of in old.items()}
            here = device["components"]
            removed[topic] = {key: of for key, of in gone.items() if key not in here}
        self._removed = {**self._removed, **removed}  # first: `hear` is another thread's
        self._devices = now
        changed = [topic for topic, device in now.items() if before.get(topic) != device]
        return (
            *(removal(topic) for topic in before if topic not in now),
            *(message(topic, now[topic], removed[topic]) for topic in changed),
        )

    def hear(self, arrived: Arrived, now_s: float) -> tuple[Message, ...]:
        """Take in what was delivered; what is to be sent because of it."""
        if arrived.topic == STATUS_TOPIC:
            if arrived.payload == b"offline" and self._offline_s is None:
                self._offline_s = now_s
            elif arrived.payload == b"online" and not arrived.retained and self._answer_s is None:
                self._answer_s = max(now_s + SETTLE_S, self._answered_s + AGAIN_S)
            return ()
        # News is our own words, or those of somebody with the same names: answering would not end.
        return self._compare(arrived) if arrived.retained else ()

    def learned(self, now_s: float) -> bool:
        """True once a link, when there is no more to learn from what the broker has kept."""
        if self._learned_s is None or now_s < self._learned_s:
            return False
        self._learned_s = None
        return True

    def answer_due(self, now_s: float) -> float | None:
        """When everything is to be told once more: since when it may have missed alerts.

        It drops events while it starts, although the broker has delivered them. The next time is
        not before `AGAIN_S`.
        """
        if self._answer_s is None or now_s < self._answer_s:
            return None
        since_s = now_s - SETTLE_S - UNSEEN_S if self._offline_s is None else self._offline_s
        self._answer_s, self._answered_s, self._offline_s = None, now_s, None
        log.info("homeassistant.online", announced=len(self._devices))
        return since_s

    def _compare(self, kept: Arrived) -> tuple[Message, ...]:
        components = self._site.announced(kept.topic, kept.payload)
        if components is None:
            return ()
        device = self._devices.get(kept.topic)
        if device is None:
            log.info("homeassistant.device_removed", topic=kept.topic)
            return (removal(kept.topic),)
        gone = {key: of for key, of in components.items() if key not in device["components"]}
        removed = self._removed[kept.topic]
        if gone.keys() <= removed.keys():
            return ()
        removed.update(gone)
        log.info("homeassistant.entities_removed", topic=kept.topic, entities=sorted(gone))
        return (message(kept.topic, device, removed),)
