"""How is the database file opened, and what becomes of a damaged one?

Knows SQLite's files and pragmas; no table by name.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import structlog

from daemon.outbox_rows import rescue
from daemon.store_schema import MIGRATIONS, migrate
from pipelines.errors import SmolwatchError

log = structlog.get_logger(__name__)

BUSY_S: Final = 2.0  # another process may hold the file: a backup, somebody with a shell
_CHECKED_BYTES: Final = 64_000_000  # a whole check of more than this would delay the start
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_FULL: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})
_DISK_ERRORS: Final = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO})


class StoreError(SmolwatchError):
    """The store's file cannot be used; the message says what to do."""


class DiskUnusable(StoreError):
    """The disk takes nothing: it is read-only, full or broken. That may change by itself."""


def open_writer(path: Path) -> sqlite3.Connection:
    """The connection that writes, with the schema up to date. Damaged files are set aside.

    Transactions are begun by hand. Raises `StoreError`.
    """
    try:
        return _opened(path)
    except sqlite3.Error as error:
        if not is_damage(error):
            kind = DiskUnusable if is_full(error) or _is_read_only(error) else StoreError
            raise kind(
                f"{path}: the store cannot be opened ({error}): make its folder writable for the "
                "user that smolwatch runs as, free disk space, or name another place in store.path"
            ) from error
    return open_anew(path)


def open_anew(path: Path) -> sqlite3.Connection:
    """Set a damaged file aside and begin another, with the messages that can be rescued.

    Raises `StoreError`.
    """
    aside = set_aside(path)
    try:
        connection = _opened(path)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: no new store could be begun ({error})") from error
    with closing(sqlite3.connect(aside)) as damaged:
        rescued = rescue(damaged, connection)
    if rescued:
        log.warning("store.rescued", messages=rescued, hint="those that waited for the broker")
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection for one thread that only reads. Raises `sqlite3.Error`."""
    reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_S, isolation_level=None)
    reader.execute("PRAGMA query_only = 1")
    return reader


def checkpoint(path: Path, how: Literal["PASSIVE", "TRUNCATE"] = "PASSIVE") -> None:
    """Copy the log into the file. On a connection of its own, so that nobody waits for it.

    `TRUNCATE` empties the log, too, if nobody writes or reads at that moment.
    """
    try:
        with closing(sqlite3.connect(path, timeout=0.0, isolation_level=None)) as beside:
            beside.execute(f"PRAGMA wal_checkpoint({how})")
    except sqlite3.Error as error:
        # Locked: the next round does it. Broken: the next write finds out, and mends it.
        log.debug("store.checkpoint_failed", error=str(error))


def log_bytes(path: Path) -> int:
    """How large the log has grown."""
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size
    except OSError:
        return 0


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is broken, rather than locked, full or forbidden."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DAMAGED


def is_full(error: sqlite3.Error) -> bool:
    """Whether the disk takes no more. Its log, mapped into memory, says so in other words."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _FULL


def _is_read_only(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF == sqlite3.SQLITE_READONLY


def set_aside(path: Path) -> Path:
    """Move a damaged file and its log away, for who wants to rescue it; where it is now."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    try:
        for old in path.parent.glob(f"{path.name}.damaged-*"):
            old.unlink()  # one is enough: they are as big as the store may be
        path.replace(aside)
        for suffix in ("-wal", "-shm"):
            rest = path.with_name(path.name + suffix)
            if rest.exists():
                rest.replace(aside.with_name(aside.name + suffix))
    except OSError as error:
        raise StoreError(
            f"{path}: the store is damaged and cannot be moved away ({error.strerror}): "
            "delete or move it"
        ) from error
    log.error(
        "store.damaged",
        path=str(path),
        set_aside=str(aside),
        hint="a new store is begun; events are still published. `sqlite3 FILE .recover` may "
        "rescue the old one; look at the disk: this is how SD cards die",
    )
    return aside


def _opened(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # SQLite would let everybody read it; its log takes over the file's rights.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640))
    except OSError as error:
        kind = DiskUnusable if error.errno in _DISK_ERRORS else StoreError
        raise kind(
            f"{path}: cannot be written ({error.strerror}): make it writable for the user that "
            "smolwatch runs as, or name another place in store.path"
        ) from error
    connection = sqlite3.connect(
        path, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    try:
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only heeded by a file without tables
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")  # `Store.keep` does it, beside the writer
    connection.execute("PRAGMA synchronous = FULL")
    if path.stat().st_size <= _CHECKED_BYTES:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            damage = sqlite3.DatabaseError(found)
            damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damage
    if migrate(connection) > len(MIGRATIONS):
        raise StoreError(
            f"{path}: the store was written by a newer smolwatch: update, or move the file away"
        )
