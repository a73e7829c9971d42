/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The job kind "copy": a backup into another repository; both are of type dedup. The copy has the ID of the original. The
 * catalog lists a backup once: a copy takes the place of the original when that goes. Begun again after a
 * restart, and done when the copy is there. Main thread.
 */
#pragma once

#include "job.h"
#include "store.h"

extern const BkJobKind bk_copy_job_kind;

/* @candidates: IDs of backups of the same VM, the best first: what the copy has in common with the first of them that both
 * repositories have is not read. All are referenced or copied. */
gpointer bk_copy_job_data_new (BkStore *from, BkStore *to, const BkBackupInfo *backup, const char *const *candidates);
