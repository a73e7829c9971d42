/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "catalog-private.h"

#include "state-lock.h"

#include <sys/stat.h>
#include <unistd.h>

/* A whole check reads the whole file: half a second for this much. Beyond it damage is found when it is met. */
#define CHECK_MAX_BYTES (50 << 20)

static gboolean
check_pages (BkSql *sql, GError **error)
{
  struct stat st;
  if (stat (bk_sql_path (sql), &st) == 0 && st.st_size > CHECK_MAX_BYTES)
    return TRUE;
  g_autofree char *result = bk_sql_query_text (sql, "PRAGMA quick_check (1)", error);
  if (result == NULL)
    return FALSE;
  if (g_str_equal (result, "ok"))
    return TRUE;
  g_strdelimit (result, "\n", ' ');
  g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT, "catalog '%s' is damaged (%s): " BK_SQL_DAMAGED, bk_sql_path (sql),
               result);
  return FALSE;
}

/* With a rollback journal instead of the WAL, each change would cost more syncs; nothing else depends on it. */
static gboolean
use_wal (BkSql *sql, GError **error)
{
  g_autofree char *mode = bk_sql_query_text (sql, "PRAGMA journal_mode = WAL", error);
  if (mode == NULL)
    return FALSE;
  if (g_str_equal (mode, "wal"))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED,
               "catalog '%s': its file system cannot hold a write-ahead log: put the state directory on a local one",
               bk_sql_path (sql));
  return FALSE;
}

static gboolean
prepare_file (BkSql *sql, const BkMigration *migrations, GError **error)
{
  return bk_migration_check (sql, migrations, error) && use_wal (sql, error) &&
         bk_sql_exec (sql, "PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 16777216", error) &&
         check_pages (sql, error) && bk_migration_run (sql, migrations, error) &&
         bk_sql_exec (sql, "PRAGMA foreign_keys = ON", error);
}

BkCatalog *
bk_catalog_open_with (const char *state_dir, const BkMigration *migrations, GError **error)
{
  g_autofree char *path = g_build_filename (state_dir, "catalog.sqlite", NULL);
  g_autoptr (BkCatalog) catalog = g_new0 (BkCatalog, 1);
  catalog->lock = bk_state_lock (state_dir, error);
  if (catalog->lock < 0)
    return NULL;
  catalog->sql = bk_sql_open (path, error);
  if (catalog->sql == NULL || !prepare_file (catalog->sql, migrations, error))
    return NULL;
  catalog->instance = bk_sql_query_text (catalog->sql, "SELECT id FROM instance", error);
  return catalog->instance ? g_steal_pointer (&catalog) : NULL;
}

BkCatalog *
bk_catalog_open (const char *state_dir, GError **error)
{
  g_autofree BkMigration *migrations = bk_migrations_built_in ();
  return bk_catalog_open_with (state_dir, migrations, error);
}

void
bk_catalog_close (BkCatalog *catalog)
{
  if (catalog == NULL)
    return;
  bk_sql_close (catalog->sql);
  if (catalog->lock >= 0)
    close (catalog->lock);
  g_free (catalog->instance);
  g_free (catalog);
}

const char *
bk_catalog_instance (BkCatalog *catalog)
{
  return catalog->instance;
}

/* --- changes --- */

struct BkCatalogChange {
  BkCatalog *catalog;
  BkTransaction *transaction;
};

BkCatalogChange *
bk_catalog_begin (BkCatalog *catalog, GError **error)
{
  if (catalog->changing) {
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "catalog '%s': a change is open already",
                 bk_sql_path (catalog->sql));
    return NULL;
  }
  BkTransaction *transaction = bk_transaction_begin (catalog->sql, error);
  if (transaction == NULL)
    return NULL;
  BkCatalogChange *change = g_new0 (BkCatalogChange, 1);
  change->catalog = catalog;
  change->transaction = transaction;
  catalog->changing = true;
  return change;
}

gboolean
bk_catalog_commit (BkCatalogChange **change, GError **error)
{
  gboolean done = bk_transaction_commit (&(*change)->transaction, error);
  bk_catalog_rollback (g_steal_pointer (change));
  return done;
}

void
bk_catalog_rollback (BkCatalogChange *change)
{
  if (change == NULL)
    return;
  bk_transaction_rollback (change->transaction);
  change->catalog->changing = false;
  g_free (change);
}

/* --- for the tables --- */

gpointer
bk_catalog_unreadable (BkCatalog *catalog, const char *noun, const char *id, GError *inner, GError **error)
{
  g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT, "catalog '%s': %s '%s' cannot be read (%s): " BK_SQL_DAMAGED,
               bk_sql_path (catalog->sql), noun, id, inner->message);
  g_error_free (inner);
  return NULL;
}

gboolean
bk_catalog_no_such (BkCatalog *catalog, const char *noun, const char *name, const char *query, GError **error)
{
  g_autoptr (BkStatement) statement = bk_statement_new (catalog->sql, query, error);
  if (statement == NULL)
    return FALSE;
  g_autoptr (GPtrArray) names = bk_lookup_ids (statement, error);
  if (names == NULL)
    return FALSE;
  g_ptr_array_add (names, NULL);
  g_autofree char *list = names->len > 1 ? g_strjoinv (", ", (char **)names->pdata) : g_strdup ("none");
  g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "there is no %s '%s'; there are: %s", noun, name, list);
  return FALSE;
}

gboolean
bk_catalog_remove_named (BkCatalog *catalog, const char *delete, const char *noun, const char *name, const char *query,
                         GError **error)
{
  g_autoptr (BkStatement) statement = bk_statement_new (catalog->sql, delete, error);
  if (statement == NULL)
    return FALSE;
  bk_statement_bind_text (statement, name);
  if (!bk_statement_run (statement, error))
    return FALSE;
  return bk_sql_changes (catalog->sql) > 0 || bk_catalog_no_such (catalog, noun, name, query, error);
}
