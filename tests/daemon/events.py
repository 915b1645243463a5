"""What does an event look like in a test?

Knows no test: one sensible event, of which each test changes what it is about.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pipelines.types import Event, Timings

MATCH = Event(
    event_id="01JD000000000000000000MATCH",
    incident_id="01JD0000000000000000000000",
    event_type="rule_match",
    camera="porch",
    rule="package_delivered",
    severity="alert",
    score=0.83127,
    wall_time=1_795_348_800.123,  # 2026-11-22T12:00:00.123Z
    captured_s=1000.0,
    text=None,
    timings=Timings(queue_ms=3.4, encode_ms=210.2, prefill_ms=340.1, decode_ms=0.0),
    model_id="bundled",
    prompt_sha256="ab" * 32,
)
DESCRIBE = replace(
    MATCH,
    event_id="01JD00000000000000DESCRIBE",
    incident_id=None,
    event_type="describe",
    rule=None,
    severity="info",
    score=None,
    text="A car arrives.",
)


def match(number: int = 1, **changes: Any) -> Event:
    """A rule match whose event id says which one it is."""
    return replace(MATCH, event_id=f"01JD{number:022d}", **changes)
