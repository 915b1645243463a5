"""How does what rules remember outlive the process?

Knows the states' fields; no file. Times are monotonic, and a reboot begins them anew: so the text
holds one moment by both clocks, and what is read back is moved by the difference.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from pipelines.rules.incident import Incident, RuleState

FORMAT = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Memory:
    """All that is remembered of one camera."""

    states: Mapping[str, RuleState]  # by rule
    at_s: float  # monotonic, of the newest look; only means something beside `wall_time`
    wall_time: float  # Unix seconds of the same look
    model_id: str  # of that look, for events that are told before the next one
    prompt_sha256: str
    disarmed: tuple[str, ...] = ()


def dump(memory: Memory) -> str:
    """As one line of JSON."""
    return json.dumps({"format": FORMAT, **dataclasses.asdict(memory)}, separators=(",", ":"))


def load(text: str, offset_s: float) -> Memory | None:
    """Read it back; None for what an older or newer smolwatch wrote.

    `offset_s` is monotonic minus wall time, now.
    """
    try:
        found = json.loads(text)
        if found.pop("format") != FORMAT:
            return None
        moved_s = offset_s - (found["at_s"] - found["wall_time"])
        states = {name: _state(state, moved_s) for name, state in found.pop("states").items()}
        found["at_s"] += moved_s
        found["disarmed"] = tuple(found["disarmed"])
        return Memory(states=states, **found)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _state(found: Mapping[str, Any], moved_s: float) -> RuleState:
    incident = found["incident"]
    if incident is not None:
        incident = Incident(**{**incident, "since_s": incident["since_s"] + moved_s})
    return RuleState(
        votes=tuple(found["votes"]),
        incident=incident,
        last_event_s=_moved(found["last_event_s"], moved_s),
        voted_s=tuple(time_s + moved_s for time_s in found["voted_s"]),
        true_since_s=_moved(found["true_since_s"], moved_s),
        steps=tuple(_state(step, moved_s) for step in found["steps"]),
        reached_s=tuple(_moved(time_s, moved_s) for time_s in found["reached_s"]),
    )


def _moved(time_s: float | None, moved_s: float) -> float | None:
    return None if time_s is None else time_s + moved_s
