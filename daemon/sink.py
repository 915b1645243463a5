"""Where does an outcome go?

Knows no rule and no connection: one outcome in; rows in the store, messages in the outbox and
lines in the log out.
"""

from __future__ import annotations

from functools import partial

from daemon.eventlog import EventLog
from daemon.media_links import MediaLinks
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
        links: MediaLinks | None = None,
    ) -> None:
        """`links`: as what pictures are told over MQTT; None: by their names in the folder."""
        self._clock = clock
        self._topics = topics
        self._log = log
        self._outbox = outbox
        self._store = store
        self._links = links or MediaLinks(None, None)

    def publish(self, outcome: Outcome) -> None:
        """Tell everyone. What is told and what is known of it are written down as one."""
        now_s = self._clock.monotonic_s()
        contents = [event_content(e, (now_s - e.captured_s) * 1000) for e in outcome.events]
        messages = [
            message
            for event, content in zip(outcome.events, contents, strict=True)
            for message in event_messages(self._topics, event, self._links.as_urls(content))
        ]
        if self._outbox is not None and messages:
            store = self._store
            record = partial(store.record, outcome, contents) if store is not None else None
            self._outbox.put_all(messages, record)
        elif self._store is not None:
            self._store.record(outcome, contents)
        for content in contents:
            if self._log is not None:
                self._log.append(content)
