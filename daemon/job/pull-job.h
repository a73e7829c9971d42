/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The job kind "backup" in the mode pull: QEMU exports the frozen point of disks of one VM, and we read what has changed
 * into a repository of type dedup, or all of it to a target.
 *
 *   plan      what to do with each disk; the row with all names is written
 *   target    a place for each disk in the backup to be         undo: given up; what is stored of it gc takes
 *   prepare   scratch, filters, the checkpoint's bitmaps        undo: everything out of the VM, dirty bits back
 *   snapshot  the point in time
 *   export    it can be read
 *   copy      several disks at once; one that fails fails alone undo: our NBD clients are closed
 *   release   clients closed, then the VM as before; failed disks get their dirty bits back
 *   commit    the manifest: from here on the backup exists; checkpoint and backup enter the catalog
 *
 * The reader is in this process: found unfinished after a restart it can only be undone, unless the manifest is there.
 * Main thread.
 */
#pragma once

#include "backup.h"

extern const BkJobKind bk_pull_job_kind;

/* The kind's data; arguments and errors as for bk_backup_init(). */
gpointer bk_pull_job_data_new (const BkBackupContext *context, const BkBackupRequest *request, const char *id, json_object *run, GError **error) G_GNUC_WARN_UNUSED_RESULT;
