/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sql.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Somebody with a database browser on the catalog gets this long to finish a write. */
#define BUSY_TIMEOUT_MS 5000

struct BkSql {
  sqlite3 *handle;
  char *path;
  GHashTable *idle; /* text to sqlite3_stmt that nobody uses now; the text belongs to the statement */
  unsigned depth;   /* open BkTransactions */
};

struct BkStatement {
  BkSql *sql;
  sqlite3_stmt *stmt;
  int bound;
  int bind_result; /* of the first failed bind */
};

struct BkTransaction {
  BkSql *sql;
  bool inner;
};

typedef struct {
  int rc; /* an extended code, or a primary one for all of its kind */
  BkErrorCode code;
  const char *advice;
} Meaning;

static const Meaning meanings[] = {
  { SQLITE_CONSTRAINT_UNIQUE, BK_ERROR_CONFLICT, "it is there already" },
  { SQLITE_CONSTRAINT_PRIMARYKEY, BK_ERROR_CONFLICT, "it is there already" },
  { SQLITE_CONSTRAINT_FOREIGNKEY, BK_ERROR_NOT_FOUND, "what it refers to is not there" },
  { SQLITE_FULL, BK_ERROR_NO_SPACE, "make room on its file system; nothing that was saved before is lost" },
  { SQLITE_IOERR_CORRUPTFS, BK_ERROR_CORRUPT, "check its file system" },
  { SQLITE_CORRUPT, BK_ERROR_CORRUPT, BK_SQL_DAMAGED },
  { SQLITE_NOTADB, BK_ERROR_CORRUPT, BK_SQL_DAMAGED },
  { SQLITE_READONLY, BK_ERROR_DENIED, "make it and its folder writable for the user of backupd" },
  { SQLITE_PERM, BK_ERROR_DENIED, "make it and its folder writable for the user of backupd" },
  { SQLITE_BUSY, BK_ERROR_FAILED, "another program holds it: end that program and try again" },
};

static const Meaning *
meaning_of (int rc)
{
  for (size_t i = 0; i < G_N_ELEMENTS (meanings); i++)
    if (meanings[i].rc == rc || meanings[i].rc == (rc & 0xff))
      return &meanings[i];
  return NULL;
}

/* SQLite has no codes for a full quota and a file that may not be opened; the errno tells. */
static BkErrorCode
code_of_errno (int errsv)
{
  g_autoptr (GError) error = NULL;
  bk_error_set_errno (&error, errsv, " ");
  return error->code == BK_ERROR_NOT_FOUND ? BK_ERROR_FAILED : (BkErrorCode)error->code;
}

/* SQLite keeps the errno of most failures, but not that of a COMMIT; exec and step clear it before they start. */
static int
last_errno (BkSql *sql)
{
  int errsv = errno;
  int kept = sqlite3_system_errno (sql->handle);
  return kept != 0 ? kept : errsv;
}

gboolean
bk_sql_fail (BkSql *sql, int rc, GError **error)
{
  int primary = rc & 0xff;
  int errsv = primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN ? last_errno (sql) : 0;
  const Meaning *meaning = meaning_of (rc);
  const char *text = sqlite3_errcode (sql->handle) == primary ? sqlite3_errmsg (sql->handle) : sqlite3_errstr (rc);
  if (meaning)
    g_set_error (error, BK_ERROR, meaning->code, "catalog '%s': %s: %s", sql->path, text, meaning->advice);
  else if (errsv != 0)
    g_set_error (error, BK_ERROR, code_of_errno (errsv), "catalog '%s': %s: %s", sql->path, text, g_strerror (errsv));
  else
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "catalog '%s': %s (SQLite code %d)", sql->path, text, rc);
  return FALSE;
}

static void
finalize (gpointer stmt)
{
  sqlite3_finalize (stmt);
}

/* Made here, not by SQLite, for its mode: what is in it is nobody else's business. */
static gboolean
make_file (const char *path, GError **error)
{
  int fd = open (path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0)
    return bk_error_set_errno (error, errno, "cannot open the catalog '%s'", path);
  close (fd);
  return TRUE;
}

BkSql *
bk_sql_open (const char *path, GError **error)
{
  if (!make_file (path, error))
    return NULL;
  g_autoptr (BkSql) sql = g_new0 (BkSql, 1);
  sql->path = g_strdup (path);
  sql->idle = g_hash_table_new_full (g_str_hash, g_str_equal, NULL, finalize);
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  int rc = sqlite3_open_v2 (path, &sql->handle, flags, NULL);
  if (rc != SQLITE_OK) {
    bk_sql_fail (sql, rc, error);
    return NULL;
  }
  sqlite3_busy_timeout (sql->handle, BUSY_TIMEOUT_MS);
  sqlite3_db_config (sql->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
  sqlite3_db_config (sql->handle, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
  sqlite3_db_config (sql->handle, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
  sqlite3_db_config (sql->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
  return g_steal_pointer (&sql);
}

void
bk_sql_close (BkSql *sql)
{
  if (sql == NULL)
    return;
  g_hash_table_unref (sql->idle);
  sqlite3_close (sql->handle);
  g_free (sql->path);
  g_free (sql);
}

sqlite3 *
bk_sql_handle (BkSql *sql)
{
  return sql->handle;
}

const char *
bk_sql_path (BkSql *sql)
{
  return sql->path;
}

gboolean
bk_sql_exec (BkSql *sql, const char *script, GError **error)
{
  errno = 0;
  int rc = sqlite3_exec (sql->handle, script, NULL, NULL, NULL);
  return rc == SQLITE_OK || bk_sql_fail (sql, rc, error);
}

static BkStatement *
query_row (BkSql *sql, const char *query, GError **error)
{
  g_autoptr (BkStatement) statement = bk_statement_new (sql, query, error);
  if (statement == NULL)
    return NULL;
  BkStepResult result = bk_statement_step (statement, error);
  if (result == BK_STEP_ROW)
    return g_steal_pointer (&statement);
  if (result == BK_STEP_END)
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "catalog '%s': '%s' has no answer", sql->path, query);
  return NULL;
}

gboolean
bk_sql_query_int (BkSql *sql, const char *query, int64_t *value, GError **error)
{
  g_autoptr (BkStatement) row = query_row (sql, query, error);
  if (row == NULL)
    return FALSE;
  *value = bk_statement_int (row, 0);
  return TRUE;
}

char *
bk_sql_query_text (BkSql *sql, const char *query, GError **error)
{
  g_autoptr (BkStatement) row = query_row (sql, query, error);
  return row ? g_strdup (bk_statement_text (row, 0)) : NULL;
}

int
bk_sql_changes (BkSql *sql)
{
  return sqlite3_changes (sql->handle);
}

/* --- statements --- */

static int
take_prepared (BkSql *sql, const char *text, sqlite3_stmt **stmt)
{
  *stmt = g_hash_table_lookup (sql->idle, text);
  if (*stmt == NULL)
    return sqlite3_prepare_v3 (sql->handle, text, -1, SQLITE_PREPARE_PERSISTENT, stmt, NULL);
  g_hash_table_steal (sql->idle, text);
  return SQLITE_OK;
}

BkStatement *
bk_statement_new (BkSql *sql, const char *text, GError **error)
{
  sqlite3_stmt *stmt = NULL;
  int rc = take_prepared (sql, text, &stmt);
  if (rc != SQLITE_OK) {
    bk_sql_fail (sql, rc, error);
    return NULL;
  }
  BkStatement *statement = g_new0 (BkStatement, 1);
  statement->sql = sql;
  statement->stmt = stmt;
  return statement;
}

void
bk_statement_free (BkStatement *statement)
{
  if (statement == NULL)
    return;
  sqlite3_reset (statement->stmt);
  sqlite3_clear_bindings (statement->stmt);
  const char *text = sqlite3_sql (statement->stmt);
  if (g_hash_table_contains (statement->sql->idle, text))
    sqlite3_finalize (statement->stmt);
  else
    g_hash_table_insert (statement->sql->idle, (gpointer)text, statement->stmt);
  g_free (statement);
}

static void
note_bind (BkStatement *statement, int rc)
{
  if (statement->bind_result == SQLITE_OK)
    statement->bind_result = rc;
}

void
bk_statement_bind_text (BkStatement *statement, const char *text)
{
  note_bind (statement, sqlite3_bind_text (statement->stmt, ++statement->bound, text, -1, SQLITE_TRANSIENT));
}

void
bk_statement_bind_int (BkStatement *statement, int64_t value)
{
  note_bind (statement, sqlite3_bind_int64 (statement->stmt, ++statement->bound, value));
}

static bool
was_undone (BkSql *sql)
{
  return sql->depth > 0 && sqlite3_get_autocommit (sql->handle);
}

static gboolean
refuse_undone (BkSql *sql, GError **error)
{
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "catalog '%s': an earlier error has undone this change: try it again",
               sql->path);
  return FALSE;
}

BkStepResult
bk_statement_step (BkStatement *statement, GError **error)
{
  BkSql *sql = statement->sql;
  if (was_undone (sql)) {
    refuse_undone (sql, error);
    return BK_STEP_FAILED;
  }
  errno = 0;
  int rc = statement->bind_result != SQLITE_OK ? statement->bind_result : sqlite3_step (statement->stmt);
  if (rc == SQLITE_ROW)
    return BK_STEP_ROW;
  if (rc == SQLITE_DONE)
    return BK_STEP_END;
  bk_sql_fail (sql, rc, error);
  return BK_STEP_FAILED;
}

gboolean
bk_statement_run (BkStatement *statement, GError **error)
{
  BkStepResult result = BK_STEP_ROW;
  while (result == BK_STEP_ROW)
    result = bk_statement_step (statement, error);
  sqlite3_reset (statement->stmt);
  statement->bound = 0;
  return result == BK_STEP_END;
}

const char *
bk_statement_text (BkStatement *statement, int column)
{
  return (const char *)sqlite3_column_text (statement->stmt, column);
}

int64_t
bk_statement_int (BkStatement *statement, int column)
{
  return sqlite3_column_int64 (statement->stmt, column);
}

/* --- transactions --- */

BkTransaction *
bk_transaction_begin (BkSql *sql, GError **error)
{
  if (was_undone (sql)) {
    refuse_undone (sql, error);
    return NULL;
  }
  bool inner = sql->depth > 0;
  /* IMMEDIATE: a transaction that reads first and writes later could find, at the write, that it is too late. */
  if (!bk_sql_exec (sql, inner ? "SAVEPOINT part" : "BEGIN IMMEDIATE", error))
    return NULL;
  BkTransaction *transaction = g_new0 (BkTransaction, 1);
  transaction->sql = sql;
  transaction->inner = inner;
  sql->depth++;
  return transaction;
}

gboolean
bk_transaction_commit (BkTransaction **transaction, GError **error)
{
  BkSql *sql = (*transaction)->sql;
  bool done = was_undone (sql) ? refuse_undone (sql, error)
                               : bk_sql_exec (sql, (*transaction)->inner ? "RELEASE part" : "COMMIT", error);
  if (!done) {
    bk_transaction_rollback (g_steal_pointer (transaction));
    return FALSE;
  }
  sql->depth--;
  g_clear_pointer (transaction, g_free);
  return TRUE;
}

void
bk_transaction_rollback (BkTransaction *transaction)
{
  if (transaction == NULL)
    return;
  BkSql *sql = transaction->sql;
  g_autoptr (GError) error = NULL;
  const char *undo = transaction->inner ? "ROLLBACK TO part; RELEASE part" : "ROLLBACK";
  if (!was_undone (sql) && !bk_sql_exec (sql, undo, &error))
    g_warning ("cannot roll back: %s", error->message);
  sql->depth--;
  g_free (transaction);
}
