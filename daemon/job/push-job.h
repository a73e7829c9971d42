/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The job kind "backup" in the modes push and push-direct: QEMU writes disks of one VM into a repository of type qcow2 or
 * to a target.
 *
 *   plan      what to do with each disk; the row with all names is written
 *   target    the backup's folder and its empty images          undo: remove them
 *   prepare   scratch, filters, the checkpoint's bitmaps        undo: everything out of the VM, dirty bits back
 *   snapshot  the point in time
 *   start     targets open, copy begins
 *   copy      wait; a restarted daemon goes on from here
 *   release   targets closed, VM as before; failed disks get their dirty bits back
 *   sync      images on stable storage, checked and measured
 *   commit    the manifest: from here on the backup exists; checkpoint and backup enter the catalog
 *
 * Main thread.
 */
#pragma once

#include "backup.h"

extern const BkJobKind bk_push_job_kind;

/* The kind's data; arguments and errors as for bk_backup_init(). */
gpointer bk_push_job_data_new (const BkBackupContext *context, const BkBackupRequest *request, const char *id, json_object *run, GError **error) G_GNUC_WARN_UNUSED_RESULT;
