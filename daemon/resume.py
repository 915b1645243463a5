"""What becomes of the incidents that were open when the daemon ended?

Knows the store, the rules and the time; no model and no topic. After a clean stop there are none.
After a crash they go on where they were, if it was short; else they are closed, and say so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import structlog

from daemon.lookout import ALIVE
from daemon.store import Store
from pipelines.clock import Clock
from pipelines.inference import InferenceWorker
from pipelines.rules import RuleBook

GONE_S: Final = 30.0  # as with a camera: after so long without a look, what was true is not known


def resume(
    store: Store, books: Mapping[str, RuleBook], inference: InferenceWorker, clock: Clock
) -> None:
    """Let every camera's rules go on from what is stored; votes and cooldowns with them."""
    now_s, now = clock.monotonic_s(), clock.wall_time()
    alive = store.recall(ALIVE)
    # A clock that was set back counts as long, too: nobody knows how long it was.
    gone_s = now - alive[1] if alive is not None and alive[1] <= now else math.inf
    log = structlog.get_logger(__name__)
    still_open: list[str] = []
    for camera, book in books.items():
        if alive is not None and gone_s < math.inf:
            store.span(camera, "not running", "smolwatch was not running", alive[1], now)
        remembered = store.recall(f"rules/{camera}")
        if remembered is None:
            continue
        if not book.recall(remembered[0], now_s - now):
            log.warning("rules.forgotten", camera=camera, hint="they begin anew, closed")
            continue
        incidents = book.open_incidents
        still_open += [incident.incident_id for incident in incidents.values()]
        if gone_s > GONE_S:
            inference.camera_lost(camera, "smolwatch was not running")
        if incidents:
            log.info("rules.resumed", camera=camera, open=list(incidents), away_s=round(gone_s, 1))
    store.close_others(still_open, now)
