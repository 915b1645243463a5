"""Where does an event go?

Knows no rule and no connection: one event in, a line in the log and messages in the outbox out.
"""

from __future__ import annotations

from daemon.eventlog import EventLog
from daemon.mqtt.payloads import event_content, event_messages
from daemon.mqtt.topics import Topics
from daemon.outbox import Outbox
from pipelines.clock import Clock
from pipelines.types import Event


class EventSink:
    """Hands events on from the inference thread; never blocks on a broker, never raises for one.

    Without a broker `outbox` is None, and the log is all there is; `log` may be None as well.
    """

    def __init__(
        self, clock: Clock, topics: Topics, log: EventLog | None, outbox: Outbox | None
    ) -> None:
        self._clock = clock
        self._topics = topics
        self._log = log
        self._outbox = outbox

    def publish(self, event: Event) -> None:
        """Tell everyone: the broker first, it is the one somebody waits for."""
        total_ms = (self._clock.monotonic_s() - event.captured_s) * 1000
        content = event_content(event, total_ms)
        if self._outbox is not None:
            for message in event_messages(self._topics, event, content):
                self._outbox.put(message)
        if self._log is not None:
            self._log.append(content)
