/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a backup job shows of its disks while it goes on. Main thread.
 */
#pragma once

#include "bk-types.h"
#include "run.h"

/* One BkJobDisk for each disk of the plan, with free function none, as the members of a BkJobInfo. */
GPtrArray *bk_backup_progress_rows (const BkRun *run);

/* Brings rows and sums of @info up to date. @working: a worker has the run, and only its counters may be read. */
void bk_backup_progress_update (BkJobInfo *info, const BkRun *run, bool working);
