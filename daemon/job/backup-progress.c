/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backup-progress.h"

#include <string.h>

static BkJobDisk *
row_of (const BkRunDisk *planned)
{
  BkJobDisk *disk = g_new0 (BkJobDisk, 1);
  disk->name = g_strdup (planned->name);
  disk->level = g_strdup (planned->level);
  disk->reason = g_strdup (planned->reason);
  disk->state = g_strdup ("queued");
  disk->size = planned->size;
  disk->bytes_total = planned->estimated;
  disk->target = g_strdup (planned->target);
  return disk;
}

GPtrArray *
bk_backup_progress_rows (const BkRun *run)
{
  GPtrArray *disks = g_ptr_array_new ();
  for (unsigned i = 0; i < run->disks->len; i++)
    g_ptr_array_add (disks, row_of (run->disks->pdata[i]));
  return disks;
}

static void
set_state (BkJobDisk *disk, const char *state)
{
  g_free (disk->state);
  disk->state = g_strdup (state);
}

static const char *
outcome (const BkJobInfo *info, const BkRunDisk *disk)
{
  if (bk_run_disk_has_failed (disk))
    return "failed";
  if (strcmp (disk->state, "completed") == 0)
    return "completed";
  return strcmp (info->state, "preparing") == 0 ? "queued" : "running";
}

/* The worker of a pull counts them as it goes; that of a push measures them at the end. */
static void
show_results (BkJobDisk *disk, BkRunDisk *planned)
{
  disk->bytes_zero = __atomic_load_n (&planned->bytes_zero, __ATOMIC_RELAXED);
  disk->bytes_stored = __atomic_load_n (&planned->bytes_stored, __ATOMIC_RELAXED);
  disk->bytes_different = __atomic_load_n (&planned->bytes_different, __ATOMIC_RELAXED);
  disk->bytes_new = __atomic_load_n (&planned->bytes_new, __ATOMIC_RELAXED);
}

static void
update_disk (const BkJobInfo *info, const BkRun *run, BkJobDisk *disk, BkRunDisk *planned, bool working)
{
  uint64_t total = 0, transferred = 0;
  bk_run_disk_progress (planned, &total, &transferred);
  disk->bytes_total = total ? total : planned->estimated;
  disk->bytes_transferred = transferred;
  if (bk_run_is_pull (run))
    show_results (disk, planned);
  if (working) {
    if (strcmp (info->state, "running") == 0 && strcmp (disk->state, "queued") == 0)
      set_state (disk, "running");
    return;
  }
  set_state (disk, outcome (info, planned));
  show_results (disk, planned);
  bk_problem_free (disk->error);
  disk->error = bk_struct_copy (&bk_problem_struct, planned->error);
}

void
bk_backup_progress_update (BkJobInfo *info, const BkRun *run, bool working)
{
  if (run == NULL || info->disks == NULL || info->disks->len != run->disks->len)
    return;
  info->bytes_total = info->bytes_transferred = info->bytes_zero = info->bytes_stored = info->bytes_different = info->bytes_new = 0;
  for (unsigned i = 0; i < info->disks->len; i++) {
    BkJobDisk *disk = info->disks->pdata[i];
    update_disk (info, run, disk, run->disks->pdata[i], working);
    info->bytes_total += disk->bytes_total;
    info->bytes_transferred += disk->bytes_transferred;
    info->bytes_zero += disk->bytes_zero;
    info->bytes_stored += disk->bytes_stored;
    info->bytes_different += disk->bytes_different;
    info->bytes_new += disk->bytes_new;
  }
}
