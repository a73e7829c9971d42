/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "catalog-private.h"

#define SELECT_CHECKPOINT "SELECT sequence, id, name, vm, backup_id, job_id, created_at FROM checkpoint "

/* An update of the row that is there keeps its sequence, and so its place in the order. */
static gboolean
put_row (BkCatalog *catalog, const BkCheckpointInfo *checkpoint, int64_t *sequence, GError **error)
{
  g_autoptr (GError) inner = NULL;
  g_autoptr (BkStatement) put = bk_statement_new (catalog->sql,
      "INSERT INTO checkpoint (id, vm, name, backup_id, job_id, created_at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) "
      "DO UPDATE SET vm = excluded.vm, name = excluded.name, backup_id = excluded.backup_id, job_id = excluded.job_id, "
      "created_at = excluded.created_at RETURNING sequence", error);
  if (put == NULL)
    return FALSE;
  bk_statement_bind_text (put, checkpoint->id);
  bk_statement_bind_text (put, checkpoint->vm);
  bk_statement_bind_text (put, checkpoint->name);
  bk_statement_bind_text (put, checkpoint->backup_id);
  bk_statement_bind_text (put, checkpoint->job_id);
  bk_statement_bind_int (put, checkpoint->created_at);
  if (bk_statement_step (put, &inner) == BK_STEP_ROW) {
    *sequence = bk_statement_int (put, 0);
    return bk_statement_run (put, error);
  }
  if (g_error_matches (inner, BK_ERROR, BK_ERROR_NOT_FOUND))
    return bk_catalog_no_such (catalog, "VM", checkpoint->vm, "SELECT name FROM vm ORDER BY name", error);
  g_propagate_error (error, g_steal_pointer (&inner));
  return FALSE;
}

static gboolean
forget_disks (BkCatalog *catalog, int64_t sequence, GError **error)
{
  g_autoptr (BkStatement) delete = bk_statement_new (catalog->sql, "DELETE FROM checkpoint_disk WHERE checkpoint = ?",
                                                     error);
  if (delete == NULL)
    return FALSE;
  bk_statement_bind_int (delete, sequence);
  return bk_statement_run (delete, error);
}

static gboolean
put_disks (BkCatalog *catalog, int64_t sequence, GPtrArray *disks, GError **error)
{
  g_autoptr (BkStatement) insert = bk_statement_new (catalog->sql,
      "INSERT INTO checkpoint_disk (checkpoint, position, name, bitmap, parent, state, size, persistent) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?)", error);
  if (insert == NULL || !forget_disks (catalog, sequence, error))
    return FALSE;
  for (unsigned i = 0; disks && i < disks->len; i++) {
    const BkCheckpointDisk *disk = disks->pdata[i];
    bk_statement_bind_int (insert, sequence);
    bk_statement_bind_int (insert, i);
    bk_statement_bind_text (insert, disk->name);
    bk_statement_bind_text (insert, disk->bitmap);
    bk_statement_bind_text (insert, disk->parent);
    bk_statement_bind_text (insert, disk->state);
    bk_statement_bind_int (insert, (int64_t)disk->size);
    bk_statement_bind_int (insert, disk->persistent);
    if (!bk_statement_run (insert, error))
      return FALSE;
  }
  return TRUE;
}

gboolean
bk_catalog_put_checkpoint (BkCatalog *catalog, const BkCheckpointInfo *checkpoint, GError **error)
{
  int64_t sequence = 0;
  g_autoptr (BkTransaction) transaction = bk_transaction_begin (catalog->sql, error);
  return transaction != NULL && put_row (catalog, checkpoint, &sequence, error) &&
         put_disks (catalog, sequence, checkpoint->disks, error) && bk_transaction_commit (&transaction, error);
}

static BkCheckpointDisk *
disk_of_row (BkStatement *row)
{
  BkCheckpointDisk *disk = g_new0 (BkCheckpointDisk, 1);
  disk->name = g_strdup (bk_statement_text (row, 0));
  disk->bitmap = g_strdup (bk_statement_text (row, 1));
  disk->parent = g_strdup (bk_statement_text (row, 2));
  disk->state = g_strdup (bk_statement_text (row, 3));
  disk->size = (uint64_t)bk_statement_int (row, 4);
  disk->persistent = bk_statement_int (row, 5) != 0;
  return disk;
}

/* bk_checkpoint_info_free() frees the disks, so the array itself has no free function. */
static gboolean
read_disks (BkCatalog *catalog, int64_t sequence, GPtrArray *disks, GError **error)
{
  g_autoptr (BkStatement) select = bk_statement_new (catalog->sql,
      "SELECT name, bitmap, parent, state, size, persistent FROM checkpoint_disk WHERE checkpoint = ? "
      "ORDER BY position", error);
  if (select == NULL)
    return FALSE;
  bk_statement_bind_int (select, sequence);
  BkStepResult result;
  while ((result = bk_statement_step (select, error)) == BK_STEP_ROW)
    g_ptr_array_add (disks, disk_of_row (select));
  return result == BK_STEP_END;
}

static BkCheckpointInfo *
checkpoint_of_row (BkCatalog *catalog, BkStatement *row, GError **error)
{
  g_autoptr (BkCheckpointInfo) checkpoint = g_new0 (BkCheckpointInfo, 1);
  checkpoint->id = g_strdup (bk_statement_text (row, 1));
  checkpoint->name = g_strdup (bk_statement_text (row, 2));
  checkpoint->vm = g_strdup (bk_statement_text (row, 3));
  checkpoint->backup_id = g_strdup (bk_statement_text (row, 4));
  checkpoint->job_id = g_strdup (bk_statement_text (row, 5));
  checkpoint->created_at = bk_statement_int (row, 6);
  checkpoint->disks = g_ptr_array_new ();
  if (!read_disks (catalog, bk_statement_int (row, 0), checkpoint->disks, error))
    return NULL;
  return g_steal_pointer (&checkpoint);
}

static BkCheckpointInfo *
get_by_id (BkCatalog *catalog, const char *id, GError **error)
{
  g_autoptr (BkStatement) select = bk_statement_new (catalog->sql, SELECT_CHECKPOINT "WHERE id = ?", error);
  if (select == NULL)
    return NULL;
  bk_statement_bind_text (select, id);
  return bk_statement_step (select, error) == BK_STEP_ROW ? checkpoint_of_row (catalog, select, error) : NULL;
}

static GPtrArray *
ids_by_prefix (BkCatalog *catalog, const char *vm, const char *prefix, GError **error)
{
  g_autoptr (BkStatement) select = bk_statement_new (catalog->sql,
      "SELECT id FROM checkpoint WHERE id >= ?1 AND id < ?2 AND vm = ifnull (?3, vm) "
      "ORDER BY id LIMIT " BK_LOOKUP_LIMIT, error);
  if (select == NULL)
    return NULL;
  bk_lookup_bind_prefix (select, prefix);
  bk_statement_bind_text (select, vm);
  return bk_lookup_ids (select, error);
}

static GPtrArray *
ids_by_name (BkCatalog *catalog, const char *vm, const char *name, GError **error)
{
  g_autoptr (BkStatement) select = bk_statement_new (catalog->sql,
      "SELECT id FROM checkpoint WHERE name = ?1 AND vm = ifnull (?2, vm) "
      "ORDER BY sequence LIMIT " BK_LOOKUP_LIMIT, error);
  if (select == NULL)
    return NULL;
  bk_statement_bind_text (select, name);
  bk_statement_bind_text (select, vm);
  return bk_lookup_ids (select, error);
}

/* An ID comes before a name, a name before the start of an ID. */
BkCheckpointInfo *
bk_catalog_get_checkpoint (BkCatalog *catalog, const char *vm, const char *prefix, GError **error)
{
  g_autoptr (GPtrArray) by_prefix = ids_by_prefix (catalog, vm, prefix, error);
  if (by_prefix == NULL)
    return NULL;
  g_autoptr (GPtrArray) by_name = ids_by_name (catalog, vm, prefix, error);
  if (by_name == NULL)
    return NULL;
  bool exact = by_prefix->len > 0 && g_str_equal (by_prefix->pdata[0], prefix);
  const char *id = bk_lookup_choose (!exact && by_name->len > 0 ? by_name : by_prefix, "checkpoint", prefix, error);
  return id ? get_by_id (catalog, id, error) : NULL;
}

GPtrArray *
bk_catalog_list_checkpoints (BkCatalog *catalog, const char *vm, GError **error)
{
  const char *text = vm ? SELECT_CHECKPOINT "WHERE vm = ? ORDER BY sequence" : SELECT_CHECKPOINT "ORDER BY sequence";
  g_autoptr (BkStatement) select = bk_statement_new (catalog->sql, text, error);
  if (select == NULL)
    return NULL;
  if (vm)
    bk_statement_bind_text (select, vm);
  g_autoptr (GPtrArray) checkpoints = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_checkpoint_info_free);
  BkStepResult result;
  while ((result = bk_statement_step (select, error)) == BK_STEP_ROW) {
    BkCheckpointInfo *checkpoint = checkpoint_of_row (catalog, select, error);
    if (checkpoint == NULL)
      return NULL;
    g_ptr_array_add (checkpoints, checkpoint);
  }
  return result == BK_STEP_END ? g_steal_pointer (&checkpoints) : NULL;
}

gboolean
bk_catalog_remove_checkpoint (BkCatalog *catalog, const char *id, GError **error)
{
  g_autoptr (BkStatement) delete = bk_statement_new (catalog->sql, "DELETE FROM checkpoint WHERE id = ?", error);
  if (delete == NULL)
    return FALSE;
  bk_statement_bind_text (delete, id);
  return bk_statement_run (delete, error);
}
