/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The job kind "restore": copies disks of a backup, with all that they stand on, to files, a block device or an
 * NBD server. A file appears under its name only when it is complete. A restore that a stop of the daemon
 * interrupted is begun again. The VM need not exist any more. From a repository of type dedup several disks are read at
 * once. Main thread.
 */
#pragma once

#include "job.h"
#include "libvirt-link.h"
#include "store.h"

/* How it is done depends on where the backup is: of @data. */
const BkJobKind *bk_restore_job_kind (gpointer data);

/* Checks everything that can be checked before: the disks are in the backup and whole, outputs may be
 * written. @store: where the backup is; NULL with a target of its own. NOT_FOUND, INVALID, CONFLICT (exists; --force), NO_SPACE,
 * DENIED. @link: (transfer full) where request->define is made a domain of it; NULL without. */
gpointer bk_restore_job_data_new (const BkRestoreRequest *request, const BkBackupInfo *backup, BkStore *store, BkLibvirtLink *link, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The files it writes; (transfer none), NULL-terminated. */
const char *const *bk_restore_job_outputs (gpointer data);

/* Rows for the job's info: one for each disk. */
GPtrArray *bk_restore_job_disks (gpointer data);
