/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "queue-private.h"

#include "copy-job.h"
#include "delete-job.h"
#include "export-job.h"
#include "fsio.h"
#include "gc-job.h"
#include "restore-job.h"
#include "verify-job.h"

#include <string.h>

typedef struct {
  const BkJobKind *kind;
  gpointer data;
  BkClaims *claims;
} Revived;

static gboolean
revive_backup (BkQueue *queue, const BkJobRecord *record, Revived *revived, GError **error)
{
  g_autoptr (BkBackupRequest) request = bk_struct_from_json_lax (&bk_backup_request_struct, record->request, error);
  g_autoptr (BkVm) vm = request ? bk_vm_registry_get (queue->vms, request->vm, error) : NULL;
  if (vm == NULL)
    return FALSE;
  BkBackupContext context = bk_queue_backup_context (queue, vm, false);
  revived->kind = bk_queue_backup_kind (record->info->mode);
  revived->data = bk_queue_backup_data (revived->kind, &context, request, NULL, record->run, error);
  revived->claims = bk_queue_backup_claims (request, bk_backend_has_one_job (bk_vm_backend (vm)), record->info->disks);
  return revived->data != NULL;
}

static gboolean
revive_export (BkQueue *queue, const BkJobRecord *record, Revived *revived, GError **error)
{
  g_autoptr (BkExportRequest) request = bk_struct_from_json_lax (&bk_export_request_struct, record->request, error);
  g_autoptr (BkVm) vm = request ? bk_vm_registry_get (queue->vms, request->vm, error) : NULL;
  if (vm == NULL)
    return FALSE;
  g_autoptr (BkBackupRequest) wanted = bk_export_job_backup_request (request);
  BkBackupContext context = bk_queue_backup_context (queue, vm, true);
  revived->kind = &bk_export_job_kind;
  revived->data = bk_export_job_data_new (&context, request, NULL, record->info->created_at, record->run, error);
  revived->claims = bk_queue_backup_claims (wanted, bk_backend_has_one_job (bk_vm_backend (vm)), record->info->disks);
  return revived->data != NULL;
}

static gboolean
revive_restore (BkQueue *queue, const BkJobRecord *record, Revived *revived, GError **error)
{
  g_autoptr (BkRestoreRequest) request = bk_struct_from_json_lax (&bk_restore_request_struct, record->request, error);
  g_autoptr (BkBackupInfo) backup = request ? bk_catalog_get_backup (queue->catalog, record->info->backup_id, error) : NULL;
  if (backup == NULL)
    return FALSE;
  revived->data = bk_queue_restore_data (queue, request, backup, error);
  revived->kind = revived->data ? bk_restore_job_kind (revived->data) : NULL;
  revived->claims = revived->data ? bk_queue_restore_claims (backup, revived->data) : bk_claims_new ();
  return revived->data != NULL;
}

static gboolean
revive_delete (BkQueue *queue, const BkJobRecord *record, Revived *revived, GError **error)
{
  g_autoptr (BkBackupInfo) backup = bk_catalog_get_backup (queue->catalog, record->info->backup_id, error);
  if (backup == NULL)
    return FALSE;
  revived->kind = &bk_delete_job_kind;
  revived->data = bk_queue_delete_data (queue, backup, error);
  revived->claims = bk_queue_delete_claims (queue, backup);
  return revived->data != NULL;
}

static gboolean
revive_verify (BkQueue *queue, const BkJobRecord *record, Revived *revived, GError **error)
{
  g_autoptr (BkBackupInfo) backup = NULL;
  g_autoptr (BkVerifyRequest) request = bk_struct_from_json_lax (&bk_verify_request_struct, record->request, error);
  if (request)
    request->speed = record->info->speed; /* it may have been changed */
  revived->kind = &bk_verify_job_kind;
  revived->data = request ? bk_queue_verify_data (queue, request, &backup, &revived->claims, error) : NULL;
  return revived->data != NULL;
}

static gboolean
revive_gc (BkQueue *queue, const BkJobRecord *record, Revived *revived, GError **error)
{
  g_autoptr (BkGcRequest) request = bk_struct_from_json_lax (&bk_gc_request_struct, record->request, error);
  revived->kind = &bk_gc_job_kind;
  revived->data = request ? bk_queue_gc_data (queue, request, &revived->claims, error) : NULL;
  return revived->data != NULL;
}

static gboolean
revive_copy (BkQueue *queue, const BkJobRecord *record, Revived *revived, GError **error)
{
  g_autoptr (BkBackupInfo) backup = NULL;
  g_autoptr (BkCopyRequest) request = bk_struct_from_json_lax (&bk_copy_request_struct, record->request, error);
  revived->kind = &bk_copy_job_kind;
  revived->data = request ? bk_queue_copy_data (queue, request, record->info->backup_id, &backup, &revived->claims, error) : NULL;
  return revived->data != NULL;
}

static gboolean
revive (BkQueue *queue, const BkJobRecord *record, Revived *revived, GError **error)
{
  static const struct {
    const char *kind;
    gboolean (*revive) (BkQueue *queue, const BkJobRecord *record, Revived *revived, GError **error);
  } kinds[] = {
    { "backup", revive_backup }, { "restore", revive_restore }, { "delete", revive_delete },
    { "verify", revive_verify }, { "gc", revive_gc },           { "copy", revive_copy },       { "export", revive_export },
  };
  for (size_t i = 0; i < G_N_ELEMENTS (kinds); i++)
    if (strcmp (record->info->kind, kinds[i].kind) == 0)
      return kinds[i].revive (queue, record, revived, error);
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "jobs of kind '%s' are not known to this version", record->info->kind);
  return FALSE;
}

/* What it was about is gone (the VM was removed, the backup deleted): there is nothing left to do for it. */
static gboolean
bury (BkQueue *queue, BkJobRecord *record, const GError *why, GError **error)
{
  g_message ("job %s cannot be taken up again: %s", record->info->id, why->message);
  if (!bk_job_state_is_end (record->info->state)) {
    g_free (record->info->state);
    record->info->state = g_strdup ("failed");
    record->info->ended_at = g_get_real_time ();
    bk_problem_free (record->info->error);
    record->info->error = bk_problem_new (why);
  }
  record->settled = true;
  return bk_catalog_update_job (queue->catalog, record, error);
}

static void
requeue (BkJobRecord *record)
{
  BkJobInfo *info = record->info;
  g_free (info->state);
  info->state = g_strdup ("queued");
  info->started_at = 0;
  for (unsigned i = 0; info->steps && i < info->steps->len; i++)
    bk_job_step_free (info->steps->pdata[i]);
  g_clear_pointer (&info->steps, g_ptr_array_unref);
}

static gboolean
recover_job (BkQueue *queue, BkJobRecord *record, GError **error)
{
  Revived revived = { 0 };
  g_autoptr (GError) failure = NULL;
  if (!revive (queue, record, &revived, &failure)) {
    g_clear_pointer (&revived.claims, bk_claims_free);
    gboolean ok = bury (queue, record, failure, error);
    bk_job_record_free (record);
    return ok;
  }
  bool over = bk_job_state_is_end (record->info->state);
  if (revived.kind->restart && !over && !bk_job_was_undone (record->info))
    requeue (record);
  bool queued = strcmp (record->info->state, "queued") == 0;
  BkJob *job = bk_queue_add (queue, record, revived.kind, revived.data, revived.claims);
  if (!queued)
    bk_job_recover (job);
  return TRUE;
}

gboolean
bk_queue_recover (BkQueue *queue, GError **error)
{
  if (!bk_fsio_make_folder (queue->scratch, error) || !bk_fsio_make_folder (queue->exports, error))
    return FALSE;
  g_autoptr (GPtrArray) records = bk_catalog_unsettled_jobs (queue->catalog, error);
  if (records == NULL)
    return FALSE;
  for (unsigned i = 0; i < records->len; i++) {
    BkJobRecord *record = g_steal_pointer (&records->pdata[i]);
    if (!recover_job (queue, record, error))
      return FALSE;
  }
  bk_queue_schedule (queue);
  return TRUE;
}
