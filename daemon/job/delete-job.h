/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The job kind "delete": takes a backup away for good. Younger backups that stand on it are first given a
 * copy of what they need, so that they stay restorable; then the checkpoint's changes are folded into the one
 * before (where the VM can be reached; else the checkpoint stays until it is deleted by hand; and where a copy of
 * the backup is in another repository, it stays for that); then the backup
 * goes, manifest first. Each step may be repeated, so a restart of the daemon just goes on. A backup to a target of its own
 * leaves the catalog, and its files stay. Main thread.
 */
#pragma once

#include "job.h"
#include "store.h"
#include "vm-registry.h"

extern const BkJobKind bk_delete_job_kind;

/* @store: NULL for a backup to a target of its own. @vm: NULL when not registered any more. All are
 * referenced or copied. */
gpointer bk_delete_job_data_new (BkStore *store, BkVm *vm, const BkBackupInfo *backup);
