/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A queue without jobs behind it: it keeps records, obeys the verbs, publishes events, and does nothing to a VM.
 * Linked in place of job/queue.c, so that the REST server is tested alone.
 *
 * What tests may ask of it: a backup of the ID "slow" is accepted half a second late; one of the ID "flood"
 * publishes 20000 events; one of the ID "nowhere" finds its VM unreachable. A deletion is done at once, into the trash;
 * backups of the VM "plain" are of a repository that has none.
 */
#include "fake-queue.h"

#include "ulid.h"

#include <string.h>

BkQueue *
bk_queue_new (BkCatalog *catalog, BkVmRegistry *vms, BkRepositoryRegistry *repositories, BkEventRing *events,
              const BkQueueOptions *options G_GNUC_UNUSED)
{
  BkQueue *queue = g_new0 (BkQueue, 1);
  queue->catalog = catalog;
  queue->vms = vms;
  queue->repositories = repositories;
  queue->events = events;
  queue->jobs = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_job_info_free);
  queue->trash = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_backup_info_free);
  queue->pinned = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  queue->exports = g_ptr_array_new_with_free_func (fake_export_free);
  return queue;
}

void
bk_queue_free (BkQueue *queue)
{
  g_ptr_array_unref (queue->jobs);
  g_ptr_array_unref (queue->trash);
  g_hash_table_unref (queue->pinned);
  g_ptr_array_unref (queue->exports);
  g_free (queue);
}

gboolean
bk_queue_recover (BkQueue *queue G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
  return TRUE;
}

static BkJobInfo *
copy (const BkJobInfo *job)
{
  return bk_struct_copy (&bk_job_info_struct, job);
}

static BkJobInfo *
find (BkQueue *queue, const char *id, GError **error)
{
  for (unsigned i = 0; i < queue->jobs->len; i++)
    if (g_str_has_prefix (((BkJobInfo *)queue->jobs->pdata[i])->id, id))
      return queue->jobs->pdata[i];
  g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "no job '%s'", id);
  return NULL;
}

static void
publish (BkQueue *queue, const BkJobInfo *job)
{
  bk_event_ring_publish (queue->events, "job", job->vm, job->id, bk_struct_to_json (&bk_job_info_struct, job));
}

static void
set_state (BkQueue *queue, BkJobInfo *job, const char *state)
{
  static const char *const of_running[] = { "cancel", "pause", "speed", NULL };
  static const char *const of_paused[] = { "cancel", "resume", "speed", NULL };
  static const char *const none[] = { NULL };
  const char *const *actions = g_str_equal (state, "running") ? of_running : g_str_equal (state, "paused") ? of_paused : none;
  g_free (job->state);
  job->state = g_strdup (state);
  g_strfreev (job->actions);
  job->actions = g_strdupv ((char **)actions);
  publish (queue, job);
}

static BkJobInfo *
add_job (BkQueue *queue, const char *id, const char *kind, const char *vm, GError **error)
{
  for (unsigned i = 0; id && i < queue->jobs->len; i++)
    if (g_str_equal (((BkJobInfo *)queue->jobs->pdata[i])->id, id)) {
      g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "there is a job '%s' already", id);
      return NULL;
    }
  BkJobInfo *job = g_new0 (BkJobInfo, 1);
  job->id = id ? g_strdup (id) : bk_ulid_new ();
  job->kind = g_strdup (kind);
  job->vm = g_strdup (vm);
  job->created_at = g_get_real_time ();
  job->eta_seconds = -1;
  g_ptr_array_add (queue->jobs, job);
  set_state (queue, job, "running");
  return job;
}

static gboolean
add_backup (BkQueue *queue, const BkJobInfo *job, GError **error)
{
  g_autoptr (BkBackupInfo) backup = g_new0 (BkBackupInfo, 1);
  backup->version = 1;
  backup->id = g_strdup (job->id);
  backup->vm = g_strdup (job->vm);
  backup->repository = g_strdup ("default");
  backup->location = g_strdup ("/nowhere");
  backup->state = g_strdup ("completed");
  backup->point_in_time = job->created_at;
  backup->disks = g_ptr_array_new ();
  return bk_catalog_put_backup (queue->catalog, backup, error);
}

/* --- backups to come --- */

static BkJobInfo *
submit (BkQueue *queue, const BkBackupRequest *request, GError **error)
{
  g_autoptr (BkVm) vm = bk_vm_registry_get (queue->vms, request->vm, error);
  if (vm == NULL)
    return NULL;
  if (request->id && !bk_id_is_valid (request->id)) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/id: must be 1 to 64 characters of [A-Za-z0-9._-]");
    return NULL;
  }
  if (g_strcmp0 (request->id, "nowhere") == 0) {
    g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "VM '%s' does not answer", request->vm);
    return NULL;
  }
  BkJobInfo *job = add_job (queue, request->id, "backup", request->vm, error);
  if (job == NULL || !add_backup (queue, job, error))
    return NULL;
  for (unsigned i = 0; g_strcmp0 (request->id, "flood") == 0 && i < 20000; i++)
    publish (queue, job);
  return copy (job);
}

typedef struct {
  BkQueue *queue;
  BkBackupRequest *request;
} Late;

static void
late_free (gpointer data)
{
  Late *late = data;
  bk_backup_request_free (late->request);
  g_free (late);
}

static gboolean
finish_late (gpointer user_data)
{
  GTask *task = user_data;
  Late *late = g_task_get_task_data (task);
  GError *error = NULL;
  BkJobInfo *job = submit (late->queue, late->request, &error);
  if (job)
    g_task_return_pointer (task, job, (GDestroyNotify)bk_job_info_free);
  else
    g_task_return_error (task, error);
  return G_SOURCE_REMOVE;
}

void
bk_queue_submit_backup_async (BkQueue *queue, const BkBackupRequest *request, GAsyncReadyCallback callback, gpointer user_data)
{
  Late *late = g_new0 (Late, 1);
  late->queue = queue;
  late->request = bk_struct_copy (&bk_backup_request_struct, request);
  GTask *task = g_task_new (NULL, NULL, callback, user_data);
  g_task_set_task_data (task, late, late_free);
  g_timeout_add_full (G_PRIORITY_DEFAULT, g_strcmp0 (request->id, "slow") == 0 ? 500 : 1, finish_late, task, g_object_unref);
}

BkJobInfo *
bk_queue_submit_backup_finish (BkQueue *queue G_GNUC_UNUSED, GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer (G_TASK (result), error);
}

void
bk_queue_plan_backup_async (BkQueue *queue, const BkBackupRequest *request, GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr (GTask) task = g_task_new (NULL, NULL, callback, user_data);
  GError *error = NULL;
  g_autoptr (BkVm) vm = bk_vm_registry_get (queue->vms, request->vm, &error);
  if (vm == NULL) {
    g_task_return_error (task, error);
    return;
  }
  BkPlanInfo *plan = g_new0 (BkPlanInfo, 1);
  plan->vm = g_strdup (request->vm);
  plan->mode = g_strdup ("push");
  plan->repository = g_strdup ("default");
  g_task_return_pointer (task, plan, (GDestroyNotify)bk_plan_info_free);
}

BkPlanInfo *
bk_queue_plan_backup_finish (BkQueue *queue G_GNUC_UNUSED, GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer (G_TASK (result), error);
}

/* --- other jobs --- */

static BkJobInfo *
submit_for_backup (BkQueue *queue, const char *kind, const char *id, const char *prefix, GError **error)
{
  g_autoptr (BkBackupInfo) backup = bk_catalog_get_backup (queue->catalog, prefix, error);
  BkJobInfo *job = backup ? add_job (queue, id, kind, backup->vm, error) : NULL;
  if (job == NULL)
    return NULL;
  job->backup_id = g_strdup (backup->id);
  return copy (job);
}

BkJobInfo *
bk_queue_submit_restore (BkQueue *queue, const BkRestoreRequest *request, GError **error)
{
  return submit_for_backup (queue, "restore", request->id, request->backup, error);
}

static void
throw_away (BkQueue *queue, BkBackupInfo *backup)
{
  backup->deleted_at = g_get_real_time ();
  g_ptr_array_add (queue->trash, backup);
}

BkJobInfo *
bk_queue_submit_delete (BkQueue *queue, const char *id, GError **error)
{
  g_autoptr (BkBackupInfo) backup = bk_catalog_get_backup (queue->catalog, id, error);
  if (backup == NULL)
    return NULL;
  if (g_hash_table_contains (queue->pinned, backup->id)) {
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "backup '%s' is pinned; unpin it first", backup->id);
    return NULL;
  }
  g_autoptr (BkJobInfo) job = submit_for_backup (queue, "delete", NULL, backup->id, error);
  if (job == NULL || !bk_catalog_remove_backup (queue->catalog, backup->id, error))
    return NULL;
  throw_away (queue, g_steal_pointer (&backup));
  return g_steal_pointer (&job);
}

BkJobInfo *
bk_queue_submit_copy (BkQueue *queue, const BkCopyRequest *request, GError **error)
{
  g_autoptr (BkRepositoryInfo) to = bk_repository_registry_info (queue->repositories, request->to, error);
  BkJobInfo *job = to ? submit_for_backup (queue, "copy", request->id, request->backup, error) : NULL;
  if (job == NULL)
    return NULL;
  job->speed = request->speed;
  job->repository = g_strdup (to->name);
  return job;
}

static BkJobInfo *
submit_for_repository (BkQueue *queue, const char *kind, const char *id, const char *name, GError **error)
{
  g_autoptr (BkRepositoryInfo) repository = bk_repository_registry_info (queue->repositories, name, error);
  BkJobInfo *job = repository ? add_job (queue, id, kind, NULL, error) : NULL;
  if (job == NULL)
    return NULL;
  job->repository = g_strdup (repository->name);
  return copy (job);
}

BkJobInfo *
bk_queue_submit_verify (BkQueue *queue, const BkVerifyRequest *request, GError **error)
{
  if ((request->backup == NULL) == (request->repository == NULL)) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/backup: name either a backup or a repository");
    return NULL;
  }
  return request->backup ? submit_for_backup (queue, "verify", request->id, request->backup, error)
                         : submit_for_repository (queue, "verify", request->id, request->repository, error);
}

BkJobInfo *
bk_queue_submit_gc (BkQueue *queue, const BkGcRequest *request, GError **error)
{
  BkJobInfo *job = submit_for_repository (queue, "gc", request->id, request->repository, error);
  if (job && request->dry_run)
    job->bytes_total = 4096;
  return job;
}

BkJobInfo *
bk_queue_get_job (BkQueue *queue, const char *id, GError **error)
{
  BkJobInfo *job = find (queue, id, error);
  return job ? copy (job) : NULL;
}

static bool
passes (const BkJobInfo *job, const BkJobFilter *filter)
{
  return (filter->vm == NULL || g_strcmp0 (job->vm, filter->vm) == 0) &&
         (filter->state == NULL || g_strcmp0 (job->state, filter->state) == 0) &&
         (filter->kind == NULL || g_strcmp0 (job->kind, filter->kind) == 0);
}

/* A job's number is its place, from 1. */
GPtrArray *
bk_queue_list_jobs (BkQueue *queue, const BkJobFilter *filter, uint64_t *next_before, GError **error G_GNUC_UNUSED)
{
  GPtrArray *page = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_job_info_free);
  unsigned number = queue->jobs->len;
  if (filter->before > 0 && filter->before <= number)
    number = (unsigned)filter->before - 1;
  for (; number > 0 && page->len < filter->limit; number--)
    if (passes (queue->jobs->pdata[number - 1], filter))
      g_ptr_array_add (page, copy (queue->jobs->pdata[number - 1]));
  *next_before = number > 0 ? number + 1 : 0;
  return page;
}

static BkJobInfo *
act (BkQueue *queue, const char *id, const char *verb, const char *state, GError **error)
{
  BkJobInfo *job = find (queue, id, error);
  if (job == NULL)
    return NULL;
  if (!g_strv_contains ((const char *const *)job->actions, verb)) {
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "job '%s' is %s: cannot %s it", job->id, job->state, verb);
    return NULL;
  }
  set_state (queue, job, state ? state : job->state);
  return copy (job);
}

BkJobInfo *
bk_queue_cancel (BkQueue *queue, const char *id, GError **error)
{
  return act (queue, id, "cancel", "cancelled", error);
}

BkJobInfo *
bk_queue_pause (BkQueue *queue, const char *id, GError **error)
{
  return act (queue, id, "pause", "paused", error);
}

BkJobInfo *
bk_queue_resume (BkQueue *queue, const char *id, GError **error)
{
  return act (queue, id, "resume", "running", error);
}

BkJobInfo *
bk_queue_set_speed (BkQueue *queue, const char *id, uint64_t speed, GError **error)
{
  BkJobInfo *job = find (queue, id, error);
  if (job)
    job->speed = speed;
  return job ? copy (job) : NULL;
}

/* --- backups and checkpoints --- */

GPtrArray *
bk_queue_list_backups (BkQueue *queue, const char *vm, GError **error)
{
  return bk_catalog_list_backups (queue->catalog, vm, NULL, error);
}

BkBackupInfo *
bk_queue_get_backup (BkQueue *queue, const char *id, GError **error)
{
  BkBackupInfo *backup = bk_catalog_get_backup (queue->catalog, id, error);
  if (backup)
    backup->pinned = g_hash_table_contains (queue->pinned, backup->id);
  return backup;
}

GPtrArray *
bk_queue_list_trash (BkQueue *queue, const char *vm, GError **error G_GNUC_UNUSED)
{
  GPtrArray *found = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_backup_info_free);
  for (unsigned i = 0; i < queue->trash->len; i++) {
    const BkBackupInfo *backup = queue->trash->pdata[i];
    if (vm == NULL || g_str_equal (backup->vm, vm))
      g_ptr_array_add (found, bk_struct_copy (&bk_backup_info_struct, backup));
  }
  return found;
}

BkBackupInfo *
bk_queue_pin_backup (BkQueue *queue, const char *id, bool pinned, GError **error)
{
  g_autoptr (BkBackupInfo) backup = bk_queue_get_backup (queue, id, error);
  if (backup == NULL)
    return NULL;
  if (g_str_equal (backup->vm, "plain")) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "backup '%s' is not in a repository of type dedup: it can not be pinned",
                 backup->id);
    return NULL;
  }
  if (pinned)
    g_hash_table_add (queue->pinned, g_strdup (backup->id));
  else
    g_hash_table_remove (queue->pinned, backup->id);
  backup->pinned = pinned;
  return g_steal_pointer (&backup);
}

BkBackupInfo *
bk_queue_undelete_backup (BkQueue *queue, const char *id, GError **error)
{
  for (unsigned i = 0; i < queue->trash->len; i++) {
    BkBackupInfo *backup = queue->trash->pdata[i];
    if (!g_str_has_prefix (backup->id, id))
      continue;
    backup->deleted_at = 0;
    if (!bk_catalog_put_backup (queue->catalog, backup, error))
      return NULL;
    return g_ptr_array_steal_index (queue->trash, i);
  }
  g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "no backup '%s' in the trash", id);
  return NULL;
}

GPtrArray *
bk_queue_list_checkpoints (BkQueue *queue, const char *vm, GError **error)
{
  return bk_catalog_list_checkpoints (queue->catalog, vm, error);
}

static BkCheckpointInfo *
create_checkpoint (BkQueue *queue, const BkCheckpointRequest *request, GError **error)
{
  g_autoptr (BkVm) vm = bk_vm_registry_get (queue->vms, request->vm, error);
  if (vm == NULL)
    return NULL;
  g_autoptr (BkCheckpointInfo) checkpoint = g_new0 (BkCheckpointInfo, 1);
  checkpoint->id = bk_ulid_new ();
  checkpoint->name = g_strdup (request->name);
  checkpoint->vm = g_strdup (request->vm);
  checkpoint->created_at = g_get_real_time ();
  checkpoint->disks = g_ptr_array_new ();
  return bk_catalog_put_checkpoint (queue->catalog, checkpoint, error) ? g_steal_pointer (&checkpoint) : NULL;
}

void
bk_queue_create_checkpoint_async (BkQueue *queue, const BkCheckpointRequest *request, GAsyncReadyCallback callback,
                                  gpointer user_data)
{
  g_autoptr (GTask) task = g_task_new (NULL, NULL, callback, user_data);
  GError *error = NULL;
  BkCheckpointInfo *checkpoint = create_checkpoint (queue, request, &error);
  if (checkpoint)
    g_task_return_pointer (task, checkpoint, (GDestroyNotify)bk_checkpoint_info_free);
  else
    g_task_return_error (task, error);
}

BkCheckpointInfo *
bk_queue_create_checkpoint_finish (BkQueue *queue G_GNUC_UNUSED, GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer (G_TASK (result), error);
}

void
bk_queue_delete_checkpoint_async (BkQueue *queue, const char *id, GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr (GTask) task = g_task_new (NULL, NULL, callback, user_data);
  GError *error = NULL;
  g_autoptr (BkCheckpointInfo) checkpoint = bk_catalog_get_checkpoint (queue->catalog, NULL, id, &error);
  if (checkpoint && bk_catalog_remove_checkpoint (queue->catalog, checkpoint->id, &error))
    g_task_return_boolean (task, TRUE);
  else
    g_task_return_error (task, error);
}

gboolean
bk_queue_delete_checkpoint_finish (BkQueue *queue G_GNUC_UNUSED, GAsyncResult *result, GError **error)
{
  return g_task_propagate_boolean (G_TASK (result), error);
}

/* --- things that need to know of jobs --- */

static bool
is_unfinished (const BkJobInfo *job)
{
  return g_str_equal (job->state, "running") || g_str_equal (job->state, "paused");
}

GStrv
bk_queue_jobs_of_vm (BkQueue *queue, const char *vm)
{
  GPtrArray *ids = g_ptr_array_new ();
  for (unsigned i = 0; i < queue->jobs->len; i++) {
    const BkJobInfo *job = queue->jobs->pdata[i];
    if (is_unfinished (job) && g_strcmp0 (job->vm, vm) == 0)
      g_ptr_array_add (ids, g_strdup (job->id));
  }
  g_ptr_array_add (ids, NULL);
  return (GStrv)g_ptr_array_free (ids, FALSE);
}

gboolean
bk_queue_remove_vm (BkQueue *queue, const char *name, GError **error)
{
  g_auto (GStrv) jobs = bk_queue_jobs_of_vm (queue, name);
  if (jobs[0] == NULL)
    return bk_vm_registry_remove (queue->vms, name, error);
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "VM '%s' is used by job '%s'", name, jobs[0]);
  return FALSE;
}

gboolean
bk_queue_remove_repository (BkQueue *queue, const char *name, GError **error)
{
  return bk_repository_registry_remove (queue->repositories, name, error);
}
