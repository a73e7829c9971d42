/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "push-job.h"

#include "archive.h"
#include "backup-manifest.h"
#include "backup-progress.h"
#include "backup-target.h"
#include "fsio.h"

/* How long the copy's worker sleeps at most: pause and speed take effect within it. */
#define WAIT_MS 500

static void
push_free (gpointer data)
{
  bk_backup_clear (data);
  g_free (data);
}

gpointer
bk_push_job_data_new (const BkBackupContext *context, const BkBackupRequest *request, const char *id, json_object *run, GError **error)
{
  BkBackup *backup = g_new0 (BkBackup, 1);
  if (bk_backup_init (backup, context, request, id, run, error))
    return backup;
  push_free (backup);
  return NULL;
}

/* --- target --- */

/* NULL with a target of its own. */
static BkArchive *
archive_of (const BkBackup *backup)
{
  return backup->store ? bk_store_archive (backup->store) : NULL;
}

static gboolean
work_target (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  BkBackup *backup = data;
  BkArchive *archive = archive_of (backup);
  if (archive && !bk_archive_begin (archive, backup->request->vm, backup->id, error))
    return FALSE;
  return bk_backup_target_make (backup->run, backup->request, error);
}

static gboolean
undo_target (BkJob *job G_GNUC_UNUSED, gpointer data, GError **error)
{
  BkBackup *backup = data;
  BkArchive *archive = archive_of (backup);
  /* Committed, but the catalog could not be written: the backup stays, and is found at the next start. */
  if (archive && bk_archive_has (archive, backup->request->vm, backup->id))
    return TRUE;
  if (archive)
    return bk_archive_abort (archive, backup->request->vm, backup->id, error);
  for (size_t i = 0; backup->made && backup->made[i]; i++)
    if (!bk_fsio_remove (backup->made[i], error))
      return FALSE;
  return TRUE;
}

static gboolean
work_start (BkJob *job, gpointer data, GCancellable *cancellable, GError **error)
{
  BkBackup *backup = data;
  if (bk_run_is_snapshot (backup->run))
    return bk_backend_start (bk_vm_backend (backup->vm), backup->run, cancellable, error);
  return bk_backup_take_instant (job, backup, bk_backend_start, cancellable, error);
}

/* --- copy --- */

/* Where QEMU cannot be reached just now, the verb waits with the copy until it can. */
static gboolean
carry_out (BkBackup *backup, BkVerb verb, uint64_t value, GCancellable *cancellable, GError **error)
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
carry_out_verbs (BkJob *job, BkBackup *backup, GCancellable *cancellable, GError **error)
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

/* A job that QEMU has paused for an error is paused as a whole, until somebody has looked at it. */
static gboolean
pause_when_stopped (BkJob *job, BkBackup *backup, GError **error)
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
  BkBackup *backup = data;
  for (bool done = false; !done;) {
    if (!carry_out_verbs (job, backup, cancellable, error) || !bk_backup_check_scratch (backup, error) ||
        !bk_backend_wait (bk_vm_backend (backup->vm), backup->run, WAIT_MS, &done, cancellable, error) ||
        !pause_when_stopped (job, backup, error))
      return FALSE;
  }
  return bk_backup_check_disks (backup, error);
}

/* --- release, sync, commit --- */

static gboolean
work_release (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  BkBackup *backup = data;
  BkBackend *backend = bk_vm_backend (backup->vm);
  return bk_backend_close (backend, backup->run, error) && bk_backend_release (backend, backup->run, error) &&
         bk_backend_rollback (backend, backup->run, false, error) && bk_backup_check_disks (backup, error);
}

static gboolean
work_sync (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  BkBackup *backup = data;
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
  if (!bk_backup_check_disks (backup, error))
    return FALSE;
  return !failed_here || bk_backend_rollback (bk_vm_backend (backup->vm), backup->run, false, error);
}

static gboolean
remove_failed_images (const BkBackup *backup, GError **error)
{
  for (unsigned i = 0; i < backup->run->disks->len; i++) {
    const BkRunDisk *disk = backup->run->disks->pdata[i];
    if (backup->store && bk_run_disk_has_failed (disk) && !bk_fsio_remove (disk->target, error))
      return FALSE;
  }
  return TRUE;
}

/* Beside the images; readable for us alone, as all that we write. */
static gboolean
write_parts (BkBackup *backup, GError **error)
{
  GPtrArray *parts = bk_backup_parts (backup);
  for (unsigned i = 0; i < parts->len; i++) {
    const BkVmPart *part = parts->pdata[i];
    size_t length = 0;
    const void *content = g_bytes_get_data (part->content, &length);
    g_autofree char *path = g_build_filename (backup->folder, part->name, NULL);
    if (!bk_fsio_write_file (path, content, length, error))
      return FALSE;
  }
  return TRUE;
}

/* With a target of its own there is no manifest: the files are what the user asked for. */
static gboolean
work_commit (BkJob *job, gpointer data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  BkBackup *backup = data;
  BkArchive *archive = archive_of (backup);
  if (archive == NULL || bk_archive_has (archive, backup->request->vm, backup->id))
    return TRUE;
  g_autoptr (BkBackupInfo) manifest = bk_backup_manifest_new (backup->run, backup->request, backup->id, bk_job_id (job));
  return remove_failed_images (backup, error) && write_parts (backup, error) && bk_archive_commit (archive, manifest, error);
}

/* --- progress --- */

static void
progress (BkJob *job, gpointer data)
{
  BkBackup *backup = data;
  bk_backup_progress_update (bk_job_info (job), backup->run, bk_job_is_working (job));
  if (!bk_job_is_working (job))
    bk_backup_show_instant (job, backup);
}

static const BkStep steps[] = {
  { "plan", "preparing", bk_backup_work_plan, bk_backup_record_plan, NULL },
  { "target", "preparing", work_target, NULL, undo_target },
  { "prepare", "preparing", bk_backup_work_prepare, NULL, bk_backup_undo_prepare },
  { "snapshot", "preparing", bk_backup_work_snapshot, NULL, bk_backup_undo_snapshot },
  { "start", "preparing", work_start, bk_backup_record_instant, NULL },
  { "copy", "running", work_copy, NULL, NULL },
  { "release", "finalizing", work_release, NULL, NULL },
  { "sync", "finalizing", work_sync, NULL, NULL },
  { "commit", "finalizing", work_commit, bk_backup_record_commit, NULL },
  { NULL },
};

const BkJobKind bk_push_job_kind = {
  .name = "backup",
  .steps = steps,
  .adopt_from = "copy",
  .why_undone = "the daemon was stopped before the copy had begun; nothing was lost: start the backup again",
  .verbs = 1 << BK_VERB_CANCEL | 1 << BK_VERB_PAUSE | 1 << BK_VERB_RESUME | 1 << BK_VERB_SPEED,
  .to_json = bk_backup_to_json,
  .progress = progress,
  .undone = bk_backup_undone,
  .again = bk_backup_again,
  .free = push_free,
};
