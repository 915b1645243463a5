"""Where do answers to requests wait for the broker?

Knows no request. In memory, few, and not for long: an answer is for somebody who waits for it now,
so that neither a restart nor an hour's outage is worth surviving.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

from daemon.mqtt.payloads import Message
from pipelines.clock import Clock

MOST: Final = 200
KEPT_S: Final = 60.0


class Replies:
    """Answers, in the order in which they were given. Thread-safe.

    `news` is set with each: the publisher waits on it. `dropped` counts those for which there was
    no room, or that nobody took in time.
    """

    def __init__(self, clock: Clock, news: threading.Event) -> None:
        self.dropped = 0
        self._clock = clock
        self._news = news
        self._lock = threading.Lock()
        self._waiting: deque[tuple[float, Message]] = deque()

    def put(self, message: Message) -> None:
        """Append; when there is no room, the oldest goes. Neither blocks nor raises."""
        with self._lock:
            self._waiting.append((self._clock.monotonic_s() + KEPT_S, message))
            if len(self._waiting) > MOST:
                self._waiting.popleft()
                self.dropped += 1
        self._news.set()

    def take(self) -> Message | None:
        """The oldest that is still of use."""
        with self._lock:
            while self._waiting:
                until_s, message = self._waiting.popleft()
                if self._clock.monotonic_s() < until_s:
                    return message
                self.dropped += 1
            return None

    def __len__(self) -> int:
        return len(self._waiting)
