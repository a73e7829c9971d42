/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "catalog-private.h"

#define SELECT_JOB "SELECT number, settled, id, info, request, run FROM job "
#define DEFAULT_LIMIT 100

void
bk_job_record_free (BkJobRecord *record)
{
  if (record == NULL)
    return;
  bk_job_info_free (record->info);
  json_object_put (record->request);
  json_object_put (record->run);
  g_free (record);
}

/* Binds vm, state, kind, settled, info, request, run, id: the parameters that both statements share. */
static gboolean
bind_record (BkStatement *statement, const BkJobRecord *record, GError **error)
{
  g_autofree char *info = bk_exact_from_struct (&bk_job_info_struct, record->info, error);
  g_autofree char *request = NULL;
  g_autofree char *run = NULL;
  if (info == NULL || !bk_exact_from_json (record->request, &request, error) ||
      !bk_exact_from_json (record->run, &run, error))
    return FALSE;
  bk_statement_bind_text (statement, record->info->vm);
  bk_statement_bind_text (statement, record->info->state);
  bk_statement_bind_text (statement, record->info->kind);
  bk_statement_bind_int (statement, record->settled);
  bk_statement_bind_text (statement, info);
  bk_statement_bind_text (statement, request);
  bk_statement_bind_text (statement, run);
  bk_statement_bind_text (statement, record->info->id);
  return TRUE;
}

gboolean
bk_catalog_insert_job (BkCatalog *catalog, BkJobRecord *record, GError **error)
{
  g_autoptr (GError) inner = NULL;
  g_autoptr (BkStatement) insert = bk_statement_new (catalog->sql,
      "INSERT INTO job (vm, state, kind, settled, info, request, run, id) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", error);
  if (insert == NULL || !bind_record (insert, record, error))
    return FALSE;
  if (bk_statement_run (insert, &inner)) {
    record->number = (uint64_t)sqlite3_last_insert_rowid (bk_sql_handle (catalog->sql));
    return TRUE;
  }
  if (g_error_matches (inner, BK_ERROR, BK_ERROR_CONFLICT))
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "there is a job '%s' already: choose another ID",
                 record->info->id);
  else
    g_propagate_error (error, g_steal_pointer (&inner));
  return FALSE;
}

gboolean
bk_catalog_update_job (BkCatalog *catalog, const BkJobRecord *record, GError **error)
{
  g_autoptr (BkStatement) update = bk_statement_new (catalog->sql,
      "UPDATE job SET vm = ?, state = ?, kind = ?, settled = ?, info = ?, request = ?, run = ? WHERE id = ?", error);
  if (update == NULL || !bind_record (update, record, error) || !bk_statement_run (update, error))
    return FALSE;
  if (bk_sql_changes (catalog->sql) > 0)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "there is no job '%s'", record->info->id);
  return FALSE;
}

static BkJobRecord *
record_of_row (BkCatalog *catalog, BkStatement *row, GError **error)
{
  g_autoptr (BkJobRecord) record = g_new0 (BkJobRecord, 1);
  GError *inner = NULL;
  record->number = (uint64_t)bk_statement_int (row, 0);
  record->settled = bk_statement_int (row, 1) != 0;
  record->info = bk_exact_to_struct (&bk_job_info_struct, bk_statement_text (row, 3), &inner);
  if (record->info != NULL && bk_exact_to_json (bk_statement_text (row, 4), &record->request, &inner) &&
      bk_exact_to_json (bk_statement_text (row, 5), &record->run, &inner))
    return g_steal_pointer (&record);
  return bk_catalog_unreadable (catalog, "job", bk_statement_text (row, 2), inner, error);
}

static GPtrArray *
read_records (BkCatalog *catalog, BkStatement *select, GError **error)
{
  g_autoptr (GPtrArray) records = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_job_record_free);
  BkStepResult result;
  while ((result = bk_statement_step (select, error)) == BK_STEP_ROW) {
    BkJobRecord *record = record_of_row (catalog, select, error);
    if (record == NULL)
      return NULL;
    g_ptr_array_add (records, record);
  }
  return result == BK_STEP_END ? g_steal_pointer (&records) : NULL;
}

static BkJobRecord *
get_by_id (BkCatalog *catalog, const char *id, GError **error)
{
  g_autoptr (BkStatement) select = bk_statement_new (catalog->sql, SELECT_JOB "WHERE id = ?", error);
  if (select == NULL)
    return NULL;
  bk_statement_bind_text (select, id);
  return bk_statement_step (select, error) == BK_STEP_ROW ? record_of_row (catalog, select, error) : NULL;
}

BkJobRecord *
bk_catalog_get_job (BkCatalog *catalog, const char *prefix, GError **error)
{
  g_autoptr (BkStatement) select = bk_statement_new (catalog->sql,
      "SELECT id FROM job WHERE id >= ? AND id < ? ORDER BY id LIMIT " BK_LOOKUP_LIMIT, error);
  if (select == NULL)
    return NULL;
  bk_lookup_bind_prefix (select, prefix);
  g_autoptr (GPtrArray) ids = bk_lookup_ids (select, error);
  const char *id = ids ? bk_lookup_choose (ids, "job", prefix, error) : NULL;
  return id ? get_by_id (catalog, id, error) : NULL;
}

GPtrArray *
bk_catalog_unsettled_jobs (BkCatalog *catalog, GError **error)
{
  /* The condition is that of the index job_unsettled, word by word: only so it is used. */
  g_autoptr (BkStatement) select = bk_statement_new (catalog->sql, SELECT_JOB
      "WHERE settled = 0 OR state NOT IN ('completed', 'partial', 'failed', 'cancelled') ORDER BY number", error);
  return select ? read_records (catalog, select, error) : NULL;
}

/* A "+" keeps SQLite from choosing the index of a column: of what is asked for, the VM narrows it down most, and
 * the kind least. */
static char *
list_text (const BkJobFilter *filter)
{
  const char *vm = filter->vm ? " AND vm = ?" : "";
  const char *state = !filter->state ? "" : filter->vm ? " AND +state = ?" : " AND state = ?";
  const char *kind = !filter->kind ? "" : filter->vm || filter->state ? " AND +kind = ?" : " AND kind = ?";
  return g_strconcat (SELECT_JOB "WHERE number < ?", vm, state, kind, " ORDER BY number DESC LIMIT ?", NULL);
}

GPtrArray *
bk_catalog_list_jobs (BkCatalog *catalog, const BkJobFilter *filter, GError **error)
{
  uint64_t before = filter->before > 0 ? MIN (filter->before, (uint64_t)INT64_MAX) : INT64_MAX;
  g_autofree char *text = list_text (filter);
  g_autoptr (BkStatement) select = bk_statement_new (catalog->sql, text, error);
  if (select == NULL)
    return NULL;
  bk_statement_bind_int (select, (int64_t)before);
  if (filter->vm)
    bk_statement_bind_text (select, filter->vm);
  if (filter->state)
    bk_statement_bind_text (select, filter->state);
  if (filter->kind)
    bk_statement_bind_text (select, filter->kind);
  bk_statement_bind_int (select, filter->limit > 0 ? filter->limit : DEFAULT_LIMIT);
  return read_records (catalog, select, error);
}
