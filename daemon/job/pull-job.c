/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pull-job.h"

#include "backup-progress.h"
#include "backup-target.h"
#include "copies.h"
#include "fsio.h"
#include "pull-source.h"

#include <string.h>

/* How long the copy's worker sleeps at most: pause and speed take effect within it. */
#define WAIT_MS 500
/* Whether the frozen point still is what it was: no event tells. */
#define CHECK_US G_USEC_PER_SEC

#define STOPPED "the daemon was stopped before the backup was complete; nothing was lost: start the backup again"

typedef struct {
  BkBackup backup; /* first */
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

static gboolean
make_sink (Pull *pull, unsigned index, GError **error)
{
  BkRunDisk *disk = disk_at (pull, index);
  pull->sinks[index] = bk_backup_target_sink (disk, pull->backup.request, error);
  if (pull->sinks[index])
    return TRUE;
  g_prefix_error (error, "disk %s: ", disk->name);
  return FALSE;
}

static gboolean
work_target (BkJob *job G_GNUC_UNUSED, gpointer data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  Pull *pull = data;
  unsigned n_disks = pull->backup.run->disks->len;
  if (!bk_backup_target_make_folder (pull->backup.run, pull->backup.request, error))
    return FALSE;
  pull->sinks = g_new0 (BkSink *, n_disks);
  for (unsigned i = 0; i < n_disks; i++)
    if (!make_sink (pull, i, error))
      return FALSE;
  return TRUE;
}

static gboolean
undo_target (BkJob *job G_GNUC_UNUSED, gpointer data, GError **error)
{
  Pull *pull = data;
  BkBackup *backup = &pull->backup;
  give_up_sinks (pull);
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

static void
carry_out_verbs (BkJob *job, Pull *pull)
{
  BkVerb verb;
  uint64_t value;
  while (bk_job_next_verb (job, &verb, &value)) {
    if (verb == BK_VERB_SPEED)
      bk_copies_speed (pull->copies, pull->backup.run->speed = value);
    else
      bk_copies_pause (pull->copies, verb == BK_VERB_PAUSE);
  }
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
    bk_run_disk_set_progress (disk, progress.total, progress.transferred);
    __atomic_store_n (&disk->bytes_zero, progress.zero, __ATOMIC_RELAXED);
    __atomic_store_n (&disk->bytes_stored, progress.transferred - progress.zero, __ATOMIC_RELAXED);
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
is_cancelled (GCancellable *cancellable, GError **error)
{
  if (!g_cancellable_is_cancelled (cancellable))
    return FALSE;
  g_set_error_literal (error, BK_ERROR, BK_ERROR_CANCELLED, "cancelled");
  return TRUE;
}

static gboolean
work_copy (BkJob *job, gpointer data, GCancellable *cancellable, GError **error)
{
  Pull *pull = data;
  begin_copies (pull, cancellable);
  while (bk_copies_is_busy (pull->copies)) {
    g_autoptr (GError) failure = NULL;
    carry_out_verbs (job, pull);
    if (is_cancelled (cancellable, error) || !look_after (pull, error))
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

/* --- release --- */

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

/* --- the kind --- */

static void
progress (BkJob *job, gpointer data)
{
  Pull *pull = data;
  bk_backup_progress_update (bk_job_info (job), pull->backup.run, bk_job_is_working (job));
}

static const BkStep steps[] = {
  { "plan", "preparing", bk_backup_work_plan, bk_backup_record_plan, NULL },
  { "target", "preparing", work_target, NULL, undo_target },
  { "prepare", "preparing", bk_backup_work_prepare, NULL, bk_backup_undo_prepare },
  { "snapshot", "preparing", bk_backup_work_snapshot, bk_backup_record_instant, NULL },
  { "export", "preparing", work_export, NULL, NULL },
  { "copy", "running", work_copy, NULL, undo_copy },
  { "release", "finalizing", work_release, NULL, NULL },
  { "commit", "finalizing", NULL, bk_backup_record_commit, NULL },
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
  .free = pull_free,
};
