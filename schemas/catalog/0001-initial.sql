-- SPDX-License-Identifier: LGPL-2.1-or-later
--
-- The first catalog. Columns hold what is searched, ordered or constrained; "info" holds the whole object as
-- JSON, with times to the microsecond. All times in columns are microseconds since 1970 UTC. README.md tells
-- who writes what and when.

-- One row: six hex digits that are part of all names which this daemon uses in QEMU.
CREATE TABLE instance (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  id   TEXT NOT NULL CHECK (length (id) = 6)
) STRICT;
INSERT INTO instance VALUES (1, lower (hex (randomblob (3))));

CREATE TABLE vm (
  name     TEXT PRIMARY KEY NOT NULL,
  qmp      TEXT,
  agent    TEXT,
  classes  TEXT NOT NULL, -- JSON object: disk to class
  added_at INTEGER NOT NULL
) STRICT;

CREATE TABLE repository (
  name       TEXT PRIMARY KEY NOT NULL,
  type       TEXT,
  path       TEXT NOT NULL UNIQUE, -- two names for one folder would delete each other's images
  created_at INTEGER NOT NULL
) STRICT;

-- No reference to vm: a job is history and outlives its VM. AUTOINCREMENT: a number names nodes and bitmaps in
-- QEMU and must never be given twice, also when the newest row goes.
CREATE TABLE job (
  number  INTEGER PRIMARY KEY AUTOINCREMENT,
  id      TEXT NOT NULL UNIQUE,
  vm      TEXT,
  state   TEXT NOT NULL,
  kind    TEXT NOT NULL,
  settled INTEGER NOT NULL CHECK (settled IN (0, 1)),
  info    TEXT NOT NULL, -- JSON: BkJobInfo
  request TEXT,          -- JSON, as it came
  run     TEXT           -- JSON, of the job kind
) STRICT;
-- "number" comes before the columns that only filter, so that a page of the newest jobs is read in order, and
-- rows that do not match are passed over without reading their JSON.
CREATE INDEX job_by_vm ON job (vm, number, state, kind);
CREATE INDEX job_by_state ON job (state, number, kind);
CREATE INDEX job_by_kind ON job (kind, number);
CREATE INDEX job_unsettled ON job (number)
  WHERE settled = 0 OR state NOT IN ('completed', 'partial', 'failed', 'cancelled');

-- No reference to vm: a backup outlives its VM.
CREATE TABLE backup (
  id            TEXT PRIMARY KEY NOT NULL,
  vm            TEXT NOT NULL,
  repository    TEXT REFERENCES repository (name) ON DELETE CASCADE, -- NULL: a target of its own
  point_in_time INTEGER NOT NULL,
  info          TEXT NOT NULL -- JSON: BkBackupInfo
) STRICT;
CREATE INDEX backup_by_time ON backup (point_in_time, id);
CREATE INDEX backup_by_vm ON backup (vm, point_in_time, id, repository);
CREATE INDEX backup_by_repository ON backup (repository, point_in_time, id);

-- Which image stands on which. No reference from parent to backup: a repository may be taken over with a chain
-- that has lost its base, and is listed all the same.
CREATE TABLE backup_parent (
  backup TEXT NOT NULL REFERENCES backup (id) ON DELETE CASCADE,
  disk   TEXT NOT NULL,
  parent TEXT NOT NULL,
  PRIMARY KEY (backup, disk)
) STRICT, WITHOUT ROWID;
CREATE INDEX backup_parent_by_parent ON backup_parent (parent);

-- "sequence" is the order of checkpoints, for ever: clocks step back, and IDs may be chosen.
CREATE TABLE checkpoint (
  sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
  id         TEXT NOT NULL UNIQUE,
  vm         TEXT NOT NULL REFERENCES vm (name) ON DELETE CASCADE,
  name       TEXT,
  backup_id  TEXT,
  job_id     TEXT,
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX checkpoint_by_vm ON checkpoint (vm, sequence);
CREATE INDEX checkpoint_by_name ON checkpoint (name);

CREATE TABLE checkpoint_disk (
  checkpoint INTEGER NOT NULL REFERENCES checkpoint (sequence) ON DELETE CASCADE,
  position   INTEGER NOT NULL,
  name       TEXT NOT NULL,
  bitmap     TEXT NOT NULL,
  parent     TEXT, -- checkpoint ID, perhaps of one that is gone
  state      TEXT,
  size       INTEGER NOT NULL,
  persistent INTEGER NOT NULL CHECK (persistent IN (0, 1)),
  PRIMARY KEY (checkpoint, position),
  UNIQUE (checkpoint, name)
) STRICT, WITHOUT ROWID;
