/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pull-job.h"

#include "backup-manifest.h"
#include "backup-progress.h"
#include "backup-target.h"
#include "cancel.h"
#include "copies.h"
#include "fsio.h"
#include "pull-source.h"
#include "repository.h"

#include <string.h>

/* How long the copy's worker sleeps at most: pause and speed take effect within it. */
#define WAIT_MS 500
/* Whether the frozen point still is what it was: no event tells. */
#define CHECK_US G_USEC_PER_SEC

#define STOPPED "the daemon was stopped before the backup was complete; nothing was lost: start the backup again"

typedef struct {
  BkBackup backup; /* first */
  BkRepositoryWriter *writer; /* NULL with a target of its own */
  BkSink **sinks; /* of the run's disks, until they are being written */
  BkCopies *copies;
  unsigned *copied;  /* number of a copy to the index of its disk in the run */
  unsigned n_copies;
  int64_t checked_us;
} Pull;

static void
give_up_sinks (Pull *pull)
{
  for (unsigned i = 0; pull->sinks && i < pull->backup.run->disks->len; i++)
    g_clear_pointer (&pull->sinks[i], bk_sink_free);
  g_clear_pointer (&pull->sinks, g_free);
}

static void
pull_free (gpointer data)
{
  Pull *pull = data;
  g_clear_pointer (&pull->copies, bk_copies_free);
  give_up_sinks (pull);
  g_clear_pointer (&pull->writer, bk_repository_writer_free);
  g_free (pull->copied);
  bk_backup_clear (&pull->backup);
  g_free (pull);
}

gpointer
bk_pull_job_data_new (const BkBackupContext *context, const BkBackupRequest *request, const char *id, json_object *run, GError **error)
{
  Pull *pull = g_new0 (Pull, 1);
  if (bk_backup_init (&pull->backup, context, request, id, run, error))
    return pull;
  pull_free (pull);
  return NULL;
}

static BkRunDisk *
disk_at (const Pull *pull, unsigned index)
{
  return pull->backup.run->disks->pdata[index];
}

/* --- target --- */

/* Deleted since it was planned, or not readable any more: then all of the disk is read. */
static void
plan_whole (BkRunDisk *disk, const GError *why)
{
  g_clear_pointer (&disk->base_bitmaps, g_strfreev);
  g_clear_pointer (&disk->base_checkpoint, g_free);
  g_clear_pointer (&disk->parent_backup, g_free);
  g_free (disk->level);
  disk->level = g_strdup ("full");
  g_free (disk->sync);
  disk->sync = g_strdup ("full");
  disk->estimated = disk->size;
  g_free (disk->reason);
  disk->reason = g_strdup (why->message);
}

static BkSink *
add_to_backup (Pull *pull, BkRunDisk *disk, GError **error)
{
  g_autoptr (GError) failure = NULL;
  uint32_t chunk_size = bk_repository_class_chunk_size (bk_store_repository (pull->backup.store), disk->class_name);
  BkSink *sink = bk_repository_writer_add_disk (pull->writer, disk->name, disk->size, chunk_size, disk->parent_backup, &failure);
  bool base_lost = disk->parent_backup && (g_error_matches (failure, BK_ERROR, BK_ERROR_NOT_FOUND) || g_error_matches (failure, BK_ERROR, BK_ERROR_CORRUPT));
  if (base_lost) {
    plan_whole (disk, failure);
    return bk_repository_writer_add_disk (pull->writer, disk->name, disk->size, chunk_size, NULL, error);
  }
  if (sink == NULL)
    g_propagate_error (error, g_steal_pointer (&failure));
  return sink;
}

static gboolean
make_sink (Pull *pull, unsigned index, GError **error)
{
  BkRunDisk *disk = disk_at (pull, index);
  pull->sinks[index] = pull->writer ? add_to_backup (pull, disk, error) : bk_backup_target_sink (disk, pull->backup.request, error);
  if (pull->sinks[index])
    return TRUE;
  g_prefix_error (error, "disk %s: ", disk->name);
  return FALSE;
}

static gboolean
begin_backup (Pull *pull, GError **error)
{
  BkBackup *backup = &pull->backup;
  if (backup->store == NULL)
    return bk_backup_target_make_folder (backup->run, backup->request, error);
  pull->writer = bk_repository_begin (bk_store_repository (backup->store), backup->request->vm, backup->id, error);
  return pull->writer != NULL;
}

static gboolean
work_target (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  Pull *pull = data;
  unsigned n_disks = pull->backup.run->disks->len;
  if (!begin_backup (pull, error))
    return FALSE;
  pull->sinks = g_new0 (BkSink *, n_disks);
  for (unsigned i = 0; i < n_disks; i++)
    if (!make_sink (pull, i, error))
      return FALSE;
  return TRUE;
}

/* What each disk is for may have changed. */
static gboolean
record_target (BkJob *job, gpointer data, GError **error G_GNUC_UNUSED)
{
  Pull *pull = data;
  bk_backup_show_disks (&pull->backup, bk_job_info (job));
  return TRUE;
}

/* What was committed, though the catalog could not be written, stays, and is found at the next start. */
static gboolean
undo_target (BkJob *job G_GNUC_UNUSED, gpointer data, GError **error)
{
  Pull *pull = data;
  BkBackup *backup = &pull->backup;
  give_up_sinks (pull);
  g_clear_pointer (&pull->writer, bk_repository_writer_free);
  for (unsigned i = 0; backup->run && i < backup->run->disks->len; i++)
    if (!bk_backup_target_clean (disk_at (pull, i), error))
      return FALSE;
  for (size_t i = 0; backup->made && backup->made[i]; i++)
    if (!bk_fsio_remove (backup->made[i], error))
      return FALSE;
  return TRUE;
}

/* --- export --- */

static gboolean
work_export (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable, GError **error)
{
  Pull *pull = data;
  BkBackup *backup = &pull->backup;
  return bk_fsio_make_folder (backup->run->export_folder, error) &&
         bk_backend_export (bk_vm_backend (backup->vm), backup->run, cancellable, error);
}

/* --- copy --- */

static void
begin_copy (Pull *pull, unsigned index, GCancellable *cancellable)
{
  BkRunDisk *disk = disk_at (pull, index);
  g_autoptr (GError) failure = NULL;
  BkReader *reader = bk_run_disk_has_failed (disk) ? NULL : bk_pull_source_new (pull->backup.run, disk, cancellable, &failure);
  if (failure)
    bk_run_disk_fail (disk, failure);
  if (reader == NULL)
    return;
  bk_copies_add (pull->copies, reader, g_steal_pointer (&pull->sinks[index]));
  pull->copied[pull->n_copies++] = index;
}

static void
begin_copies (Pull *pull, GCancellable *cancellable)
{
  unsigned n_disks = pull->backup.run->disks->len;
  pull->copies = bk_copies_new (pull->backup.run->speed);
  pull->copied = g_new0 (unsigned, n_disks);
  for (unsigned i = 0; i < n_disks; i++)
    begin_copy (pull, i, cancellable);
  pull->checked_us = g_get_monotonic_time ();
}

/* What they read is not the point in time any more. */
static void
end_lost_copies (Pull *pull)
{
  for (unsigned number = 0; number < pull->n_copies; number++)
    if (bk_run_disk_has_failed (disk_at (pull, pull->copied[number])))
      bk_copies_cancel (pull->copies, number);
}

static gboolean
check_frozen (Pull *pull, GError **error)
{
  BkBackup *backup = &pull->backup;
  pull->checked_us = g_get_monotonic_time ();
  if (!bk_backend_check_frozen (bk_vm_backend (backup->vm), backup->run, error))
    return FALSE;
  end_lost_copies (pull);
  return TRUE;
}

static gboolean
look_after (Pull *pull, GError **error)
{
  if (!bk_backup_check_scratch (&pull->backup, error))
    return FALSE;
  return g_get_monotonic_time () < pull->checked_us + CHECK_US || check_frozen (pull, error);
}

static void
count (Pull *pull)
{
  for (unsigned number = 0; number < pull->n_copies; number++) {
    BkRunDisk *disk = disk_at (pull, pull->copied[number]);
    BkCopyCounters progress = bk_copies_counters (pull->copies, number);
    BkRepositoryDisk stored = { 0 };
    if (pull->writer)
      bk_repository_writer_disk (pull->writer, disk->name, &stored);
    bk_run_disk_set_progress (disk, progress.total, progress.transferred);
    uint64_t taken = pull->writer ? stored.bytes_stored : progress.transferred - progress.zero;
    __atomic_store_n (&disk->bytes_zero, progress.zero, __ATOMIC_RELAXED);
    __atomic_store_n (&disk->bytes_stored, taken, __ATOMIC_RELAXED);
    __atomic_store_n (&disk->bytes_different, stored.bytes_changed, __ATOMIC_RELAXED);
    __atomic_store_n (&disk->bytes_new, stored.bytes_new, __ATOMIC_RELAXED);
  }
}

static void
note_end (Pull *pull, unsigned number, const GError *failure)
{
  BkRunDisk *disk = disk_at (pull, pull->copied[number]);
  if (failure)
    bk_run_disk_fail (disk, failure);
  if (bk_run_disk_has_failed (disk))
    return;
  g_free (disk->state);
  disk->state = g_strdup ("copied");
}

static gboolean
work_copy (BkJob *job, gpointer data, GCancellable *cancellable, GError **error)
{
  Pull *pull = data;
  begin_copies (pull, cancellable);
  while (bk_copies_is_busy (pull->copies)) {
    g_autoptr (GError) failure = NULL;
    bk_copies_obey (pull->copies, job);
    if (!bk_cancel_check (cancellable, error) || !look_after (pull, error))
      return FALSE;
    int number = bk_copies_wait (pull->copies, WAIT_MS, &failure);
    count (pull);
    if (number >= 0)
      note_end (pull, (unsigned)number, failure);
  }
  /* Only now is it known of the last byte, too, that it was read from the frozen point. */
  return check_frozen (pull, error) && bk_backup_check_disks (&pull->backup, error);
}

/* A client that does not leave would hold up QEMU's main loop when its server is stopped. */
static gboolean
undo_copy (BkJob *job G_GNUC_UNUSED, gpointer data, GError **error G_GNUC_UNUSED)
{
  Pull *pull = data;
  g_clear_pointer (&pull->copies, bk_copies_free);
  return TRUE;
}

/* --- release, commit --- */

static void
complete_disks (Pull *pull)
{
  for (unsigned i = 0; i < pull->backup.run->disks->len; i++) {
    BkRunDisk *disk = disk_at (pull, i);
    if (bk_run_disk_has_failed (disk))
      continue;
    g_free (disk->state);
    disk->state = g_strdup ("completed");
  }
}

static gboolean
work_release (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  Pull *pull = data;
  BkBackup *backup = &pull->backup;
  BkBackend *backend = bk_vm_backend (backup->vm);
  g_clear_pointer (&pull->copies, bk_copies_free);
  complete_disks (pull);
  return bk_backend_release (backend, backup->run, error) && bk_backend_rollback (backend, backup->run, false, error);
}

static gboolean
add_parts (Pull *pull, GError **error)
{
  GPtrArray *parts = bk_backup_parts (&pull->backup);
  for (unsigned i = 0; i < parts->len; i++) {
    const BkVmPart *part = parts->pdata[i];
    size_t length = 0;
    const void *content = g_bytes_get_data (part->content, &length);
    if (!bk_repository_writer_add_blob (pull->writer, part->name, content, length, error))
      return FALSE;
  }
  return TRUE;
}

/* With a target of its own there is no manifest: the files are what the user asked for. */
static gboolean
work_commit (BkJob *job, gpointer data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  Pull *pull = data;
  BkBackup *backup = &pull->backup;
  if (backup->request->target || (backup->store && bk_store_has (backup->store, backup->request->vm, backup->id)))
    return TRUE;
  if (pull->writer == NULL) {
    g_set_error_literal (error, BK_ERROR, BK_ERROR_FAILED, STOPPED);
    return FALSE;
  }
  if (!add_parts (pull, error))
    return FALSE;
  g_autoptr (BkBackupInfo) manifest = bk_backup_manifest_new (backup->run, backup->request, backup->id, bk_job_id (job));
  return bk_repository_writer_commit (pull->writer, manifest, error);
}

/* --- the kind --- */

static void
progress (BkJob *job, gpointer data)
{
  Pull *pull = data;
  bk_backup_progress_update (bk_job_info (job), pull->backup.run, bk_job_is_working (job));
  if (!bk_job_is_working (job))
    bk_backup_show_instant (job, &pull->backup);
}

static bool
again (BkJob *job, gpointer data)
{
  Pull *pull = data;
  if (!bk_backup_again (job, data))
    return false;
  g_clear_pointer (&pull->sinks, g_free);
  g_clear_pointer (&pull->copied, g_free);
  pull->n_copies = 0;
  return true;
}

static const BkStep steps[] = {
  { "plan", "preparing", bk_backup_work_plan, bk_backup_record_plan, NULL },
  { "target", "preparing", work_target, record_target, undo_target },
  { "prepare", "preparing", bk_backup_work_prepare, NULL, bk_backup_undo_prepare },
  { "snapshot", "preparing", bk_backup_work_snapshot, bk_backup_record_instant, bk_backup_undo_snapshot },
  { "export", "preparing", work_export, NULL, NULL },
  { "copy", "running", work_copy, NULL, undo_copy },
  { "release", "finalizing", work_release, NULL, NULL },
  { "commit", "finalizing", work_commit, bk_backup_record_commit, NULL },
  { NULL },
};

const BkJobKind bk_pull_job_kind = {
  .name = "backup",
  .steps = steps,
  .adopt_from = "commit",
  .why_undone = STOPPED,
  .verbs = 1 << BK_VERB_CANCEL | 1 << BK_VERB_PAUSE | 1 << BK_VERB_RESUME | 1 << BK_VERB_SPEED,
  .to_json = bk_backup_to_json,
  .progress = progress,
  .undone = bk_backup_undone,
  .again = again,
  .free = pull_free,
};
