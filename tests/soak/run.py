"""What happens in a soak, from the first start to the table?

Knows the order: set the stage, do each fault in its time, mend all, wait until nothing waits, stop,
read what was told, judge.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from tests import payload_schemas
from tests.soak.recorder import Arrival
from tests.soak.schedule import Fault, schedule
from tests.soak.stage import RTSP_CAMERAS, Stage, may_mount, stage
from tests.soak.table import table
from tests.soak.verdict import Recorded, failures

HEALTH: Final = "smolwatch/bridge/health"
TICK_S: Final = 0.5
SAMPLE_EVERY: Final = 4  # ticks
SHOW_EVERY: Final = 1200  # ticks
START_S: Final = 180.0  # for the daemon to be ready on a machine that is busy
DRAIN_S: Final = 120.0  # for what waits to arrive, once all is mended


def soak(folder: Path, seconds: float, seed: int) -> list[str]:
    """Run it, print a table every ten minutes and in the end, and return what was wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    small_disk = may_mount(folder)
    faults = schedule(seed, seconds, RTSP_CAMERAS, has_disk=small_disk)
    with stage(folder, seed, small_disk=small_disk) as set_up:

        def show(now_s: float) -> Recorded:
            recorded = _recorded(set_up, folder)
            spans = _blind(set_up.disk / "smolwatch.db")
            done = [fault for fault in faults if fault.at_s <= now_s]
            for line in table(recorded, done, set_up.recorder.arrivals, spans, seed, now_s):
                print(line, flush=True)  # noqa: T201 - a program's output
            return recorded

        _run(set_up, faults, seconds, show)
        wrong = failures(show(seconds))
        payload_schemas.check((a.topic, a.payload) for a in set_up.recorder.arrivals)
    for line in wrong or ["nothing was lost, nothing grew"]:
        print(f"{'WRONG: ' if wrong else ''}{line}", flush=True)  # noqa: T201
    return wrong


def _run(
    set_up: Stage, faults: list[Fault], seconds: float, show: Callable[[float], object]
) -> None:
    pause = threading.Event()
    _wait_ready(set_up, pause)
    begun_s = set_up.now_s
    steps = sorted(
        [(fault.at_s, 1, fault) for fault in faults]
        + [(fault.until_s, 0, fault) for fault in faults if fault.until_s > fault.at_s],
        key=lambda step: (step[0], step[1]),
    )
    for tick in range(10**9):
        now_s = set_up.now_s - begun_s
        if now_s >= seconds:
            break
        while steps and steps[0][0] <= now_s:
            _, begins, fault = steps.pop(0)
            (set_up.begin if begins else set_up.end)(fault)
            _say(set_up, f"{fault.part}: {fault.kind}{'' if begins else ', mended'}")
        if tick % SAMPLE_EVERY == 0:
            set_up.process.look()
        if tick % SHOW_EVERY == SHOW_EVERY - 1:
            show(round(now_s / 60) * 60)
        pause.wait(TICK_S)
    for _, begins, fault in steps:
        if not begins:
            set_up.end(fault)
    _wait_ready(set_up, pause)
    _wait_drained(set_up, pause)
    set_up.process.stop()


def _wait_ready(set_up: Stage, pause: threading.Event) -> None:
    """Until it captures and its model is loaded."""
    for _ in range(round(START_S / TICK_S)):
        set_up.process.look()
        told = _health_since(set_up, set_up.process.life.begun_s)
        if told is not None and told["model_state"] == "ready":
            return
        pause.wait(TICK_S)
    raise AssertionError(f"not ready after {START_S:.0f} s: see {set_up.process.log}")


def _wait_drained(set_up: Stage, pause: threading.Event) -> None:
    """Until a health that was told after the mending says that nothing waits."""
    mended_s = set_up.now_s
    for _ in range(round(DRAIN_S / TICK_S)):
        told = _health_since(set_up, mended_s + 20.0)
        if told is not None and told["outbox"]["oldest_s"] < 5.0:
            return
        set_up.process.look()
        pause.wait(TICK_S)
    _say(set_up, "the outbox did not drain")


def _health_since(set_up: Stage, since_s: float) -> dict[str, Any] | None:
    told = set_up.recorder.newest(HEALTH)
    return told.content if told is not None and told.at_s > since_s else None


def _recorded(set_up: Stage, folder: Path) -> Recorded:
    db = set_up.disk / "smolwatch.db"
    arrivals = list(_alerts(set_up.recorder.arrivals))
    lines = list(_log_lines(set_up.process.log))
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as store:
        told = [
            str(row[0])
            for row in store.execute(
                "SELECT event_id FROM events WHERE event_type LIKE 'rule_%' ORDER BY id"
            )
        ]
        waiting = frozenset(
            str(json.loads(row[0])["event_id"])
            for row in store.execute("SELECT payload FROM outbox WHERE topic LIKE '%/event'")
        )
    return Recorded(
        told=told,
        logged=[line["event_id"] for line in _event_log(folder)],
        waiting=waiting,
        arrived=[content["event_id"] for _, content in arrivals],
        lives=set_up.process.lives,
        errors=Counter(line["event"] for line in lines if line.get("level") == "error"),
        tracebacks=set_up.process.log.read_text(errors="replace").count("Traceback"),
        log_events=Counter(line["event"] for line in lines),
        offline=Counter(line["cause"] for line in lines if line.get("state") == "offline"),
        windows=_windows(set_up.recorder.arrivals),
    )


def _windows(arrivals: list[Arrival]) -> int:
    """How many the model looked at, over all lives: each begins to count anew."""
    total = before = 0
    for arrival in arrivals:
        if arrival.topic == HEALTH and arrival.payload:
            now = int(arrival.content["windows_run"])
            total += now - before if now >= before else now
            before = now
    return total


def _alerts(arrivals: list[Arrival]) -> Iterator[tuple[Arrival, dict[str, Any]]]:
    for arrival in arrivals:
        if arrival.topic.endswith("/event") and arrival.payload:
            content = arrival.content
            if content["event_type"].startswith("rule_"):
                yield arrival, content


def _event_log(folder: Path) -> Iterator[dict[str, Any]]:
    for name in ("events.jsonl.1", "events.jsonl"):
        path = folder / name
        for line in path.read_text().splitlines() if path.exists() else ():
            content = json.loads(line)
            if content["event_type"].startswith("rule_"):
                yield content


def _log_lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(errors="replace").splitlines():
        if line.startswith("{"):
            yield json.loads(line)


def _blind(db: Path) -> dict[str, float]:
    """Seconds without a window by cause, over all cameras."""
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as store:
        found = store.execute("SELECT cause, sum(ended - started) FROM spans GROUP BY cause")
        return {str(cause): float(seconds) for cause, seconds in found}


def _say(set_up: Stage, what: str) -> None:
    print(f"{set_up.now_s:7.1f} s  {what}", flush=True)  # noqa: T201
