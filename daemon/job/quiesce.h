/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A guest at rest for its point in time: its file systems are frozen by its agent right before the instant and thawed right
 * after it, by the backend's own hand (BkInstant), when all that takes time has been done.
 *
 *   none   never
 *   auto   when the VM has an agent that answers; else the backup goes on, and tells why it is not quiesced
 *   agent  always; else there is no point in time and the backup fails
 *
 * A guest that has not been frozen for the whole instant (it gave up, or the limit came) counts as not quiesced.
 */
#pragma once

#include "backup.h"

/* Notes in @run what is to be done. @agent: address of the VM's, or NULL. Pure. INVALID. */
gboolean bk_quiesce_plan (BkRun *run, const BkBackupRequest *request, const char *agent, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Calls @take, which takes the instant, with the guest frozen as is planned. Worker threads. FAILED: it was not. */
gboolean bk_quiesce_take (BkBackup *backup, BkTakeInstant take, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Sees to it that the guest is not left frozen by this job, nor by one of an earlier daemon. When the agent does not answer,
 * it is a thaw guard that goes on with that: nothing here waits for ever. Worker threads. */
void bk_quiesce_undo (BkRun *run);
