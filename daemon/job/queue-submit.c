/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "queue-private.h"

#include "background.h"
#include "backup-progress.h"
#include "backup-request.h"
#include "delete-job.h"
#include "image.h"
#include "pull-job.h"
#include "push-job.h"
#include "restore-job.h"
#include "ulid.h"

#include <string.h>

gboolean
bk_queue_check_new_id (BkQueue *queue, const char *id, GError **error)
{
  if (id == NULL)
    return TRUE;
  if (!bk_id_is_valid (id)) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/id: '%s' is no job ID; use 1 to 64 of A-Z a-z 0-9 . _ -", id);
    return FALSE;
  }
  g_autoptr (BkJobRecord) record = bk_catalog_get_job (queue->catalog, id, NULL);
  if (record == NULL || strcmp (record->info->id, id) != 0)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "there is a job '%s' already (%s)", id, record->info->state);
  return FALSE;
}

BkJobRecord *
bk_queue_record_new (const char *id, const char *kind, const char *vm, json_object *request)
{
  BkJobRecord *record = g_new0 (BkJobRecord, 1);
  record->info = g_new0 (BkJobInfo, 1);
  record->info->id = id ? g_strdup (id) : bk_ulid_new ();
  record->info->kind = g_strdup (kind);
  record->info->vm = g_strdup (vm);
  record->info->state = g_strdup ("queued");
  record->info->created_at = g_get_real_time ();
  record->info->eta_seconds = -1;
  record->request = request;
  return record;
}

BkJobInfo *
bk_queue_admit (BkQueue *queue, BkJobRecord *record, const BkJobKind *kind, gpointer data, BkClaims *claims, GError **error)
{
  if (!bk_queue_check_claims (queue, claims, error) || !bk_catalog_insert_job (queue->catalog, record, error)) {
    bk_job_record_free (record);
    kind->free (data);
    bk_claims_free (claims);
    return NULL;
  }
  g_autoptr (BkJob) job = bk_job_ref (bk_queue_add (queue, record, kind, data, claims));
  bk_queue_schedule (queue);
  return bk_job_snapshot (job);
}

/* --- backup --- */

/* Where a VM has one backup job at a time, whatever its disks, a second one waits for it, also on the same disk. */
BkClaims *
bk_queue_backup_claims (const BkBackupRequest *request, bool one_job, GPtrArray *disks)
{
  BkClaims *claims = bk_claims_new ();
  bk_claims_add_waiting (claims, false, "chain of VM '%s'", request->vm);
  if (one_job)
    bk_claims_add_waiting (claims, true, "backup job of VM '%s'", request->vm);
  for (unsigned i = 0; disks && i < disks->len; i++) {
    const char *name = ((const BkJobDisk *)disks->pdata[i])->name;
    if (one_job)
      bk_claims_add_waiting (claims, true, "disk '%s' of VM '%s'", name, request->vm);
    else
      bk_claims_add_refusing (claims, "disk '%s' of VM '%s'", name, request->vm);
    bk_claims_add_waiting (claims, false, "chain of disk '%s' of VM '%s'", name, request->vm);
  }
  if (request->target)
    bk_claims_add_refusing (claims, "target '%s'", request->target);
  return claims;
}

/* --- what is asked of a VM --- */

typedef struct {
  BkQueue *queue;
  BkBackupRequest *request;
  const BkQueueAsk *ask;
  gpointer extra;
  BkVm *vm;
  BkVmState *state;
  GError *error;
  GTask *task;
} Submit;

static void
submit_free (Submit *submit)
{
  submit->queue->pending--;
  bk_backup_request_free (submit->request);
  if (submit->ask->free_extra)
    submit->ask->free_extra (submit->extra);
  g_clear_pointer (&submit->vm, bk_vm_unref);
  g_clear_pointer (&submit->state, bk_vm_state_free);
  g_clear_error (&submit->error);
  g_object_unref (submit->task);
  g_free (submit);
}

static void
submit_work (gpointer user_data)
{
  Submit *submit = user_data;
  submit->state = bk_backend_inspect (bk_vm_backend (submit->vm), NULL, &submit->error);
}

BkBackupContext
bk_queue_backup_context (BkQueue *queue, BkVm *vm, bool export)
{
  bool settling = false;
  for (unsigned i = 0; i < queue->entries->len; i++) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    bool of_vm = bk_queue_entry_is_of_vm (entry, bk_vm_name (vm));
    settling |= of_vm && (bk_queue_entry_is_unsettled (entry) || bk_backend_has_one_job (bk_vm_backend (vm)));
  }
  return (BkBackupContext){ vm, queue->repositories, queue->scratch, queue->scratch_reserve, queue->exports, export, settling,
                              queue->freeze_limit_ms, queue->hooks_dir, queue->hook_seconds };
}

/* A disk that a job has in hand must be reported as that, not as a disk with strange nodes on it. */
static gboolean
check_busy_disks (Submit *submit, GError **error)
{
  if (bk_backend_has_one_job (bk_vm_backend (submit->vm)))
    return TRUE;
  g_autoptr (BkClaims) claims = bk_claims_new ();
  for (unsigned i = 0; i < submit->state->disks->len; i++) {
    const BkDisk *disk = submit->state->disks->pdata[i];
    if (disk->in_use == NULL)
      continue;
    bool asked = submit->request->disks == NULL || submit->request->disks[0] == NULL ? bk_disk_is_default (disk) : false;
    for (size_t d = 0; submit->request->disks && submit->request->disks[d] && !asked; d++)
      asked = bk_disk_resolve (submit->state->disks, submit->request->disks[d], NULL) == disk;
    if (asked)
      bk_claims_add_refusing (claims, "disk '%s' of VM '%s'", disk->name, submit->request->vm);
  }
  return bk_queue_check_claims (submit->queue, claims, error);
}

static gpointer
plan_and_admit (Submit *submit, GError **error)
{
  BkQueue *queue = submit->queue;
  g_autoptr (BkPlanInfo) plan = NULL;
  if (!bk_queue_check_new_id (queue, submit->request->id, error) || !check_busy_disks (submit, error))
    return NULL;
  BkBackupContext context = bk_queue_backup_context (queue, submit->vm, submit->ask->export);
  g_autoptr (BkRun) run = bk_backup_plan (&context, queue->catalog, submit->request, submit->state, NULL, NULL, &plan, error);
  return run ? submit->ask->admit (queue, &context, submit->request, run, &plan, submit->extra, error) : NULL;
}

static void
submit_done (gpointer user_data)
{
  Submit *submit = user_data;
  g_autoptr (GError) error = g_steal_pointer (&submit->error);
  if (submit->queue->stopping && error == NULL)
    g_set_error (&error, BK_ERROR, BK_ERROR_UNREACHABLE, "the daemon is stopping");
  gpointer result = error ? NULL : plan_and_admit (submit, &error);
  if (result)
    g_task_return_pointer (submit->task, result, submit->ask->free_result);
  else
    g_task_return_error (submit->task, g_steal_pointer (&error));
  submit_free (submit);
}

static void
settle_all_of (BkQueue *queue, const char *vm)
{
  for (unsigned i = 0; i < queue->entries->len; i++) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    if (bk_queue_entry_is_of_vm (entry, vm) && bk_job_is_over (entry->job))
      bk_job_settle (entry->job);
  }
}

void
bk_queue_ask_async (BkQueue *queue, const BkQueueAsk *ask, const BkBackupRequest *request, gpointer extra, GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr (GError) error = NULL;
  Submit *submit = g_new0 (Submit, 1);
  queue->pending++;
  submit->queue = queue;
  submit->ask = ask;
  submit->extra = extra;
  submit->request = bk_struct_copy (&bk_backup_request_struct, request);
  submit->task = g_task_new (NULL, NULL, callback, user_data);
  if (bk_queue_check_new_id (queue, request->id, &error) && (submit->vm = bk_vm_registry_get (queue->vms, request->vm, &error))) {
    settle_all_of (queue, request->vm);
    bk_vm_recall (submit->vm);
    bk_background_run (submit_work, submit_done, submit);
    return;
  }
  g_task_return_error (submit->task, g_steal_pointer (&error));
  submit_free (submit);
}

/* --- backup --- */

const BkJobKind *
bk_queue_backup_kind (const char *mode)
{
  return g_strcmp0 (mode, "pull") == 0 ? &bk_pull_job_kind : &bk_push_job_kind;
}

gpointer
bk_queue_backup_data (const BkJobKind *kind, const BkBackupContext *context, const BkBackupRequest *request, const char *id, json_object *run,
                      GError **error)
{
  return kind == &bk_pull_job_kind ? bk_pull_job_data_new (context, request, id, run, error) : bk_push_job_data_new (context, request, id, run, error);
}

static gpointer
admit_backup (BkQueue *queue, const BkBackupContext *context, const BkBackupRequest *request, const BkRun *run, BkPlanInfo **plan G_GNUC_UNUSED,
              gpointer extra G_GNUC_UNUSED, GError **error)
{
  BkJobRecord *record = bk_queue_record_new (request->id, "backup", request->vm, bk_struct_to_json (&bk_backup_request_struct, request));
  /* One ID for job, backup and checkpoint, so that people need to remember only one. */
  const char *backup_id = request->id ? NULL : record->info->id;
  const BkJobKind *kind = bk_queue_backup_kind (run->mode);
  gpointer data = bk_queue_backup_data (kind, context, request, backup_id, NULL, error);
  record->info->mode = g_strdup (run->mode);
  record->info->repository = g_strdup (bk_backup_request_repository (request));
  record->info->speed = request->speed;
  record->info->disks = bk_backup_progress_rows (run);
  BkClaims *claims = bk_queue_backup_claims (request, bk_backend_has_one_job (bk_vm_backend (context->vm)), record->info->disks);
  return bk_queue_admit (queue, record, kind, data, claims, error);
}

static gpointer
answer_plan (BkQueue *queue G_GNUC_UNUSED, const BkBackupContext *context G_GNUC_UNUSED, const BkBackupRequest *request G_GNUC_UNUSED,
             const BkRun *run G_GNUC_UNUSED, BkPlanInfo **plan, gpointer extra G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
  return g_steal_pointer (plan);
}

void
bk_queue_submit_backup_async (BkQueue *queue, const BkBackupRequest *request, GAsyncReadyCallback callback, gpointer user_data)
{
  static const BkQueueAsk ask = { admit_backup, (GDestroyNotify)bk_job_info_free, NULL, false };
  bk_queue_ask_async (queue, &ask, request, NULL, callback, user_data);
}

BkJobInfo *
bk_queue_submit_backup_finish (BkQueue *queue G_GNUC_UNUSED, GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer (G_TASK (result), error);
}

void
bk_queue_plan_backup_async (BkQueue *queue, const BkBackupRequest *request, GAsyncReadyCallback callback, gpointer user_data)
{
  static const BkQueueAsk ask = { answer_plan, (GDestroyNotify)bk_plan_info_free, NULL, false };
  bk_queue_ask_async (queue, &ask, request, NULL, callback, user_data);
}

BkPlanInfo *
bk_queue_plan_backup_finish (BkQueue *queue G_GNUC_UNUSED, GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer (G_TASK (result), error);
}

/* --- restore, delete --- */

BkClaims *
bk_queue_restore_claims (const BkBackupInfo *backup, gpointer data)
{
  BkClaims *claims = bk_claims_new ();
  bk_claims_add_waiting (claims, false, "chain of VM '%s'", backup->vm);
  for (const char *const *output = bk_restore_job_outputs (data); *output; output++)
    bk_claims_add_refusing (claims, "output '%s'", *output);
  return claims;
}

static gboolean
check_output (BkQueue *queue, const char *output, GError **error)
{
  return bk_output_kind (output) == BK_OUTPUT_NBD || bk_repository_registry_check_outside (queue->repositories, output, error);
}

static gboolean
check_define (const BkRestoreRequest *request, GError **error)
{
  const char *text = NULL;
  if (request->define == NULL && (request->libvirt || request->keep_identity))
    text = "/define: is required with libvirt and keep_identity";
  else if (request->define && request->libvirt == NULL)
    text = "/libvirt: is required with define";
  else if (request->define && request->define[0] == '\0')
    text = "/define: must be the name of a domain";
  if (text)
    g_set_error_literal (error, BK_ERROR, BK_ERROR_INVALID, text);
  return text == NULL;
}

gpointer
bk_queue_restore_data (BkQueue *queue, const BkRestoreRequest *request, const BkBackupInfo *backup, GError **error)
{
  g_autoptr (BkStore) store = NULL;
  if (backup->repository && (store = bk_repository_registry_open (queue->repositories, backup->repository, error)) == NULL)
    return NULL;
  BkLibvirtLink *link = NULL;
  if (request->define && (link = bk_vm_registry_get_link (queue->vms, request->libvirt, error)) == NULL)
    return NULL;
  return bk_restore_job_data_new (request, backup, store, link, error);
}

BkJobInfo *
bk_queue_submit_restore (BkQueue *queue, const BkRestoreRequest *request, GError **error)
{
  if (!bk_queue_check_new_id (queue, request->id, error) || !check_define (request, error))
    return NULL;
  g_autoptr (BkBackupInfo) backup = bk_catalog_get_backup (queue->catalog, request->backup, error);
  if (backup == NULL || !check_output (queue, request->output, error))
    return NULL;
  gpointer data = bk_queue_restore_data (queue, request, backup, error);
  if (data == NULL)
    return NULL;
  BkJobRecord *record = bk_queue_record_new (request->id, "restore", backup->vm, bk_struct_to_json (&bk_restore_request_struct, request));
  record->info->repository = g_strdup (backup->repository);
  record->info->backup_id = g_strdup (backup->id);
  record->info->disks = bk_restore_job_disks (data);
  record->info->speed = request->speed;
  return bk_queue_admit (queue, record, bk_restore_job_kind (data), data, bk_queue_restore_claims (backup, data), error);
}

gpointer
bk_queue_delete_data (BkQueue *queue, const BkBackupInfo *backup, GError **error)
{
  g_autoptr (BkVm) vm = bk_vm_registry_get (queue->vms, backup->vm, NULL);
  g_autoptr (BkStore) store = NULL;
  if (backup->repository && (store = bk_repository_registry_open (queue->repositories, backup->repository, error)) == NULL)
    return NULL;
  return bk_delete_job_data_new (store, vm, backup);
}

/* In a dedup repository nothing stands on it, and who reads it holds its chunks: only the bitmaps of its checkpoint must not
 * be in use. */
BkClaims *
bk_queue_delete_claims (BkQueue *queue, const BkBackupInfo *backup)
{
  BkClaims *claims = bk_claims_new ();
  g_autoptr (BkStore) store = backup->repository ? bk_repository_registry_open (queue->repositories, backup->repository, NULL) : NULL;
  bk_claims_add_refusing (claims, "backup '%s'", backup->id);
  if (store == NULL || !bk_store_is_dedup (store))
    bk_claims_add_waiting (claims, true, "chain of VM '%s'", backup->vm);
  for (unsigned i = 0; i < backup->disks->len; i++)
    bk_claims_add_waiting (claims, true, "chain of disk '%s' of VM '%s'", ((const BkBackupDisk *)backup->disks->pdata[i])->name, backup->vm);
  return claims;
}

/* The job would come to the same end, but later. */
static gboolean
check_not_pinned (const BkBackupInfo *backup, GError **error)
{
  if (!backup->pinned)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "backup '%s' is pinned; unpin it first", backup->id);
  return FALSE;
}

BkJobInfo *
bk_queue_submit_delete (BkQueue *queue, const char *id, GError **error)
{
  g_autoptr (BkBackupInfo) backup = bk_catalog_get_backup (queue->catalog, id, error);
  gpointer data = backup && check_not_pinned (backup, error) ? bk_queue_delete_data (queue, backup, error) : NULL;
  if (data == NULL)
    return NULL;
  json_object *request = json_object_new_object ();
  json_object_object_add (request, "backup", json_object_new_string (backup->id));
  BkJobRecord *record = bk_queue_record_new (NULL, "delete", backup->vm, request);
  record->info->repository = g_strdup (backup->repository);
  record->info->backup_id = g_strdup (backup->id);
  return bk_queue_admit (queue, record, &bk_delete_job_kind, data, bk_queue_delete_claims (queue, backup), error);
}
