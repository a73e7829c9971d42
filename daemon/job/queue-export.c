/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "queue-private.h"

#include "backup-progress.h"
#include "export-job.h"

#include <string.h>

/* --- begin --- */

static BkExportInfo *
describe_live (BkJob *job)
{
  g_autoptr (BkJobInfo) info = bk_job_snapshot (job);
  return bk_export_job_describe (job, info, bk_job_request (job), NULL);
}

static gpointer
admit_export (BkQueue *queue, const BkBackupContext *context, const BkBackupRequest *request, const BkRun *run, BkPlanInfo **plan G_GNUC_UNUSED,
              gpointer extra, GError **error)
{
  const BkExportRequest *asked = extra;
  BkJobRecord *record = bk_queue_record_new (asked->id, "export", asked->vm, bk_struct_to_json (&bk_export_request_struct, asked));
  const char *checkpoint = asked->id ? NULL : record->info->id;
  gpointer data = bk_export_job_data_new (context, asked, checkpoint, record->info->created_at, NULL, error);
  if (data == NULL) {
    bk_job_record_free (record);
    return NULL;
  }
  record->info->mode = g_strdup (run->mode);
  record->info->disks = bk_backup_progress_rows (run);
  BkClaims *claims = bk_queue_backup_claims (request, bk_backend_has_one_job (bk_vm_backend (context->vm)), record->info->disks);
  g_autoptr (BkJobInfo) info = bk_queue_admit (queue, record, &bk_export_job_kind, data, claims, error);
  return info ? bk_queue_get_export (queue, info->id, error) : NULL;
}

void
bk_queue_begin_export_async (BkQueue *queue, const BkExportRequest *request, GAsyncReadyCallback callback, gpointer user_data)
{
  static const BkQueueAsk ask = { admit_export, (GDestroyNotify)bk_export_info_free, (GDestroyNotify)bk_export_request_free, true };
  g_autoptr (BkBackupRequest) wanted = bk_export_job_backup_request (request);
  bk_queue_ask_async (queue, &ask, wanted, bk_struct_copy (&bk_export_request_struct, request), callback, user_data);
}

BkExportInfo *
bk_queue_begin_export_finish (BkQueue *queue G_GNUC_UNUSED, GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer (G_TASK (result), error);
}

/* --- what there is --- */

static bool
is_export (const BkJobInfo *info)
{
  return strcmp (info->kind, "export") == 0;
}

GPtrArray *
bk_queue_list_exports (BkQueue *queue, GError **error G_GNUC_UNUSED)
{
  GPtrArray *exports = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_export_info_free);
  for (unsigned i = 0; i < queue->entries->len; i++) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    if (is_export (bk_job_info (entry->job)) && !bk_job_is_over (entry->job))
      g_ptr_array_add (exports, describe_live (entry->job));
  }
  return exports;
}

static BkJobRecord *
find_record (BkQueue *queue, const char *id, GError **error)
{
  g_autoptr (BkJobRecord) record = bk_catalog_get_job (queue->catalog, id, error);
  if (record == NULL || is_export (record->info))
    return g_steal_pointer (&record);
  g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "job '%s' is no export, but a %s", record->info->id, record->info->kind);
  return NULL;
}

static BkJob *
find_live (BkQueue *queue, const char *id)
{
  for (unsigned i = 0; i < queue->entries->len; i++) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    if (strcmp (bk_job_id (entry->job), id) == 0)
      return entry->job;
  }
  return NULL;
}

BkExportInfo *
bk_queue_get_export (BkQueue *queue, const char *id, GError **error)
{
  g_autoptr (BkJobRecord) record = find_record (queue, id, error);
  if (record == NULL)
    return NULL;
  BkJob *job = find_live (queue, record->info->id);
  return job ? describe_live (job) : bk_export_job_describe (NULL, record->info, record->request, record->run);
}

/* --- end --- */

BkExportInfo *
bk_queue_end_export (BkQueue *queue, const char *id, bool success, GError **error)
{
  g_autoptr (BkExportInfo) before = bk_queue_get_export (queue, id, error);
  if (before == NULL)
    return NULL;
  BkJob *job = find_live (queue, before->id);
  if (job && strcmp (before->state, "ready") == 0 && bk_export_job_end (job, success))
    return describe_live (job);
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "export '%s' is %s: it cannot be ended now", before->id,
               strcmp (before->state, "beginning") == 0 ? "not ready yet" : before->state);
  return NULL;
}
