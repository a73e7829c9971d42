/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The job kind "verify": reads every chunk of one backup, or of a whole repository of type dedup, and hashes it again. What
 * is damaged is marked in the catalog, so that the next backup of such a disk reads it whole and heals it; then the
 * job fails with CORRUPT, naming the first place. Begun again after a restart. Main thread.
 */
#pragma once

#include "job.h"
#include "store.h"

extern const BkJobKind bk_verify_job_kind;

/* @repository: its name. @backup: NULL = all of them. @speed: bytes a second, 0 = no limit. All are referenced or copied. */
gpointer bk_verify_job_data_new (BkStore *store, const char *repository, const BkBackupInfo *backup, uint64_t speed);
