"""Which cameras have a digest, and where does it go?

Knows the configuration and joins what makes digests; makes none.
"""

from __future__ import annotations

import sqlite3

import structlog

from daemon.config import Config
from daemon.digest import Writer, make_digest
from daemon.digest_desk import DigestDesk, Making
from daemon.mqtt.payloads import Json, digest_message
from daemon.mqtt.topics import Topics
from daemon.outbox import Outbox, Work
from daemon.store import Store
from daemon.store_digest import keep_digest
from pipelines.clock import Clock
from pipelines.writing import Writings


def digest_desk(
    config: Config,
    model: Writer,
    writings: Writings,
    store: Store | None,
    outbox: Outbox | None,
    clock: Clock,
) -> DigestDesk | None:
    """The desk, whether or not there is a schedule; None without a store, which knows nothing."""
    if store is None:
        if config.digest is not None:
            hint = "name a file in store.path: digests are made of what is stored"
            structlog.get_logger(__name__).warning("digest.none", hint=hint)
        return None
    topics = Topics(config.mqtt.base_topic if config.mqtt else "smolwatch")
    said = config.digest
    schedule = said.schedule() if said is not None else None
    zone = schedule.zone if schedule is not None else None

    def tell(camera: str, stretch: tuple[float, float], content: Json) -> None:
        def record(also: Work | None = None) -> bool:
            def write(connection: sqlite3.Connection) -> bool:
                keep_digest(connection, camera, stretch, content, clock.wall_time())
                return also is None or also(connection)

            return bool(store.write(write, durable=True))

        if outbox is not None:
            outbox.put_all((digest_message(topics, content),), record)
        else:
            record()

    def make(camera: str, stretch: tuple[float, float]) -> Making:
        return make_digest(store.path, camera, stretch, writer=model, writings=writings, zone=zone)

    return DigestDesk(
        store, make, tuple(config.cameras), clock,
        schedule=schedule, scheduled=said.cameras if said is not None else (), tell=tell,
    )  # fmt: skip
