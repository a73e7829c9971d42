/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * How far a disk is that a job reads or writes: the worker tells it, the main thread shows it.
 */
#pragma once

#include "bk-types.h"

typedef enum { BK_DISK_QUEUED, BK_DISK_RUNNING, BK_DISK_COMPLETED } BkDiskState;

typedef struct {
  uint64_t size;
  uint64_t done; /* atomic */
  int state;     /* atomic: BkDiskState */
} BkDiskProgress;

/* Any thread. Of one that is completed nothing more is to be told. */
void bk_disk_progress_tell (BkDiskProgress *disk, uint64_t done);
/* Completed, all of it is done. */
void bk_disk_progress_set (BkDiskProgress *disk, BkDiskState state);
bool bk_disk_progress_is_completed (const BkDiskProgress *disk);

/* A row of a job for it, queued: (transfer full). */
BkJobDisk *bk_disk_progress_row (const BkDiskProgress *disk, const char *name);
/* Into row @index, and into the sums, which begin with row 0. */
void bk_disk_progress_show (const BkDiskProgress *disk, BkJobInfo *info, unsigned index);
