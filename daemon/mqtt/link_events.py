"""What can happen on a connection to the broker?

Knows no connection: a `Link` puts these in a queue, the publisher takes them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from paho.mqtt.reasoncodes import ReasonCode

from daemon.mqtt.reasons import Problem


@dataclass(frozen=True, slots=True)
class Accepted:
    """The broker answered CONNECT with a yes and takes so many unacknowledged messages.

    `max_packet`: bytes of the longest packet that it takes; None if it did not say (MQTT 3.1.1).
    `told`: all that it said of itself, under MQTT 5's names without spaces (3.2.2.3).
    """

    receive_maximum: int
    max_packet: int | None = None
    told: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The broker answered one message; `reason` of 0x80 and above is a refusal."""

    mid: int
    reason: ReasonCode


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The broker answered one subscription; `reason` of 0x80 and above is a refusal."""

    mid: int
    reason: ReasonCode


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message that the broker delivered. `retained`: it was kept, and is no news.

    `response_topic` and `correlation` are where MQTT 5 wants the answer (4.10), and with what mark.
    """

    topic: str
    payload: bytes
    retained: bool
    response_topic: str | None = None
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """The connection is over, or never came about. The last event of a link."""

    problem: Problem
    accepted: bool
    protocol_refused: bool = False


LinkEvent = Accepted | Acknowledged | Subscribed | Arrived | Ended
