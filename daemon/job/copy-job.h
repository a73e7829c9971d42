/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The job kind "copy": a backup into another repository; both are of type dedup. The copy is a backup with an ID of its own,
 * which tells what it is a copy of. Begun again after a restart, and done when the copy is there. Main thread.
 */
#pragma once

#include "job.h"
#include "store.h"

extern const BkJobKind bk_copy_job_kind;

/* A backup in the repository that is copied from, and one in that which is copied to, that are copies of one another. */
typedef struct {
  char *here, *there;
} BkCopyPair;
void bk_copy_pair_free (BkCopyPair *pair);

/* @repository: name of @to. @pairs: (transfer full), BkCopyPair, of the same VM, the best first: what the copy has in common with
 * the first that is still there is not read. @id: of the copy, after a restart the same; NULL = a new one. All else is
 * referenced or copied. */
gpointer bk_copy_job_data_new (BkStore *from, BkStore *to, const char *repository, const BkBackupInfo *backup, GPtrArray *pairs, const char *id);
/* ID of the copy: (transfer none). */
const char *bk_copy_job_id (gpointer data);
/* BkJobDisk, one for each disk that is copied: (transfer full). */
GPtrArray *bk_copy_job_disks (gpointer data);
