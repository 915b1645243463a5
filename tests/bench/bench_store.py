"""How long does a window wait for the store, and a person for an answer?

Knows the store alone: `python -m tests.bench.bench_store --rows 10000000` fills one with that many
observations, then writes as the inference thread does while the keeper deletes as fast as it can.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from random import Random

from daemon.mqtt.payloads import event_content
from daemon.store import Limits, Store
from daemon.store_events import EventFilter, events
from daemon.store_file import checkpoint
from daemon.store_queries import why
from pipelines.clock import SystemClock
from pipelines.types import Observation, Outcome, Timings
from tests.daemon.events import match

CAMERAS = ("porch", "garage", "yard", "attic")
QUESTIONS = [f"Is there a thing of kind {n}?" for n in range(5)]
STRIDE_S = 2.0
LOOKS = 2000


def look(n: int, at: float, description: str | None = None) -> Outcome:
    """One observation; every tenth with an event, as in a busy minute."""
    camera = CAMERAS[n % len(CAMERAS)]
    seen = Observation(
        camera, n, 0.0, 7.0, at, dict.fromkeys(QUESTIONS, n % 97 / 97), description,
        Timings(3.0, 210.0, 340.0, 0.0), "tiny@1", "ab" * 32,
    )  # fmt: skip
    return Outcome(camera, seen, dict.fromkeys(QUESTIONS, "open_above: 0.7"), (), "{}")


def fill(store: Store, rows: int, now: float) -> None:
    """Write `rows` observations that end now, in big transactions, by SQL alone."""
    store.record(look(0, now - rows * STRIDE_S), ())
    connection = store._connection
    first = connection.execute("SELECT * FROM observations").fetchone()
    connection.execute("BEGIN")
    for n in range(rows):
        at = now - (rows - n) * STRIDE_S / len(CAMERAS)
        row = (CAMERAS[n % len(CAMERAS)], at - 7, at, *first[4:9])
        connection.execute(
            "INSERT INTO observations (camera, started, ended, questions, answers, verdicts,"
            " timings, model) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )
        if n % 30 == 0:
            text = ("A dog runs past.", "A car arrives and parks.")[n % 7 == 0]
            connection.execute(
                "INSERT INTO descriptions (camera, ended, text) VALUES (?, ?, ?)",
                (CAMERAS[n % len(CAMERAS)], at, f"{text} It is number {n}."),
            )
            connection.execute(
                "INSERT INTO events (event_id, event_type, camera, at, description, content)"
                " VALUES (?, 'describe', ?, ?, last_insert_rowid(), '{}')",
                (f"d{n}", CAMERAS[n % len(CAMERAS)], at),
            )
    connection.execute("COMMIT")
    checkpoint(store.path)


def spread(seconds: list[float]) -> dict[str, float]:
    """Milliseconds: median, 99th of a hundred, worst."""
    ms = sorted(s * 1e3 for s in seconds)
    return {
        "p50": round(statistics.median(ms), 3),
        "p99": round(ms[int(len(ms) * 0.99)], 3),
        "max": round(ms[-1], 3),
    }


def writes(store: Store, now: float, every: int) -> dict[str, dict[str, float]]:
    """Time `record` as the inference thread calls it: with an event every so often."""
    plain, durable = [], []
    for n in range(LOOKS):
        told = look(n, now + n)
        if n % every == 0:
            event = match(int(now) * 10_000 + n, incident_id=f"{now}-{n}")
            told = dataclasses.replace(told, events=(event,))
        contents = [event_content(event, 1.0) for event in told.events]
        began = time.perf_counter()
        store.record(told, contents)
        (durable if told.events else plain).append(time.perf_counter() - began)
        time.sleep(0.002)
    return {"observation": spread(plain), "event (fsync)": spread(durable)}


def queries(path: Path, now: float, rows: int) -> dict[str, dict[str, float]]:
    """Time `why` at random moments and searches for a rare and a frequent word."""
    random = Random(0)
    spent: dict[str, list[float]] = {"why": [], "search, rare": [], "search, frequent": []}
    span_s = rows * STRIDE_S / len(CAMERAS)
    for n in range(100):
        rare = EventFilter(search=str(30 * random.randrange(rows // 30)))
        for name, question in (
            ("why", partial(why, path, CAMERAS[n % 4], now - random.random() * span_s)),
            ("search, rare", lambda rare=rare: list(events(path, rare))),
            ("search, frequent", lambda: list(events(path, EventFilter(search="dog")))),
        ):
            began = time.perf_counter()
            question()
            spent[name].append(time.perf_counter() - began)
    return {name: spread(seconds) for name, seconds in spent.items()}


def main() -> None:
    """Fill, write, write while pruning; print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dir", type=Path, default=None, help="on the disk that is meant")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.dir) as folder:
        path = Path(folder) / "s.db"
        now = time.time()
        store = Store(path, Limits(max_age_s=1e9, max_bytes=1 << 50), SystemClock())
        fill(store, chosen.rows, now)
        figures: dict[str, object] = {
            "rows": chosen.rows,
            "bytes_a_row": round(path.stat().st_size / chosen.rows),
            "ms, queries": queries(path, now, chosen.rows),
        }
        alone = writes(store, now, every=10)
        figures["ms, alone"] = alone
        store.close()
        store = Store(path, Limits(max_age_s=60.0, max_bytes=1 << 50), SystemClock())
        stop = threading.Event()
        keeper = threading.Thread(target=store.keep, args=(stop,))
        keeper.start()
        began = time.perf_counter()
        pruning = writes(store, now + 1e6, every=10)
        spent = time.perf_counter() - began
        figures["ms, while pruning"] = pruning
        figures["ratio, while pruning to alone"] = {
            kind: {of: round(pruning[kind][of] / alone[kind][of], 1) for of in ("p50", "p99")}
            for kind in alone
        }
        stop.set()
        keeper.join()
        left = store._connection.execute("SELECT count(*) FROM observations").fetchone()[0]
        figures["pruned a second"] = round((chosen.rows + 2 * LOOKS - left) / spent)
        store.close()
    print(json.dumps(figures, indent=2))  # noqa: T201 - a bench's result


if __name__ == "__main__":
    main()
