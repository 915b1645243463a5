"""Where does an outcome go?

Knows no rule and no connection: one outcome in; rows in the store, messages in the outbox and
lines in the log out.
"""

from __future__ import annotations

from daemon.eventlog import EventLog
from daemon.mqtt.payloads import event_content, event_messages
from daemon.mqtt.topics import Topics
from daemon.outbox import Outbox
from daemon.store import Store
from pipelines.clock import Clock
from pipelines.types import Outcome


class EventSink:
    """Hands outcomes on from the inference thread; never blocks on a broker, never raises for one.

    Without a broker `outbox` is None, and without a store `store`; `log` may be None as well.
    """

    def __init__(
        self,
        clock: Clock,
        topics: Topics,
        log: EventLog | None,
        outbox: Outbox | None,
        store: Store | None = None,
    ) -> None:
        self._clock = clock
        self._topics = topics
        self._log = log
        self._outbox = outbox
        self._store = store

    def publish(self, outcome: Outcome) -> None:
        """Tell everyone. The store first: an event that was told must be known after a crash."""
        now_s = self._clock.monotonic_s()
        contents = [event_content(e, (now_s - e.captured_s) * 1000) for e in outcome.events]
        if self._store is not None:
            self._store.record(outcome, contents)
        for event, content in zip(outcome.events, contents, strict=True):
            if self._outbox is not None:
                for message in event_messages(self._topics, event, content):
                    self._outbox.put(message)
            if self._log is not None:
                self._log.append(content)
