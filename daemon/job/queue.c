/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "queue-private.h"

#include "backup-job.h"
#include "delete-job.h"
#include "fsio.h"
#include "restore-job.h"
#include "ulid.h"
#include "background.h"

#include <string.h>

#define DEFAULT_MAX_RUNNING 16
#define DEFAULT_RESERVE (1ull << 30)
/* Between two attempts to undo a job in a VM that is there: QEMU may have been busy, or refused for once. */
#define SETTLE_FIRST 2
#define SETTLE_LAST 300

static void schedule (BkQueue *queue);

static void
entry_free (gpointer data)
{
  BkQueueEntry *entry = data;
  bk_job_unref (entry->job);
  bk_claims_free (entry->claims);
  g_free (entry);
}

/* --- who is in the way --- */

gboolean
bk_queue_check_claims (BkQueue *queue, const BkClaims *claims, GError **error)
{
  for (unsigned i = 0; i < queue->entries->len; i++) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    const char *key = bk_job_is_over (entry->job) ? NULL : bk_claims_refused (claims, entry->claims);
    if (key == NULL)
      continue;
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "%s is in use by job '%s' (%s, %s); wait for it or cancel it", key,
                 bk_job_id (entry->job), bk_job_info (entry->job)->kind, bk_job_info (entry->job)->state);
    return FALSE;
  }
  for (unsigned i = 0; i < queue->short_ops->len; i++) {
    const char *key = bk_claims_refused (claims, queue->short_ops->pdata[i]);
    if (key == NULL)
      continue;
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "%s is in use by a checkpoint being made or deleted; try again", key);
    return FALSE;
  }
  return TRUE;
}

/* A job waits for older ones that it must not run beside, and for an undo on its VM that is under way. */
static bool
may_start (BkQueue *queue, unsigned at)
{
  const BkQueueEntry *entry = queue->entries->pdata[at];
  for (unsigned i = 0; i < queue->entries->len; i++) {
    const BkQueueEntry *other = queue->entries->pdata[i];
    bool busy = bk_job_is_over (other->job) ? bk_job_is_working (other->job) : i < at || bk_job_info (other->job)->started_at != 0;
    if (i != at && busy && (bk_claims_must_wait (entry->claims, other->claims) || bk_claims_refused (entry->claims, other->claims)))
      return false;
  }
  return true;
}

static bool
is_queued (const BkQueueEntry *entry)
{
  return strcmp (bk_job_info (entry->job)->state, "queued") == 0;
}

static void
schedule (BkQueue *queue)
{
  unsigned running = 0;
  for (unsigned i = 0; i < queue->entries->len; i++) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    running += !is_queued (entry) && !bk_job_is_over (entry->job);
  }
  for (unsigned i = 0; i < queue->entries->len && running < queue->max_running && !queue->stopping; i++) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    if (!is_queued (entry) || !may_start (queue, i))
      continue;
    running++;
    bk_job_start (entry->job);
  }
}

static gboolean
reap (gpointer user_data)
{
  BkQueue *queue = user_data;
  queue->pending--;
  for (unsigned i = queue->entries->len; i-- > 0;) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    if (bk_job_is_over (entry->job) && bk_job_is_settled (entry->job))
      g_ptr_array_remove_index (queue->entries, i);
  }
  schedule (queue);
  return G_SOURCE_REMOVE;
}

static bool
is_unsettled (const BkQueueEntry *entry)
{
  return bk_job_is_over (entry->job) && !bk_job_is_settled (entry->job);
}

static bool
is_reachable (BkQueue *queue, const char *name)
{
  g_autoptr (BkVm) vm = name ? bk_vm_registry_get (queue->vms, name, NULL) : NULL;
  return vm && bk_backend_link (bk_vm_backend (vm), NULL, NULL) == BK_LINK_READY;
}

static gboolean
settle_again (gpointer user_data)
{
  BkQueue *queue = user_data;
  queue->settle_timer = 0;
  for (unsigned i = 0; i < queue->entries->len; i++) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    if (is_unsettled (entry) && is_reachable (queue, bk_job_info (entry->job)->vm))
      bk_job_settle (entry->job);
  }
  return G_SOURCE_REMOVE;
}

/* A VM that is away makes itself heard when it comes back. */
static void
settle_later (BkQueue *queue, BkJob *job)
{
  if (queue->stopping || queue->settle_timer || !is_reachable (queue, bk_job_info (job)->vm))
    return;
  queue->settle_timer = g_timeout_add_seconds (queue->settle_seconds, settle_again, queue);
  queue->settle_seconds = MIN (queue->settle_seconds * 2, SETTLE_LAST);
}

/* Called from within the job: it is let go of later. */
static void
on_ended (BkJob *job, gpointer user_data)
{
  BkQueue *queue = user_data;
  queue->pending++;
  g_idle_add (reap, queue);
  if (bk_job_is_settled (job))
    queue->settle_seconds = SETTLE_FIRST;
  else
    settle_later (queue, job);
}

static BkQueueEntry *
find_entry (BkQueue *queue, const char *id)
{
  for (unsigned i = 0; i < queue->entries->len; i++) {
    BkQueueEntry *entry = queue->entries->pdata[i];
    if (strcmp (bk_job_id (entry->job), id) == 0)
      return entry;
  }
  return NULL;
}

static bool
is_of_vm (const BkQueueEntry *entry, const char *vm)
{
  return g_strcmp0 (bk_job_info (entry->job)->vm, vm) == 0;
}

/* --- life --- */

static void
on_vm (BkVm *vm, BkLink link, const char *event, gpointer user_data)
{
  BkQueue *queue = user_data;
  for (unsigned i = 0; link == BK_LINK_READY && i < queue->entries->len; i++) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    if (is_of_vm (entry, bk_vm_name (vm)) && bk_job_is_over (entry->job))
      bk_job_settle (entry->job);
  }
  if (link == BK_LINK_READY && event == NULL)
    bk_queue_settle_checkpoints (queue, bk_vm_name (vm));
}

BkQueue *
bk_queue_new (BkCatalog *catalog, BkVmRegistry *vms, BkRepositoryRegistry *repositories, BkEventRing *events,
              const BkQueueOptions *options)
{
  BkQueue *queue = g_new0 (BkQueue, 1);
  queue->catalog = catalog;
  queue->vms = vms;
  queue->repositories = repositories;
  queue->events = events;
  queue->max_running = options->max_running ? options->max_running : DEFAULT_MAX_RUNNING;
  queue->scratch = g_strdup (options->scratch);
  queue->scratch_reserve = options->scratch_reserve ? options->scratch_reserve : DEFAULT_RESERVE;
  queue->entries = g_ptr_array_new_with_free_func (entry_free);
  queue->short_ops = g_ptr_array_new ();
  queue->settle_seconds = SETTLE_FIRST;
  bk_vm_registry_set_notify (vms, on_vm, queue);
  return queue;
}

static bool
anybody_works (BkQueue *queue)
{
  for (unsigned i = 0; i < queue->entries->len; i++)
    if (bk_job_is_working (((const BkQueueEntry *)queue->entries->pdata[i])->job))
      return true;
  return queue->pending > 0;
}

void
bk_queue_free (BkQueue *queue)
{
  queue->stopping = true;
  bk_vm_registry_set_notify (queue->vms, NULL, NULL);
  g_clear_handle_id (&queue->settle_timer, g_source_remove);
  for (unsigned i = 0; i < queue->entries->len; i++)
    bk_job_detach (((const BkQueueEntry *)queue->entries->pdata[i])->job);
  while (anybody_works (queue))
    g_main_context_iteration (NULL, TRUE);
  g_ptr_array_unref (queue->entries);
  g_ptr_array_unref (queue->short_ops);
  g_free (queue->scratch);
  g_free (queue);
}

/* --- new jobs --- */

static gboolean
check_new_id (BkQueue *queue, const char *id, GError **error)
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

static BkJobRecord *
new_record (const char *id, const char *kind, const char *vm, json_object *request)
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

/* @record, @data, @claims: (transfer full). Returns the live job, (transfer none). */
static BkJob *
enqueue (BkQueue *queue, BkJobRecord *record, const BkJobKind *kind, gpointer data, BkClaims *claims)
{
  BkQueueEntry *entry = g_new0 (BkQueueEntry, 1);
  entry->job = bk_job_new (queue->catalog, queue->events, record, kind, data, on_ended, queue);
  entry->claims = claims;
  g_ptr_array_add (queue->entries, entry);
  return entry->job;
}

/* Stores the row and queues the job. @record, @data, @claims: (transfer full), freed on failure as well. */
static BkJobInfo *
admit (BkQueue *queue, BkJobRecord *record, const BkJobKind *kind, gpointer data, BkClaims *claims, GError **error)
{
  if (!bk_queue_check_claims (queue, claims, error) || !bk_catalog_insert_job (queue->catalog, record, error)) {
    bk_job_record_free (record);
    kind->free (data);
    bk_claims_free (claims);
    return NULL;
  }
  g_autoptr (BkJob) job = bk_job_ref (enqueue (queue, record, kind, data, claims));
  schedule (queue);
  return bk_job_snapshot (job);
}

/* --- backup --- */

static BkClaims *
backup_claims (const BkBackupRequest *request, GPtrArray *disks)
{
  BkClaims *claims = bk_claims_new ();
  bk_claims_add_waiting (claims, false, "chain of VM '%s'", request->vm);
  for (unsigned i = 0; disks && i < disks->len; i++)
    bk_claims_add_refusing (claims, "disk '%s' of VM '%s'", ((const BkJobDisk *)disks->pdata[i])->name, request->vm);
  if (request->target)
    bk_claims_add_refusing (claims, "target '%s'", request->target);
  return claims;
}

typedef struct {
  BkQueue *queue;
  BkBackupRequest *request;
  BkVm *vm;
  bool plan_only;
  BkVmState *state;
  GError *error;
  GTask *task;
} Submit;

static void
submit_free (Submit *submit)
{
  submit->queue->pending--;
  bk_backup_request_free (submit->request);
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

static BkBackupJobContext
context_of (BkQueue *queue, BkVm *vm)
{
  bool settling = false;
  for (unsigned i = 0; i < queue->entries->len; i++) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    settling |= is_unsettled (entry) && is_of_vm (entry, bk_vm_name (vm));
  }
  return (BkBackupJobContext){ vm, queue->repositories, queue->scratch, queue->scratch_reserve, settling };
}

static GPtrArray *
planned_disks (const BkRun *run)
{
  GPtrArray *disks = g_ptr_array_new ();
  for (unsigned i = 0; i < run->disks->len; i++) {
    const BkRunDisk *planned = run->disks->pdata[i];
    BkJobDisk *disk = g_new0 (BkJobDisk, 1);
    disk->name = g_strdup (planned->name);
    disk->level = g_strdup (planned->level);
    disk->reason = g_strdup (planned->reason);
    disk->state = g_strdup ("queued");
    disk->size = planned->size;
    disk->bytes_total = planned->estimated;
    g_ptr_array_add (disks, disk);
  }
  return disks;
}

static BkJobInfo *
admit_backup (Submit *submit, const BkRun *run, GError **error)
{
  const BkBackupRequest *request = submit->request;
  BkBackupJobContext context = context_of (submit->queue, submit->vm);
  BkJobRecord *record = new_record (request->id, "backup", request->vm, bk_struct_to_json (&bk_backup_request_struct, request));
  /* One ID for job, backup and checkpoint, so that people need to remember only one. */
  const char *backup_id = request->id ? NULL : record->info->id;
  gpointer data = bk_backup_job_data_new (&context, request, backup_id, NULL, error);
  record->info->mode = g_strdup (run->mode);
  record->info->repository = request->target ? NULL : g_strdup (request->repository ? request->repository : "default");
  record->info->speed = request->speed;
  record->info->disks = planned_disks (run);
  BkClaims *claims = backup_claims (request, record->info->disks);
  return admit (submit->queue, record, &bk_backup_job_kind, data, claims, error);
}

/* A disk that a job has in hand must be reported as that, not as a disk with strange nodes on it. */
static gboolean
check_busy_disks (Submit *submit, GError **error)
{
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

static void
submit_done (gpointer user_data)
{
  Submit *submit = user_data;
  BkQueue *queue = submit->queue;
  g_autoptr (GError) error = g_steal_pointer (&submit->error);
  g_autoptr (BkPlanInfo) plan = NULL;
  g_autoptr (BkRun) run = NULL;
  BkJobInfo *info = NULL;
  if (queue->stopping && error == NULL)
    g_set_error (&error, BK_ERROR, BK_ERROR_UNREACHABLE, "the daemon is stopping");
  if (error == NULL && check_new_id (queue, submit->request->id, &error) && check_busy_disks (submit, &error)) {
    BkBackupJobContext context = context_of (queue, submit->vm);
    run = bk_backup_job_plan (&context, queue->catalog, submit->request, submit->state, NULL, NULL, &plan, &error);
  }
  if (run && !submit->plan_only)
    info = admit_backup (submit, run, &error);
  if (error)
    g_task_return_error (submit->task, g_steal_pointer (&error));
  else if (submit->plan_only)
    g_task_return_pointer (submit->task, g_steal_pointer (&plan), (GDestroyNotify)bk_plan_info_free);
  else
    g_task_return_pointer (submit->task, info, (GDestroyNotify)bk_job_info_free);
  submit_free (submit);
}

static void
submit_backup (BkQueue *queue, const BkBackupRequest *request, bool plan_only, GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GTask) task = g_task_new (NULL, NULL, callback, user_data);
  g_autoptr (BkVm) vm = NULL;
  if (!check_new_id (queue, request->id, &error) || (vm = bk_vm_registry_get (queue->vms, request->vm, &error)) == NULL) {
    g_task_return_error (task, g_steal_pointer (&error));
    return;
  }
  for (unsigned i = 0; i < queue->entries->len; i++) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    if (is_of_vm (entry, request->vm) && bk_job_is_over (entry->job))
      bk_job_settle (entry->job);
  }
  Submit *submit = g_new0 (Submit, 1);
  queue->pending++;
  submit->queue = queue;
  submit->request = bk_struct_copy (&bk_backup_request_struct, request);
  submit->vm = g_steal_pointer (&vm);
  submit->plan_only = plan_only;
  submit->task = g_steal_pointer (&task);
  bk_background_run (submit_work, submit_done, submit);
}

void
bk_queue_submit_backup_async (BkQueue *queue, const BkBackupRequest *request, GAsyncReadyCallback callback, gpointer user_data)
{
  submit_backup (queue, request, false, callback, user_data);
}

BkJobInfo *
bk_queue_submit_backup_finish (BkQueue *queue G_GNUC_UNUSED, GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer (G_TASK (result), error);
}

void
bk_queue_plan_backup_async (BkQueue *queue, const BkBackupRequest *request, GAsyncReadyCallback callback, gpointer user_data)
{
  submit_backup (queue, request, true, callback, user_data);
}

BkPlanInfo *
bk_queue_plan_backup_finish (BkQueue *queue G_GNUC_UNUSED, GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer (G_TASK (result), error);
}

/* --- restore, delete --- */

static BkClaims *
restore_claims (const BkBackupInfo *backup, gpointer data)
{
  BkClaims *claims = bk_claims_new ();
  bk_claims_add_waiting (claims, false, "chain of VM '%s'", backup->vm);
  for (const char *const *output = bk_restore_job_outputs (data); *output; output++)
    bk_claims_add_refusing (claims, "output '%s'", *output);
  return claims;
}

BkJobInfo *
bk_queue_submit_restore (BkQueue *queue, const BkRestoreRequest *request, GError **error)
{
  if (!check_new_id (queue, request->id, error))
    return NULL;
  g_autoptr (BkBackupInfo) backup = bk_catalog_get_backup (queue->catalog, request->backup, error);
  gpointer data = backup ? bk_restore_job_data_new (request, backup, error) : NULL;
  if (data == NULL)
    return NULL;
  BkJobRecord *record = new_record (request->id, "restore", backup->vm, bk_struct_to_json (&bk_restore_request_struct, request));
  record->info->repository = g_strdup (backup->repository);
  record->info->backup_id = g_strdup (backup->id);
  record->info->disks = bk_restore_job_disks (data);
  return admit (queue, record, &bk_restore_job_kind, data, restore_claims (backup, data), error);
}

static gpointer
delete_data (BkQueue *queue, const BkBackupInfo *backup, GError **error)
{
  g_autoptr (BkVm) vm = bk_vm_registry_get (queue->vms, backup->vm, NULL);
  g_autoptr (BkArchive) archive = NULL;
  if (backup->repository && (archive = bk_repository_registry_open (queue->repositories, backup->repository, error)) == NULL)
    return NULL;
  return bk_delete_job_data_new (archive, vm, backup);
}

static BkClaims *
delete_claims (const BkBackupInfo *backup)
{
  BkClaims *claims = bk_claims_new ();
  bk_claims_add_refusing (claims, "backup '%s'", backup->id);
  bk_claims_add_waiting (claims, true, "chain of VM '%s'", backup->vm);
  return claims;
}

BkJobInfo *
bk_queue_submit_delete (BkQueue *queue, const char *id, GError **error)
{
  g_autoptr (BkBackupInfo) backup = bk_catalog_get_backup (queue->catalog, id, error);
  gpointer data = backup ? delete_data (queue, backup, error) : NULL;
  if (data == NULL)
    return NULL;
  json_object *request = json_object_new_object ();
  json_object_object_add (request, "backup", json_object_new_string (backup->id));
  BkJobRecord *record = new_record (NULL, "delete", backup->vm, request);
  record->info->repository = g_strdup (backup->repository);
  record->info->backup_id = g_strdup (backup->id);
  return admit (queue, record, &bk_delete_job_kind, data, delete_claims (backup), error);
}

/* --- after a restart --- */

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
  BkBackupJobContext context = context_of (queue, vm);
  revived->kind = &bk_backup_job_kind;
  revived->data = bk_backup_job_data_new (&context, request, NULL, record->run, error);
  revived->claims = backup_claims (request, record->info->disks);
  return revived->data != NULL;
}

static gboolean
revive_restore (BkQueue *queue, const BkJobRecord *record, Revived *revived, GError **error)
{
  g_autoptr (BkRestoreRequest) request = bk_struct_from_json_lax (&bk_restore_request_struct, record->request, error);
  g_autoptr (BkBackupInfo) backup = request ? bk_catalog_get_backup (queue->catalog, record->info->backup_id, error) : NULL;
  if (backup == NULL)
    return FALSE;
  revived->kind = &bk_restore_job_kind;
  revived->data = bk_restore_job_data_new (request, backup, error);
  revived->claims = revived->data ? restore_claims (backup, revived->data) : bk_claims_new ();
  return revived->data != NULL;
}

static gboolean
revive_delete (BkQueue *queue, const BkJobRecord *record, Revived *revived, GError **error)
{
  g_autoptr (BkBackupInfo) backup = bk_catalog_get_backup (queue->catalog, record->info->backup_id, error);
  if (backup == NULL)
    return FALSE;
  revived->kind = &bk_delete_job_kind;
  revived->data = delete_data (queue, backup, error);
  revived->claims = delete_claims (backup);
  return revived->data != NULL;
}

static gboolean
revive (BkQueue *queue, const BkJobRecord *record, Revived *revived, GError **error)
{
  if (strcmp (record->info->kind, "backup") == 0)
    return revive_backup (queue, record, revived, error);
  if (strcmp (record->info->kind, "restore") == 0)
    return revive_restore (queue, record, revived, error);
  if (strcmp (record->info->kind, "delete") == 0)
    return revive_delete (queue, record, revived, error);
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
  if (revived.kind->restart && !over)
    requeue (record);
  bool queued = strcmp (record->info->state, "queued") == 0;
  BkJob *job = enqueue (queue, record, revived.kind, revived.data, revived.claims);
  if (!queued)
    bk_job_recover (job, "the daemon was stopped before the copy had begun; nothing was lost: start the backup again");
  return TRUE;
}

gboolean
bk_queue_recover (BkQueue *queue, GError **error)
{
  if (!bk_fsio_make_folder (queue->scratch, error))
    return FALSE;
  g_autoptr (GPtrArray) records = bk_catalog_unsettled_jobs (queue->catalog, error);
  if (records == NULL)
    return FALSE;
  for (unsigned i = 0; i < records->len; i++) {
    BkJobRecord *record = g_steal_pointer (&records->pdata[i]);
    if (!recover_job (queue, record, error))
      return FALSE;
  }
  schedule (queue);
  return TRUE;
}

/* --- what there is --- */

/* The live job, or NULL; for a job that is over, the catalog has it. */
static BkJobInfo *
live_snapshot (BkQueue *queue, const char *id)
{
  BkQueueEntry *entry = find_entry (queue, id);
  return entry ? bk_job_snapshot (entry->job) : NULL;
}

BkJobInfo *
bk_queue_get_job (BkQueue *queue, const char *id, GError **error)
{
  g_autoptr (BkJobRecord) record = bk_catalog_get_job (queue->catalog, id, error);
  if (record == NULL)
    return NULL;
  BkJobInfo *live = live_snapshot (queue, record->info->id);
  return live ? live : g_steal_pointer (&record->info);
}

static bool
matches (const BkJobInfo *info, uint64_t number, const BkJobFilter *filter)
{
  return (filter->vm == NULL || g_strcmp0 (info->vm, filter->vm) == 0) &&
         (filter->kind == NULL || strcmp (info->kind, filter->kind) == 0) &&
         (filter->state == NULL || strcmp (info->state, filter->state) == 0) && (filter->before == 0 || number < filter->before);
}

/* Unfinished jobs are all in memory, and newer than their rows. */
static GPtrArray *
list_unfinished (BkQueue *queue, const BkJobFilter *filter)
{
  GPtrArray *jobs = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_job_info_free);
  for (unsigned i = queue->entries->len; i-- > 0;) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    if (matches (bk_job_info (entry->job), bk_job_number (entry->job), filter))
      g_ptr_array_add (jobs, bk_job_snapshot (entry->job));
  }
  return jobs;
}

GPtrArray *
bk_queue_list_jobs (BkQueue *queue, const BkJobFilter *filter, uint64_t *next_before, GError **error)
{
  *next_before = 0;
  if (filter->state && !g_strv_contains (bk_job_states, filter->state)) {
    g_autofree char *words = g_strjoinv (", ", (char **)bk_job_states);
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' is no state of a job; there are %s", filter->state, words);
    return NULL;
  }
  if (filter->state && !bk_job_state_is_end (filter->state))
    return list_unfinished (queue, filter);
  g_autoptr (GPtrArray) records = bk_catalog_list_jobs (queue->catalog, filter, error);
  if (records == NULL)
    return NULL;
  GPtrArray *jobs = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_job_info_free);
  for (unsigned i = 0; i < records->len; i++) {
    BkJobRecord *record = records->pdata[i];
    BkJobInfo *live = live_snapshot (queue, record->info->id);
    g_ptr_array_add (jobs, live ? live : g_steal_pointer (&record->info));
  }
  unsigned limit = filter->limit ? filter->limit : 100;
  if (records->len == limit)
    *next_before = ((const BkJobRecord *)records->pdata[records->len - 1])->number;
  return jobs;
}

static BkJobInfo *
do_verb (BkQueue *queue, const char *id, BkVerb verb, uint64_t value, GError **error)
{
  g_autoptr (BkJobInfo) known = bk_queue_get_job (queue, id, error);
  if (known == NULL)
    return NULL;
  BkQueueEntry *entry = find_entry (queue, known->id);
  if (entry == NULL || bk_job_is_over (entry->job)) {
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "job '%s' has ended (%s): %s is not possible", known->id, known->state, bk_verb_name (verb));
    return NULL;
  }
  g_autoptr (BkJob) job = bk_job_ref (entry->job);
  return bk_job_verb (job, verb, value, error) ? bk_job_snapshot (job) : NULL;
}

BkJobInfo *
bk_queue_cancel (BkQueue *queue, const char *id, GError **error)
{
  return do_verb (queue, id, BK_VERB_CANCEL, 0, error);
}

BkJobInfo *
bk_queue_pause (BkQueue *queue, const char *id, GError **error)
{
  return do_verb (queue, id, BK_VERB_PAUSE, 0, error);
}

BkJobInfo *
bk_queue_resume (BkQueue *queue, const char *id, GError **error)
{
  return do_verb (queue, id, BK_VERB_RESUME, 0, error);
}

BkJobInfo *
bk_queue_set_speed (BkQueue *queue, const char *id, uint64_t speed, GError **error)
{
  return do_verb (queue, id, BK_VERB_SPEED, speed, error);
}

GPtrArray *
bk_queue_list_backups (BkQueue *queue, const char *vm, GError **error)
{
  return bk_catalog_list_backups (queue->catalog, vm, NULL, error);
}

BkBackupInfo *
bk_queue_get_backup (BkQueue *queue, const char *id, GError **error)
{
  return bk_catalog_get_backup (queue->catalog, id, error);
}

/* --- what needs to know of jobs --- */

GStrv
bk_queue_jobs_of_vm (BkQueue *queue, const char *vm)
{
  g_autoptr (GStrvBuilder) ids = g_strv_builder_new ();
  for (unsigned i = 0; i < queue->entries->len; i++) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    if (is_of_vm (entry, vm) && !bk_job_is_over (entry->job))
      g_strv_builder_add (ids, bk_job_id (entry->job));
  }
  return g_strv_builder_end (ids);
}

gboolean
bk_queue_remove_vm (BkQueue *queue, const char *name, GError **error)
{
  g_auto (GStrv) jobs = bk_queue_jobs_of_vm (queue, name);
  if (jobs[0]) {
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "VM '%s' has the unfinished job '%s'; wait for it or cancel it", name, jobs[0]);
    return FALSE;
  }
  return bk_vm_registry_remove (queue->vms, name, error);
}

gboolean
bk_queue_remove_repository (BkQueue *queue, const char *name, GError **error)
{
  for (unsigned i = 0; i < queue->entries->len; i++) {
    const BkQueueEntry *entry = queue->entries->pdata[i];
    if (bk_job_is_over (entry->job) || g_strcmp0 (bk_job_info (entry->job)->repository, name) != 0)
      continue;
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "repository '%s' is in use by job '%s'; wait for it or cancel it", name, bk_job_id (entry->job));
    return FALSE;
  }
  return bk_repository_registry_remove (queue->repositories, name, error);
}
