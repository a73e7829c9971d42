/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * From an older catalog to ours: numbered SQL scripts, one transaction each, recorded in PRAGMA user_version.
 * Refuse rather than repair: a file of a newer version, or one that is no catalog, is left alone; before the
 * first script an existing file is copied to FILE.before-NNNN, NNNN being that script's number; a script that
 * fails is undone.
 */
#pragma once

#include "sql.h"

typedef struct {
  const char *name; /* "0001-initial.sql"; the position in the array is what counts */
  const char *sql;
} BkMigration;

/* The scripts that are built in, in order; ended by a row without name. (transfer container) */
BkMigration *bk_migrations_built_in (void);

/* Before anything is written to the file: is it a catalog, and one that we know? FAILED when it is newer (both
 * versions are in the message), CORRUPT when it is something else. */
gboolean bk_migration_check (BkSql *sql, const BkMigration *migrations, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Runs the scripts that are missing. The message of a failure names the copy. Foreign keys must be off. */
gboolean bk_migration_run (BkSql *sql, const BkMigration *migrations, GError **error) G_GNUC_WARN_UNUSED_RESULT;
