/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The job kind "export": a point in time of disks of one VM, for a reader that is not ours.
 *
 *   plan, prepare, snapshot, export   as in a pull; undo: everything out of the VM, dirty bits back
 *   ready     until somebody says how it ended, or the time is over; a restarted daemon goes on from here, as QEMU
 *             serves. Ended with success when the point in time was whole until then
 *   release   VM as before
 *   commit    the checkpoint stays
 *
 * It completes when it was ended with success. Ended as failed, cancelled or over its time, it is undone: the changes count
 * as not backed up. Main thread.
 */
#pragma once

#include "backup.h"

extern const BkJobKind bk_export_job_kind;

/* @context: with "export". @id: of the checkpoint. @run: as for bk_backup_init(), of which the errors are. INVALID too. */
gpointer bk_export_job_data_new (const BkBackupContext *context, const BkExportRequest *request, const char *id, int64_t created_at,
                                 json_object *run, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* What is asked of the VM for @request: (transfer full). */
BkBackupRequest *bk_export_job_backup_request (const BkExportRequest *request);

/* Says how it ended. Returns FALSE when it is not ready, or was told already. */
bool bk_export_job_end (BkJob *job, bool success);

/* A job of the kind as the export that it is. @run: its row of the catalog, for one that is over; NULL for @job, a live one,
 * whose snapshot @info is. (transfer full) */
BkExportInfo *bk_export_job_describe (BkJob *job, const BkJobInfo *info, json_object *request, json_object *run);
