/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "migration.h"

#include "catalog-schema.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RESOURCE_FOLDER "/backupd/catalog"
/* "bkdc": tells our file from any other SQLite database. */
#define APPLICATION_ID 0x626b6463

static int64_t
newest (const BkMigration *migrations)
{
  int64_t count = 0;
  while (migrations[count].name)
    count++;
  return count;
}

static const char *
built_in_text (const char *name)
{
  g_autofree char *path = g_strconcat (RESOURCE_FOLDER "/", name, NULL);
  GResource *resource = catalog_schema_get_resource ();
  g_autoptr (GBytes) bytes = g_resource_lookup_data (resource, path, G_RESOURCE_LOOKUP_FLAGS_NONE, NULL);
  /* Stored uncompressed, so this points into our own binary; GResource ends it with a NUL. */
  return g_bytes_get_data (bytes, NULL);
}

static int
compare_names (const void *a, const void *b)
{
  return strcmp (*(const char *const *)a, *(const char *const *)b);
}

BkMigration *
bk_migrations_built_in (void)
{
  GResource *resource = catalog_schema_get_resource ();
  g_auto (GStrv) names = g_resource_enumerate_children (resource, RESOURCE_FOLDER, G_RESOURCE_LOOKUP_FLAGS_NONE, NULL);
  unsigned count = g_strv_length (names);
  qsort (names, count, sizeof *names, compare_names);
  BkMigration *migrations = g_new0 (BkMigration, count + 1);
  for (unsigned i = 0; i < count; i++) {
    g_assert (g_ascii_strtoull (names[i], NULL, 10) == i + 1);
    migrations[i].name = g_intern_string (names[i]);
    migrations[i].sql = built_in_text (names[i]);
  }
  return migrations;
}

static gboolean
is_empty (BkSql *sql, bool *empty, GError **error)
{
  int64_t count = 0;
  if (!bk_sql_query_int (sql, "SELECT count (*) FROM sqlite_schema", &count, error))
    return FALSE;
  *empty = count == 0;
  return TRUE;
}

static char *
copy_path (BkSql *sql, int64_t version)
{
  return g_strdup_printf ("%s.before-%04d", bk_sql_path (sql), (int)version);
}

static void
refuse_newer (BkSql *sql, int64_t version, int64_t known, GError **error)
{
  g_autofree char *copy = copy_path (sql, known + 1);
  bool copied = g_file_test (copy, G_FILE_TEST_EXISTS);
  g_autofree char *back = copied ? g_strdup_printf (", or go back to the copy '%s'", copy) : g_strdup ("");
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED,
               "the catalog '%s' has version %d, and this backupd knows versions up to %d: start the newer backupd "
               "again%s", bk_sql_path (sql), (int)version, (int)known, back);
}

gboolean
bk_migration_check (BkSql *sql, const BkMigration *migrations, GError **error)
{
  bool empty = false;
  int64_t application = 0, version = 0;
  if (!is_empty (sql, &empty, error) || !bk_sql_query_int (sql, "PRAGMA application_id", &application, error) ||
      !bk_sql_query_int (sql, "PRAGMA user_version", &version, error))
    return FALSE;
  if (!(empty && application == 0) && (application != APPLICATION_ID || version < 1)) {
    g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT,
                 "'%s' is an SQLite database, but not a catalog of backupd: move it away", bk_sql_path (sql));
    return FALSE;
  }
  if (version <= newest (migrations))
    return TRUE;
  refuse_newer (sql, version, newest (migrations), error);
  return FALSE;
}

/* --- the copy --- */

static gboolean
sync_path (const char *path, GError **error)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC);
  int rc = fd < 0 ? -1 : fsync (fd);
  int errsv = errno;
  if (fd >= 0)
    close (fd);
  return rc == 0 || bk_error_set_errno (error, errsv, "cannot sync '%s'", path);
}

/* Page by page, with what is still in the WAL: a plain copy of the file would miss that. */
static gboolean
copy_pages (BkSql *from, const char *path, GError **error)
{
  g_autoptr (BkSql) to = bk_sql_open (path, error);
  if (to == NULL)
    return FALSE;
  sqlite3_backup *backup = sqlite3_backup_init (bk_sql_handle (to), "main", bk_sql_handle (from), "main");
  if (backup == NULL)
    return bk_sql_fail (to, sqlite3_extended_errcode (bk_sql_handle (to)), error);
  sqlite3_backup_step (backup, -1);
  int rc = sqlite3_backup_finish (backup);
  return rc == SQLITE_OK || bk_sql_fail (to, rc, error);
}

/* An earlier copy of that name is replaced only by a whole one. */
static gboolean
place_copy (const char *partial, const char *path, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (path);
  if (!sync_path (partial, error))
    return FALSE;
  if (rename (partial, path) != 0)
    return bk_error_set_errno (error, errno, "cannot rename '%s' to '%s'", partial, path);
  return sync_path (folder, error);
}

static gboolean
make_copy (BkSql *sql, const char *path, GError **error)
{
  g_autofree char *partial = g_strconcat (path, ".partial", NULL);
  unlink (partial);
  if (copy_pages (sql, partial, error) && place_copy (partial, path, error))
    return TRUE;
  unlink (partial);
  g_prefix_error (error, "the catalog must be migrated, but cannot be copied to '%s' first: ", path);
  return FALSE;
}

/* --- the scripts --- */

static gboolean
check_foreign_keys (BkSql *sql, GError **error)
{
  g_autoptr (BkStatement) check = bk_statement_new (sql, "PRAGMA foreign_key_check", error);
  if (check == NULL)
    return FALSE;
  BkStepResult result = bk_statement_step (check, error);
  if (result == BK_STEP_ROW)
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "rows of table '%s' refer to rows that are not there",
                 bk_statement_text (check, 0));
  return result == BK_STEP_END;
}

static gboolean
apply (BkSql *sql, const BkMigration *migration, int64_t version, GError **error)
{
  g_autofree char *mark = g_strdup_printf ("PRAGMA application_id = %d; PRAGMA user_version = %d", APPLICATION_ID,
                                           (int)version);
  g_autoptr (BkTransaction) transaction = bk_transaction_begin (sql, error);
  return transaction != NULL && bk_sql_exec (sql, migration->sql, error) && check_foreign_keys (sql, error) &&
         bk_sql_exec (sql, mark, error) && bk_transaction_commit (&transaction, error);
}

static void
explain_failure (const BkMigration *migration, const char *copy, GError **error)
{
  if (copy)
    g_prefix_error (error, "the catalog's migration '%s' failed and was undone; the copy of before is '%s': ",
                    migration->name, copy);
  else
    g_prefix_error (error, "the catalog cannot be made: ");
}

gboolean
bk_migration_run (BkSql *sql, const BkMigration *migrations, GError **error)
{
  int64_t version = 0;
  bool empty = false;
  if (!bk_sql_query_int (sql, "PRAGMA user_version", &version, error) || !is_empty (sql, &empty, error))
    return FALSE;
  if (version == newest (migrations))
    return TRUE;
  g_autofree char *copy = empty ? NULL : copy_path (sql, version + 1);
  if (copy && !make_copy (sql, copy, error))
    return FALSE;
  for (; migrations[version].name; version++) {
    if (!apply (sql, &migrations[version], version + 1, error)) {
      explain_failure (&migrations[version], copy, error);
      return FALSE;
    }
  }
  return TRUE;
}
