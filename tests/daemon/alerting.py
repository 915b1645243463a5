"""What is a daemon's part from event to broker, as a process of its own that can be killed?

Knows no test: `python -m tests.daemon.alerting PORT STORE FIRST COUNT` records so many alerts, says
`told`, and publishes until it is ended. The parts are the daemon's own.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from daemon.mqtt.options import MqttOptions
from daemon.mqtt.retry import Retry
from daemon.mqtt.topics import Topics
from daemon.outbox import Outbox
from daemon.publisher import Publisher
from daemon.sink import EventSink
from daemon.store import Limits, Store
from pipelines.clock import SystemClock
from pipelines.types import Outcome
from tests.daemon.events import match

WAIT_S = 60.0


def main(port: int, path: Path, first: int, count: int) -> None:
    clock = SystemClock()
    store = Store(path, Limits(), clock)
    outbox = Outbox(clock, store)
    sink = EventSink(clock, Topics(), None, outbox, store)
    publisher = Publisher(outbox, MqttOptions("127.0.0.1", port), clock, Retry(0.05, 0.2, 0.2))
    thread = threading.Thread(target=publisher.run, args=(threading.Event(),))
    thread.start()
    for n in range(first, first + count):
        event = match(n, incident_id=f"incident-{n}")
        sink.publish(Outcome("porch", None, {}, (event,), None))
    sys.stdout.write("told\n")
    sys.stdout.flush()
    thread.join()


@contextmanager
def alerting(port: int, path: Path, first: int = 0, count: int = 0) -> Iterator[None]:
    """Such a process, that has told its alerts; killed with SIGKILL at the end of the block."""
    command = [sys.executable, "-m", "tests.daemon.alerting", str(port), str(path)]
    child = subprocess.Popen([*command, str(first), str(count)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    told = threading.Event()
    reader = threading.Thread(target=_listen, args=(child.stdout, told))
    reader.start()
    try:
        assert told.wait(WAIT_S), "it did not tell its alerts"
        yield
        assert child.poll() is None, "it ended by itself"
    finally:
        child.kill()
        child.wait(WAIT_S)
        reader.join(WAIT_S)
        child.stdout.close()


def _listen(said: IO[str], told: threading.Event) -> None:
    for line in said:  # to its end: a full pipe would stop it
        if line == "told\n":
            told.set()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
