"""What is a person told of that the broker refuses?

Knows no outbox and no link: topics and reasons in, one line of the log a topic out.
"""

from __future__ import annotations

import structlog

from daemon.mqtt.options import MqttOptions
from daemon.mqtt.refusals import Refusal

log = structlog.get_logger(__name__)

_NOT_AUTHORIZED = 0x87


class Complaints:
    """Says once of a topic that it is refused, until the broker has taken a message there."""

    def __init__(self, options: MqttOptions) -> None:
        self._base = f"{options.base_topic}/"
        self._user = f"user {options.username!r}"
        self._said: set[str] = set()

    def accepted(self, topic: str) -> None:
        """The broker took a message: the next refusal is news."""
        self._said.discard(topic)

    def refused(self, topic: str, why: Refusal, *, is_reply: bool) -> None:
        """The broker did not take one, or will not."""
        if is_reply:  # who asks chooses the topic of the answer: one line for all of them
            topic = "a response topic"
        if topic in self._said:
            return
        self._said.add(topic)
        hint = "smolwatch mqtt dead-letters lists what was refused"
        if why.code == _NOT_AUTHORIZED:
            where = f"{self._base}#" if topic.startswith(self._base) else topic
            hint = f"let {self._user} write to {where} in the broker's access list"
        log.error("mqtt.publish_refused", topic=topic, reason=why.reason, hint=hint)

    def unreadable(self, topic: str, reason: str) -> None:
        """The broker will not deliver from there."""
        hint = f"let {self._user} read {topic} in the broker's access list"
        log.error("mqtt.subscribe_refused", topic=topic, reason=reason, hint=hint)
