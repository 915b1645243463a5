"""How is this release's store kept for the tests of later ones?

To be run once for a release whose `MIGRATIONS` are more than those of the one before.
"""

from __future__ import annotations

import gzip
import sqlite3
import tempfile
from pathlib import Path

from daemon.store import Limits, Store
from daemon.store_schema import MIGRATIONS
from tests.daemon.events import DESCRIBE, MATCH
from tests.daemon.test_store import NOW, look, told
from tests.fakes import FakeClock


def keep(folder: Path) -> Path:
    """Write the store's file, compressed; where it is."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "smolwatch.db"
        store = Store(path, Limits(), FakeClock(wall_time=NOW))
        store.record(*told(look(description="Two dogs run past the gate."), DESCRIBE, MATCH))
        store.span("porch", "unreachable", "no route to host", NOW + 10, NOW + 20)
        store.remember("switch/porch", "off")
        store.close()
        with sqlite3.connect(path) as connection:  # all in one file
            connection.execute("PRAGMA journal_mode = DELETE")
        connection.close()
        kept = folder / f"store-{len(MIGRATIONS)}.db.gz"
        kept.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    return kept


if __name__ == "__main__":
    print(keep(Path(__file__).parent))  # noqa: T201 - its result
