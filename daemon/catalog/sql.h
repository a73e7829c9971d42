/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * SQLite as this folder needs it: a connection with a cache of prepared statements, statements and
 * transactions as scope objects, and the one place where SQLite's result codes become errors:
 * NO_SPACE (full), CORRUPT (damaged, not a database), DENIED (read-only, no permission), CONFLICT (a unique
 * value is taken), NOT_FOUND (a foreign key points nowhere), FAILED (all else).
 */
#pragma once

#include "bk-error.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

/* What to do about a damaged catalog; part of every such message. */
#define BK_SQL_DAMAGED                                                                                       \
  "end backupd and put a copy of the catalog in its place, or move it away: backups are found again in "    \
  "their repositories"

typedef struct BkSql BkSql;

/* Opens or creates @path (mode 0600). */
BkSql *bk_sql_open (const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void bk_sql_close (BkSql *sql);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkSql, bk_sql_close)

sqlite3 *bk_sql_handle (BkSql *sql);
const char *bk_sql_path (BkSql *sql);

/* Runs one or more statements without parameters and passes over their rows. */
gboolean bk_sql_exec (BkSql *sql, const char *script, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* The first column of the first row of @query; FAILED when there is no row. */
gboolean bk_sql_query_int (BkSql *sql, const char *query, int64_t *value, GError **error) G_GNUC_WARN_UNUSED_RESULT;
char *bk_sql_query_text (BkSql *sql, const char *query, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Rows that the last INSERT, UPDATE or DELETE changed, without those of cascades. */
int bk_sql_changes (BkSql *sql);

/* Sets @error for the result code @rc of the last call on @sql. Always FALSE. */
gboolean bk_sql_fail (BkSql *sql, int rc, GError **error);

/* A prepared statement, from the cache when it is there, back to the cache when freed. Parameters are bound in
 * their order; a failure to bind shows up at the next step. */
typedef struct BkStatement BkStatement;
BkStatement *bk_statement_new (BkSql *sql, const char *text, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void bk_statement_free (BkStatement *statement);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkStatement, bk_statement_free)
void bk_statement_bind_text (BkStatement *statement, const char *text); /* NULL is NULL */
void bk_statement_bind_int (BkStatement *statement, int64_t value);

typedef enum { BK_STEP_FAILED = -1, BK_STEP_END = 0, BK_STEP_ROW = 1 } BkStepResult;
BkStepResult bk_statement_step (BkStatement *statement, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Steps to the end; the statement may then be bound and run again. */
gboolean bk_statement_run (BkStatement *statement, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Columns of the row at hand; text is valid until the next step, NULL is NULL. */
const char *bk_statement_text (BkStatement *statement, int column);
int64_t bk_statement_int (BkStatement *statement, int column);

/* Several statements as one; inside another transaction a part of it that can fail alone. Rolls back unless
 * committed. Some errors (a full disk, for one) make SQLite undo the outermost transaction at once: every
 * statement is then refused until the scopes have ended, so that none of them slips out of its transaction. */
typedef struct BkTransaction BkTransaction;
BkTransaction *bk_transaction_begin (BkSql *sql, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Frees *@transaction and sets it to NULL, also when it fails: then all of it is undone. */
gboolean bk_transaction_commit (BkTransaction **transaction, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void bk_transaction_rollback (BkTransaction *transaction);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkTransaction, bk_transaction_rollback)
