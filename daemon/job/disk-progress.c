/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "disk-progress.h"

static const char *const words[] = { "queued", "running", "completed" };

void
bk_disk_progress_tell (BkDiskProgress *disk, uint64_t done)
{
  if (!bk_disk_progress_is_completed (disk))
    __atomic_store_n (&disk->done, MIN (done, disk->size), __ATOMIC_RELAXED);
}

void
bk_disk_progress_set (BkDiskProgress *disk, BkDiskState state)
{
  if (state == BK_DISK_COMPLETED)
    bk_disk_progress_tell (disk, disk->size);
  g_atomic_int_set (&disk->state, (int)state);
}

bool
bk_disk_progress_is_completed (const BkDiskProgress *disk)
{
  return g_atomic_int_get (&disk->state) == BK_DISK_COMPLETED;
}

BkJobDisk *
bk_disk_progress_row (const BkDiskProgress *disk, const char *name)
{
  BkJobDisk *row = g_new0 (BkJobDisk, 1);
  row->name = g_strdup (name);
  row->state = g_strdup (words[BK_DISK_QUEUED]);
  row->size = row->bytes_total = disk->size;
  return row;
}

void
bk_disk_progress_show (const BkDiskProgress *disk, BkJobInfo *info, unsigned index)
{
  if (index == 0)
    info->bytes_total = info->bytes_transferred = 0;
  if (info->disks == NULL || index >= info->disks->len)
    return;
  BkJobDisk *row = info->disks->pdata[index];
  row->bytes_transferred = __atomic_load_n (&disk->done, __ATOMIC_RELAXED);
  g_free (row->state);
  row->state = g_strdup (words[g_atomic_int_get (&disk->state)]);
  info->bytes_total += row->bytes_total;
  info->bytes_transferred += row->bytes_transferred;
}
