"""What tables does the store have, and how do older files become newer ones?

Knows SQL and no rows. A migration is never changed once released: what is new gets a new one.
"""

from __future__ import annotations

import sqlite3
from typing import Final

# Rows of `observations` come by the million, so what repeats (questions, why no rule opened) is
# kept once in `texts`, and a row is about 80 bytes. Times are Unix seconds.
_FIRST: Final = """
CREATE TABLE texts (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE observations (
  id INTEGER PRIMARY KEY,
  camera TEXT NOT NULL,
  started REAL NOT NULL,
  ended REAL NOT NULL,
  questions INTEGER NOT NULL REFERENCES texts,  -- JSON list
  answers TEXT NOT NULL,                        -- JSON list of p_yes, in the order of questions
  verdicts INTEGER NOT NULL REFERENCES texts,   -- JSON object: rule -> what held it back
  timings TEXT NOT NULL,                        -- JSON list: queue, encode, prefill, decode ms
  model INTEGER NOT NULL REFERENCES texts,
  description INTEGER                           -- row of descriptions
);
CREATE INDEX observations_by_time ON observations (camera, ended);
CREATE TABLE spans (                            -- seconds in which no window was run
  id INTEGER PRIMARY KEY,
  camera TEXT NOT NULL,
  cause TEXT NOT NULL,
  detail TEXT NOT NULL,
  started REAL NOT NULL,
  ended REAL NOT NULL,
  windows INTEGER NOT NULL                      -- that would have been run
);
CREATE INDEX spans_by_time ON spans (camera, ended);
CREATE TABLE descriptions (
  id INTEGER PRIMARY KEY,
  camera TEXT NOT NULL,
  ended REAL NOT NULL,
  text TEXT NOT NULL
);
CREATE INDEX descriptions_by_time ON descriptions (camera, ended);
CREATE VIRTUAL TABLE descriptions_text
  USING fts5(text, content='descriptions', content_rowid='id', tokenize='porter unicode61');
CREATE TRIGGER descriptions_added AFTER INSERT ON descriptions BEGIN
  INSERT INTO descriptions_text (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER descriptions_gone AFTER DELETE ON descriptions BEGIN
  INSERT INTO descriptions_text (descriptions_text, rowid, text)
    VALUES ('delete', old.id, old.text);
END;
CREATE TABLE incidents (
  incident_id TEXT PRIMARY KEY,
  camera TEXT NOT NULL,
  rule TEXT NOT NULL,
  severity TEXT NOT NULL,
  opened REAL NOT NULL,
  closed REAL,
  score REAL
);
CREATE INDEX incidents_by_time ON incidents (opened);
CREATE TABLE events (
  id INTEGER PRIMARY KEY,
  event_id TEXT NOT NULL UNIQUE,
  incident_id TEXT,
  event_type TEXT NOT NULL,
  camera TEXT NOT NULL,
  rule TEXT,
  at REAL NOT NULL,
  description INTEGER,
  content TEXT NOT NULL                         -- JSON, as it was published
);
CREATE INDEX events_by_camera ON events (camera, id);
CREATE INDEX events_by_rule ON events (rule, id);
CREATE INDEX events_by_description ON events (description) WHERE description IS NOT NULL;
CREATE TABLE runtime (key TEXT PRIMARY KEY, value TEXT NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
"""

# What waits for the broker, what it would not have, what it keeps, and what it was told last. Ids
# are one sequence over all four. Times are Unix seconds that no setting of the clock moves while
# the daemon runs.
_OUTBOX: Final = """
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY,
  rank INTEGER NOT NULL,                        -- 0 alert, 1 state, 2 description: who goes first
  topic TEXT NOT NULL,
  payload BLOB NOT NULL,
  qos INTEGER NOT NULL,
  retain INTEGER NOT NULL,
  correlation BLOB,
  at REAL NOT NULL,
  expires REAL,                                 -- never for an alert
  tries INTEGER NOT NULL                        -- how often it was refused
);
CREATE INDEX outbox_by_rank ON outbox (rank, id);
CREATE INDEX outbox_by_end ON outbox (expires) WHERE expires IS NOT NULL;
CREATE INDEX outbox_by_topic ON outbox (topic);
CREATE INDEX outbox_tried ON outbox (id) WHERE tries > 0;
CREATE TABLE dead_letters (
  id INTEGER PRIMARY KEY,
  rank INTEGER NOT NULL,
  topic TEXT NOT NULL,
  payload BLOB NOT NULL,
  qos INTEGER NOT NULL,
  retain INTEGER NOT NULL,
  correlation BLOB,
  at REAL NOT NULL,
  expires REAL,
  tries INTEGER NOT NULL,
  reason TEXT NOT NULL,                         -- in words
  code INTEGER,                                 -- MQTT 5's, where the broker gave one
  refused REAL NOT NULL,
  again REAL                                    -- when it is tried; null: when somebody says so
);
CREATE INDEX dead_letters_by_topic ON dead_letters (topic);
CREATE TABLE retained (
  topic TEXT PRIMARY KEY,
  id INTEGER NOT NULL,
  payload BLOB NOT NULL,
  qos INTEGER NOT NULL
);
CREATE TABLE sent (                             -- the newest alerts that the broker has accepted
  id INTEGER PRIMARY KEY,
  topic TEXT NOT NULL,
  payload BLOB NOT NULL,
  at REAL NOT NULL                              -- when that was
);
"""

_DIGESTS: Final = """
CREATE TABLE digests (
  id INTEGER PRIMARY KEY,
  camera TEXT NOT NULL,
  since REAL NOT NULL,
  until REAL NOT NULL,
  content TEXT NOT NULL                         -- JSON, as it was published
);
CREATE INDEX digests_by_time ON digests (camera, until);
CREATE INDEX incidents_by_camera ON incidents (camera, opened);
"""

# So that texts that no observation uses any more can be found, see `daemon.store_pruning`.
_TEXTS_USED: Final = """
ALTER TABLE texts ADD COLUMN last INTEGER NOT NULL DEFAULT 0;  -- row of observations
UPDATE texts SET last = (SELECT coalesce(max(id), 0) FROM observations);
CREATE INDEX texts_by_last ON texts (last);
"""

_EVENTS_BY: Final = """
CREATE INDEX events_by_time ON events (at);
CREATE INDEX events_by_severity ON events (json_extract(content, '$.severity'), id);
"""

# Number n brings a file from user_version n to n + 1.
MIGRATIONS: Final[tuple[str, ...]] = (_FIRST, _OUTBOX, _DIGESTS, _TEXTS_USED, _EVENTS_BY)


def migrate(connection: sqlite3.Connection) -> int:
    """Bring the file up to date, each step in a transaction of its own; the version found.

    Raises `sqlite3.Error`.
    """
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    for number, script in enumerate(MIGRATIONS[found:], start=found + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;"
        )
    return found
