/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backup-job.h"

#include "backup-manifest.h"
#include "backup-progress.h"
#include "backup-request.h"
#include "backup-target.h"
#include "checkpoint-forget.h"
#include "fsio.h"
#include "target-check.h"
#include "ulid.h"

#include <string.h>

/* How long the copy's worker sleeps at most: pause and speed take effect within it. */
#define WAIT_MS 500

typedef struct {
  BkVm *vm;
  BkRepositoryRegistry *repositories;
  char *scratch;
  uint64_t scratch_reserve;
  BkBackupRequest *request;

  BkVmState *state;   /* found by inspect, until planned */
  BkArchive *archive; /* NULL with a target of its own */
  char *backup_id;
  char *folder;       /* of the backup in the repository; NULL with a target */
  BkRun *run;         /* NULL until planned */
  GStrv made;         /* target files that did not exist before: undo removes them */
} Backup;

/* --- its form in the catalog --- */

typedef struct {
  char *backup_id;
  GStrv made;
  BkRun *run;
} Stored;

static const BkField stored_fields[] = {
  { "backup_id", BK_FIELD_STRING, offsetof (Stored, backup_id), BK_FIELD_REQUIRED, NULL, NULL },
  { "made", BK_FIELD_STRV, offsetof (Stored, made), 0, NULL, NULL },
  { "run", BK_FIELD_OBJECT, offsetof (Stored, run), 0, &bk_run_struct, NULL },
  { NULL },
};
static const BkStruct stored_struct = { "stored backup job", sizeof (Stored), stored_fields };

static json_object *
to_json (gpointer data)
{
  Backup *backup = data;
  Stored stored = { backup->backup_id, backup->made, backup->run };
  return bk_struct_to_json (&stored_struct, &stored);
}

static BkArchive *
open_archive (BkRepositoryRegistry *repositories, const BkBackupRequest *request, GError **error)
{
  return request->target ? NULL : bk_repository_registry_open (repositories, request->repository, error);
}

static void
set_folder (Backup *backup)
{
  g_free (backup->folder);
  backup->folder = backup->archive ? bk_archive_backup_folder (backup->archive, backup->request->vm, backup->backup_id) : NULL;
}

static gboolean
read_stored (Backup *backup, json_object *run, GError **error)
{
  Stored *stored = bk_struct_from_json_lax (&stored_struct, run, error);
  if (stored == NULL)
    return FALSE;
  g_free (backup->backup_id);
  backup->backup_id = g_steal_pointer (&stored->backup_id);
  backup->made = g_steal_pointer (&stored->made);
  backup->run = g_steal_pointer (&stored->run);
  bk_struct_free (&stored_struct, stored);
  g_autoptr (GError) failure = NULL;
  backup->archive = open_archive (backup->repositories, backup->request, &failure);
  if (failure)
    g_warning ("backup '%s': %s", backup->backup_id, failure->message);
  set_folder (backup);
  return TRUE;
}

static void
backup_free (gpointer data)
{
  Backup *backup = data;
  g_clear_pointer (&backup->vm, bk_vm_unref);
  g_free (backup->scratch);
  bk_backup_request_free (backup->request);
  g_clear_pointer (&backup->state, bk_vm_state_free);
  g_clear_pointer (&backup->archive, bk_archive_unref);
  g_free (backup->backup_id);
  g_free (backup->folder);
  bk_run_free (backup->run);
  g_strfreev (backup->made);
  g_free (backup);
}

gpointer
bk_backup_job_data_new (const BkBackupJobContext *context, const BkBackupRequest *request, const char *backup_id, json_object *run, GError **error)
{
  Backup *backup = g_new0 (Backup, 1);
  backup->vm = bk_vm_ref (context->vm);
  backup->repositories = context->repositories;
  backup->scratch = g_strdup (context->scratch);
  backup->scratch_reserve = context->scratch_reserve;
  backup->request = bk_struct_copy (&bk_backup_request_struct, request);
  backup->backup_id = backup_id ? g_strdup (backup_id) : bk_ulid_new ();
  if (run == NULL || read_stored (backup, run, error))
    return backup;
  backup_free (backup);
  return NULL;
}

/* --- plan --- */

static char *
why_no_scratch (const char *folder, uint64_t reserve)
{
  g_autoptr (GError) error = NULL;
  uint64_t bytes = 0;
  if (!bk_fsio_free_space (folder, &bytes, &error))
    return g_strdup_printf ("no scratch space: %s", error->message);
  if (bytes >= reserve)
    return NULL;
  g_autofree char *have = bk_size_format (bytes);
  g_autofree char *want = bk_size_format (reserve);
  return g_strdup_printf ("only %s of scratch space are free in '%s', and %s are to stay free", have, folder, want);
}

static bool
is_planned (const BkRun *run, const BkDisk *disk)
{
  for (unsigned i = 0; i < run->disks->len; i++)
    if (strcmp (((const BkRunDisk *)run->disks->pdata[i])->name, disk->name) == 0)
      return true;
  return false;
}

/* Something of an earlier job is still in the way and could not be taken out of the VM yet; or another program's
 * job is at work: QEMU 7.2 aborts when a filter sits above such a job's own as it ends. */
static gboolean
check_not_in_use (const BkRun *run, const BkVmState *state, GError **error)
{
  for (unsigned i = 0; i < state->disks->len; i++) {
    const BkDisk *disk = state->disks->pdata[i];
    if (!is_planned (run, disk))
      continue;
    if (disk->blocked) {
      g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "disk '%s' is in use by %s; wait until that has ended", disk->name, disk->blocked);
      return FALSE;
    }
    if (disk->in_use) {
      g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "disk '%s' still carries the nodes '%s-*' of another backup; wait until that has ended",
                   disk->name, disk->in_use);
      return FALSE;
    }
  }
  return TRUE;
}

BkRun *
bk_backup_job_plan (const BkBackupJobContext *context, BkCatalog *catalog, const BkBackupRequest *request,
                    const BkVmState *state, BkArchive **archive, char **reason, BkPlanInfo **info, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (BkArchive) opened = open_archive (context->repositories, request, &failure);
  if (failure) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return NULL;
  }
  g_autofree char *no_scratch = why_no_scratch (context->scratch, context->scratch_reserve);
  g_autoptr (GPtrArray) checkpoints = bk_catalog_list_checkpoints (catalog, request->vm, error);
  g_autoptr (GPtrArray) backups = checkpoints == NULL ? NULL
                                  : request->target ? g_ptr_array_new ()
                                                    : bk_catalog_list_backups (catalog, request->vm, bk_backup_request_repository (request), error);
  if (backups == NULL)
    return NULL;
  BkPlanInput input = {
    .request = request,
    .vm = state,
    .checkpoints = checkpoints,
    .backups = backups,
    .repository = bk_backup_request_repository (request),
    .instance = bk_catalog_instance (catalog),
    .scratch = no_scratch ? NULL : context->scratch,
    .no_scratch = no_scratch,
  };
  g_autofree char *why = NULL;
  g_autoptr (BkRun) run = bk_plan_backup (&input, &why, error);
  if (run == NULL || (!context->settling && !check_not_in_use (run, state, error)) ||
      !bk_target_check_disks (context->repositories, request, run, state->disks, error))
    return NULL;
  if (info)
    *info = bk_plan_describe (run, &input, why);
  if (reason)
    *reason = g_steal_pointer (&why);
  if (archive)
    *archive = g_steal_pointer (&opened);
  return g_steal_pointer (&run);
}

static gboolean
work_plan (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable, GError **error)
{
  Backup *backup = data;
  backup->state = bk_backend_inspect (bk_vm_backend (backup->vm), cancellable, error);
  return backup->state != NULL;
}

static void
fill_job_disks (BkJobInfo *info, const BkRun *run)
{
  for (unsigned i = 0; info->disks && i < info->disks->len; i++)
    bk_job_disk_free (info->disks->pdata[i]);
  g_clear_pointer (&info->disks, g_ptr_array_unref);
  info->disks = bk_backup_progress_rows (run);
}

/* The provisional checkpoint is known before QEMU hears of its bitmaps. */
static gboolean
put_checkpoint (BkJob *job, const Backup *backup, const char *state, GError **error)
{
  g_autoptr (BkCheckpointInfo) checkpoint = g_new0 (BkCheckpointInfo, 1);
  checkpoint->id = g_strdup (backup->backup_id);
  checkpoint->vm = g_strdup (backup->request->vm);
  checkpoint->backup_id = g_strdup (backup->backup_id);
  checkpoint->job_id = g_strdup (bk_job_id (job));
  checkpoint->created_at = backup->run->point_in_time ? backup->run->point_in_time : g_get_real_time ();
  checkpoint->disks = g_ptr_array_new ();
  for (unsigned i = 0; i < backup->run->disks->len; i++) {
    const BkRunDisk *planned = backup->run->disks->pdata[i];
    if (planned->bitmap == NULL || bk_run_disk_has_failed (planned))
      continue;
    BkCheckpointDisk *disk = g_new0 (BkCheckpointDisk, 1);
    disk->name = g_strdup (planned->name);
    disk->bitmap = g_strdup (planned->bitmap);
    disk->parent = g_strdup (planned->parent_checkpoint);
    disk->state = g_strdup (state);
    disk->size = planned->size;
    disk->persistent = planned->persistent;
    g_ptr_array_add (checkpoint->disks, disk);
  }
  if (checkpoint->disks->len == 0)
    return TRUE;
  BkJobInfo *info = bk_job_info (job);
  g_free (info->checkpoint_id);
  info->checkpoint_id = g_strdup (checkpoint->id);
  return bk_catalog_put_checkpoint (bk_job_catalog (job), checkpoint, error);
}

static gboolean
record_plan (BkJob *job, gpointer data, GError **error)
{
  Backup *backup = data;
  BkJobInfo *info = bk_job_info (job);
  BkBackupJobContext context = { backup->vm, backup->repositories, backup->scratch, backup->scratch_reserve, false };
  g_autofree char *reason = NULL;
  BkRun *run = bk_backup_job_plan (&context, bk_job_catalog (job), backup->request, backup->state, &backup->archive, &reason, NULL, error);
  if (run == NULL)
    return FALSE;
  backup->run = run;
  set_folder (backup);
  if (!bk_plan_name (run, backup->request, bk_catalog_instance (bk_job_catalog (job)), bk_job_number (job), backup->folder, error))
    return FALSE;
  g_free (info->mode);
  info->mode = g_strdup (run->mode);
  g_free (info->reason);
  info->reason = g_steal_pointer (&reason);
  g_free (info->backup_id);
  info->backup_id = g_strdup (backup->backup_id);
  run->speed = info->speed; /* it may have been changed since the job was asked for */
  fill_job_disks (info, run);
  return put_checkpoint (job, backup, "provisional", error);
}

/* --- target --- */

static gboolean
work_target (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  Backup *backup = data;
  if (backup->archive && !bk_archive_begin (backup->archive, backup->request->vm, backup->backup_id, error))
    return FALSE;
  return bk_backup_target_make (backup->run, backup->request, error);
}

static gboolean
undo_target (BkJob *job G_GNUC_UNUSED, gpointer data, GError **error)
{
  Backup *backup = data;
  /* Committed, but the catalog could not be written: the backup stays, and is found at the next start. */
  if (backup->archive && bk_archive_has (backup->archive, backup->request->vm, backup->backup_id))
    return TRUE;
  if (backup->archive)
    return bk_archive_abort (backup->archive, backup->request->vm, backup->backup_id, error);
  for (size_t i = 0; backup->made && backup->made[i]; i++)
    if (!bk_fsio_remove (backup->made[i], error))
      return FALSE;
  return TRUE;
}

static gboolean
record_plan_and_files (BkJob *job, gpointer data, GError **error)
{
  Backup *backup = data;
  if (!record_plan (job, data, error))
    return FALSE;
  backup->made = bk_backup_target_new_files (backup->run, backup->request);
  return TRUE;
}

/* --- prepare, snapshot, start --- */

static gboolean
work_prepare (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable, GError **error)
{
  Backup *backup = data;
  return bk_backend_prepare (bk_vm_backend (backup->vm), backup->run, cancellable, error);
}

/* All that may be in the VM goes, and all dirty bits go back. */
static gboolean
undo_prepare (BkJob *job G_GNUC_UNUSED, gpointer data, GError **error)
{
  Backup *backup = data;
  if (backup->run == NULL)
    return TRUE;
  return bk_backend_release (bk_vm_backend (backup->vm), backup->run, error) &&
         bk_backend_rollback (bk_vm_backend (backup->vm), backup->run, true, error);
}

static gboolean
work_snapshot (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable, GError **error)
{
  Backup *backup = data;
  return bk_backend_snapshot (bk_vm_backend (backup->vm), backup->run, cancellable, error);
}

static gboolean
work_start (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable, GError **error)
{
  Backup *backup = data;
  return bk_backend_start (bk_vm_backend (backup->vm), backup->run, cancellable, error);
}

static gboolean
record_start (BkJob *job, gpointer data, GError **error G_GNUC_UNUSED)
{
  Backup *backup = data;
  bk_job_info (job)->point_in_time = backup->run->point_in_time;
  return TRUE;
}

/* --- copy --- */

/* Where QEMU cannot be reached just now, the verb waits with the copy until it can. */
static gboolean
carry_out (Backup *backup, BkVerb verb, uint64_t value, GCancellable *cancellable, GError **error)
{
  BkBackend *backend = bk_vm_backend (backup->vm);
  for (bool done = false; !done;) {
    g_autoptr (GError) failure = NULL;
    if (verb == BK_VERB_SPEED ? bk_backend_set_speed (backend, backup->run, value, &failure)
                              : bk_backend_pause (backend, backup->run, verb == BK_VERB_PAUSE, &failure))
      return TRUE;
    if (!g_error_matches (failure, BK_ERROR, BK_ERROR_UNREACHABLE)) {
      g_propagate_error (error, g_steal_pointer (&failure));
      return FALSE;
    }
    if (!bk_backend_wait (backend, backup->run, WAIT_MS, &done, cancellable, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
carry_out_verbs (BkJob *job, Backup *backup, GCancellable *cancellable, GError **error)
{
  BkVerb verb;
  uint64_t value;
  while (bk_job_next_verb (job, &verb, &value)) {
    if (!carry_out (backup, verb, value, cancellable, error))
      return FALSE;
    if (verb == BK_VERB_SPEED)
      backup->run->speed = value;
  }
  return TRUE;
}

/* The host's file system must not fill up because of us; without scratch the backup fails, not the guest. */
static gboolean
check_scratch (const Backup *backup, GError **error)
{
  uint64_t bytes = 0;
  if (!bk_run_is_snapshot (backup->run) || !bk_fsio_free_space (backup->scratch, &bytes, NULL))
    return TRUE;
  if (bytes >= backup->scratch_reserve / 2)
    return TRUE;
  g_autofree char *have = bk_size_format (bytes);
  g_set_error (error, BK_ERROR, BK_ERROR_NO_SPACE, "scratch space in '%s' is down to %s; the guest writes more than it holds",
               backup->scratch, have);
  return FALSE;
}

static void
set_disk_error (GError **error, const BkRunDisk *disk)
{
  g_set_error (error, BK_ERROR, bk_error_entry_by_name (disk->error->code)->code, "disk %s: %s", disk->name, disk->error->message);
}

/* Some disks may fail and others not; when none is left, the job has failed. */
static gboolean
any_disk_left (const BkRun *run, GError **error)
{
  unsigned failed = 0;
  const BkRunDisk *first = bk_run_first_failed (run, &failed);
  if (failed < run->disks->len)
    return TRUE;
  set_disk_error (error, first);
  return FALSE;
}

/* A job that QEMU has paused for an error is paused as a whole, until somebody has looked at it. */
static gboolean
pause_when_stopped (BkJob *job, Backup *backup, GError **error)
{
  const BkRunDisk *disk = backup->run->stopped;
  if (disk == NULL || backup->run->user_paused)
    return TRUE;
  if (!bk_backend_pause (bk_vm_backend (backup->vm), backup->run, true, error))
    return FALSE;
  GError *why = NULL;
  if (backup->run->stopped_full)
    g_set_error (&why, BK_ERROR, BK_ERROR_NO_SPACE, "disk %s: the target '%s' is full; make room and resume the job, or cancel it",
                 disk->name, disk->target);
  else
    g_set_error (&why, BK_ERROR, BK_ERROR_FAILED, "disk %s: the disk or its target '%s' has an error; mend it and resume the job, or cancel it",
                 disk->name, disk->target);
  bk_job_paused (job, why);
  return TRUE;
}

static gboolean
work_copy (BkJob *job, gpointer data, GCancellable *cancellable, GError **error)
{
  Backup *backup = data;
  for (bool done = false; !done;) {
    if (!carry_out_verbs (job, backup, cancellable, error) || !check_scratch (backup, error) ||
        !bk_backend_wait (bk_vm_backend (backup->vm), backup->run, WAIT_MS, &done, cancellable, error) ||
        !pause_when_stopped (job, backup, error))
      return FALSE;
  }
  return any_disk_left (backup->run, error);
}

/* --- release, sync, commit --- */

static gboolean
work_release (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  Backup *backup = data;
  BkBackend *backend = bk_vm_backend (backup->vm);
  return bk_backend_close (backend, backup->run, error) && bk_backend_release (backend, backup->run, error) &&
         bk_backend_rollback (backend, backup->run, false, error) && any_disk_left (backup->run, error);
}

static gboolean
work_sync (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  Backup *backup = data;
  bool failed_here = false;
  for (unsigned i = 0; i < backup->run->disks->len; i++) {
    BkRunDisk *disk = backup->run->disks->pdata[i];
    g_autoptr (GError) failure = NULL;
    if (bk_run_disk_has_failed (disk))
      continue;
    if (bk_backup_target_sync (disk, &failure)) {
      g_free (disk->state);
      disk->state = g_strdup ("completed");
      continue;
    }
    bk_run_disk_fail (disk, failure);
    failed_here = true;
  }
  if (!any_disk_left (backup->run, error))
    return FALSE;
  return !failed_here || bk_backend_rollback (bk_vm_backend (backup->vm), backup->run, false, error);
}

static BkBackupInfo *
describe (BkJob *job, const Backup *backup)
{
  return bk_backup_manifest_new (backup->run, backup->request, backup->backup_id, bk_job_id (job));
}

static gboolean
remove_failed_images (const Backup *backup, GError **error)
{
  for (unsigned i = 0; i < backup->run->disks->len; i++) {
    const BkRunDisk *disk = backup->run->disks->pdata[i];
    if (backup->archive && bk_run_disk_has_failed (disk) && !bk_fsio_remove (disk->target, error))
      return FALSE;
  }
  return TRUE;
}

/* With a target of its own there is no manifest: the files are what the user asked for. */
static gboolean
work_commit (BkJob *job, gpointer data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  Backup *backup = data;
  if (backup->archive == NULL || bk_archive_has (backup->archive, backup->request->vm, backup->backup_id))
    return TRUE;
  g_autoptr (BkBackupInfo) manifest = describe (job, backup);
  return remove_failed_images (backup, error) && bk_archive_commit (backup->archive, manifest, error);
}

static gboolean
forget_broken_chains (BkJob *job, const Backup *backup, GError **error)
{
  for (unsigned i = 0; i < backup->run->disks->len; i++) {
    const BkRunDisk *disk = backup->run->disks->pdata[i];
    if (disk->bitmap == NULL || disk->parent_checkpoint || bk_run_disk_has_failed (disk))
      continue;
    if (!bk_checkpoint_forget_before (bk_job_catalog (job), backup->request->vm, disk->name, backup->backup_id, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
record_commit (BkJob *job, gpointer data, GError **error)
{
  Backup *backup = data;
  g_autoptr (BkBackupInfo) info = describe (job, backup);
  if (backup->archive)
    bk_backup_manifest_locate (info, backup->folder);
  if (!bk_catalog_put_backup (bk_job_catalog (job), info, error) || !put_checkpoint (job, backup, "committed", error) ||
      !forget_broken_chains (job, backup, error))
    return FALSE;
  unsigned failed = 0;
  const BkRunDisk *first = bk_run_first_failed (backup->run, &failed);
  if (failed > 0) {
    g_autoptr (GError) partial = NULL;
    g_set_error (&partial, BK_ERROR, BK_ERROR_PARTIAL, "%u of %u disks are not in the backup; first %s: %s", failed,
                 backup->run->disks->len, first->name, first->error->message);
    bk_job_set_partial (job, partial);
  }
  bk_event_ring_publish (bk_job_events (job), "backup", info->vm, info->job_id, bk_struct_to_json (&bk_backup_info_struct, info));
  return TRUE;
}

static void
undone (BkJob *job, gpointer data)
{
  Backup *backup = data;
  g_autoptr (GError) error = NULL;
  if (backup->run && !bk_catalog_remove_checkpoint (bk_job_catalog (job), backup->backup_id, &error) &&
      !g_error_matches (error, BK_ERROR, BK_ERROR_NOT_FOUND))
    g_warning ("job %s: %s", bk_job_id (job), error->message);
  g_clear_pointer (&bk_job_info (job)->checkpoint_id, g_free);
  g_clear_pointer (&bk_job_info (job)->backup_id, g_free);
}

/* --- progress --- */

static void
progress (BkJob *job, gpointer data)
{
  Backup *backup = data;
  bk_backup_progress_update (bk_job_info (job), backup->run, bk_job_is_working (job));
}

static const BkStep steps[] = {
  { "plan", "preparing", work_plan, record_plan_and_files, NULL },
  { "target", "preparing", work_target, NULL, undo_target },
  { "prepare", "preparing", work_prepare, NULL, undo_prepare },
  { "snapshot", "preparing", work_snapshot, NULL, NULL },
  { "start", "preparing", work_start, record_start, NULL },
  { "copy", "running", work_copy, NULL, NULL },
  { "release", "finalizing", work_release, NULL, NULL },
  { "sync", "finalizing", work_sync, NULL, NULL },
  { "commit", "finalizing", work_commit, record_commit, NULL },
  { NULL },
};

const BkJobKind bk_backup_job_kind = {
  .name = "backup",
  .steps = steps,
  .adopt_from = "copy",
  .verbs = 1 << BK_VERB_CANCEL | 1 << BK_VERB_PAUSE | 1 << BK_VERB_RESUME | 1 << BK_VERB_SPEED,
  .to_json = to_json,
  .progress = progress,
  .undone = undone,
  .free = backup_free,
};
