/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The job kind "restore": copies disks of a backup, with all that they stand on, to files, a block device or an
 * NBD server. A file appears under its name only when it is complete. A restore that a stop of the daemon
 * interrupted is begun again. The VM need not exist any more. Main thread.
 */
#pragma once

#include "job.h"

extern const BkJobKind bk_restore_job_kind;

/* Checks everything that can be checked before: the disks are in the backup and whole, outputs may be
 * written. NOT_FOUND, INVALID, CONFLICT (exists; --force), NO_SPACE, DENIED. */
gpointer bk_restore_job_data_new (const BkRestoreRequest *request, const BkBackupInfo *backup, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The files it writes; (transfer none), NULL-terminated. */
const char *const *bk_restore_job_outputs (gpointer data);

/* Rows for the job's info: one for each disk. */
GPtrArray *bk_restore_job_disks (gpointer data);
