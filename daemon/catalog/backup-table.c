/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "catalog-private.h"

static gboolean
put_row (BkCatalog *catalog, const BkBackupInfo *backup, GError **error)
{
  g_autoptr (GError) inner = NULL;
  g_autofree char *info = bk_exact_from_struct (&bk_backup_info_struct, backup, error);
  if (info == NULL)
    return FALSE;
  g_autoptr (BkStatement) put = bk_statement_new (catalog->sql,
      "INSERT INTO backup (id, vm, repository, point_in_time, info) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE "
      "SET vm = excluded.vm, repository = excluded.repository, point_in_time = excluded.point_in_time, "
      "info = excluded.info", error);
  if (put == NULL)
    return FALSE;
  bk_statement_bind_text (put, backup->id);
  bk_statement_bind_text (put, backup->vm);
  bk_statement_bind_text (put, backup->repository);
  bk_statement_bind_int (put, backup->point_in_time);
  bk_statement_bind_text (put, info);
  if (bk_statement_run (put, &inner))
    return TRUE;
  if (g_error_matches (inner, BK_ERROR, BK_ERROR_NOT_FOUND))
    return bk_catalog_no_such (catalog, "repository", backup->repository,
                               "SELECT name FROM repository ORDER BY name", error);
  g_propagate_error (error, g_steal_pointer (&inner));
  return FALSE;
}

static gboolean
forget_parents (BkCatalog *catalog, const char *id, GError **error)
{
  g_autoptr (BkStatement) delete = bk_statement_new (catalog->sql, "DELETE FROM backup_parent WHERE backup = ?", error);
  if (delete == NULL)
    return FALSE;
  bk_statement_bind_text (delete, id);
  return bk_statement_run (delete, error);
}

static gboolean
put_parents (BkCatalog *catalog, const BkBackupInfo *backup, GError **error)
{
  g_autoptr (BkStatement) insert = bk_statement_new (catalog->sql,
      "INSERT INTO backup_parent (backup, disk, parent) VALUES (?, ?, ?)", error);
  if (insert == NULL || !forget_parents (catalog, backup->id, error))
    return FALSE;
  for (unsigned i = 0; backup->disks && i < backup->disks->len; i++) {
    const BkBackupDisk *disk = backup->disks->pdata[i];
    if (disk->parent == NULL)
      continue;
    bk_statement_bind_text (insert, backup->id);
    bk_statement_bind_text (insert, disk->name);
    bk_statement_bind_text (insert, disk->parent);
    if (!bk_statement_run (insert, error))
      return FALSE;
  }
  return TRUE;
}

gboolean
bk_catalog_put_backup (BkCatalog *catalog, const BkBackupInfo *backup, GError **error)
{
  g_autoptr (BkTransaction) transaction = bk_transaction_begin (catalog->sql, error);
  return transaction != NULL && put_row (catalog, backup, error) && put_parents (catalog, backup, error) &&
         bk_transaction_commit (&transaction, error);
}

static BkBackupInfo *
backup_of_row (BkCatalog *catalog, BkStatement *row, GError **error)
{
  GError *inner = NULL;
  BkBackupInfo *backup = bk_exact_to_struct (&bk_backup_info_struct, bk_statement_text (row, 1), &inner);
  return backup ? backup : bk_catalog_unreadable (catalog, "backup", bk_statement_text (row, 0), inner, error);
}

static BkBackupInfo *
get_by_id (BkCatalog *catalog, const char *id, GError **error)
{
  g_autoptr (BkStatement) select = bk_statement_new (catalog->sql, "SELECT id, info FROM backup WHERE id = ?", error);
  if (select == NULL)
    return NULL;
  bk_statement_bind_text (select, id);
  return bk_statement_step (select, error) == BK_STEP_ROW ? backup_of_row (catalog, select, error) : NULL;
}

BkBackupInfo *
bk_catalog_get_backup (BkCatalog *catalog, const char *prefix, GError **error)
{
  g_autoptr (BkStatement) select = bk_statement_new (catalog->sql,
      "SELECT id FROM backup WHERE id >= ? AND id < ? ORDER BY id LIMIT " BK_LOOKUP_LIMIT, error);
  if (select == NULL)
    return NULL;
  bk_lookup_bind_prefix (select, prefix);
  g_autoptr (GPtrArray) ids = bk_lookup_ids (select, error);
  const char *id = ids ? bk_lookup_choose (ids, "backup", prefix, error) : NULL;
  return id ? get_by_id (catalog, id, error) : NULL;
}

GPtrArray *
bk_catalog_list_backups (BkCatalog *catalog, const char *vm, const char *repository, GError **error)
{
  /* By time, not by insertion: a repository that is taken over brings old backups. */
  g_autofree char *text = g_strconcat ("SELECT id, info FROM backup", vm || repository ? " WHERE " : "",
                                       vm ? "vm = ?" : "", vm && repository ? " AND " : "",
                                       repository ? "repository = ?" : "", " ORDER BY point_in_time, id", NULL);
  g_autoptr (BkStatement) select = bk_statement_new (catalog->sql, text, error);
  if (select == NULL)
    return NULL;
  if (vm)
    bk_statement_bind_text (select, vm);
  if (repository)
    bk_statement_bind_text (select, repository);
  g_autoptr (GPtrArray) backups = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_backup_info_free);
  BkStepResult result;
  while ((result = bk_statement_step (select, error)) == BK_STEP_ROW) {
    BkBackupInfo *backup = backup_of_row (catalog, select, error);
    if (backup == NULL)
      return NULL;
    g_ptr_array_add (backups, backup);
  }
  return result == BK_STEP_END ? g_steal_pointer (&backups) : NULL;
}

GStrv
bk_catalog_children_of_backup (BkCatalog *catalog, const char *id, GError **error)
{
  g_autoptr (BkStatement) select = bk_statement_new (catalog->sql,
      "SELECT id FROM backup WHERE id IN (SELECT backup FROM backup_parent WHERE parent = ?) "
      "ORDER BY point_in_time, id", error);
  if (select == NULL)
    return NULL;
  bk_statement_bind_text (select, id);
  g_autoptr (GPtrArray) ids = bk_lookup_ids (select, error);
  if (ids == NULL)
    return NULL;
  g_ptr_array_add (ids, NULL);
  return (GStrv)g_ptr_array_free (g_steal_pointer (&ids), FALSE);
}

gboolean
bk_catalog_remove_backup (BkCatalog *catalog, const char *id, GError **error)
{
  g_autoptr (BkStatement) delete = bk_statement_new (catalog->sql, "DELETE FROM backup WHERE id = ?", error);
  if (delete == NULL)
    return FALSE;
  bk_statement_bind_text (delete, id);
  return bk_statement_run (delete, error);
}
