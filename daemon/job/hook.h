/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Hooks of a backup or export: the same program is run twice, with "before" right before the guest is frozen for the point in
 * time, and with "after" when it is thawed again. The guest never stays frozen for a program.
 *
 * "after" runs whenever "before" may have run: when that has failed, when the point in time could not be taken, when the job is
 * cancelled; and after a crash the next daemon runs it, for the plan, which is written down first, says that it is due. So it
 * may also run when "before" has not, and twice when the daemon was killed meanwhile.
 */
#pragma once

#include "backup.h"

/* Whether what the request asks for is there. As bk_hook_find(). */
gboolean bk_hook_check (const BkBackupRequest *request, const char *folder, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Worker threads. All note in the backup how it went. FAILED: it has, and that is to fail the job. */
gboolean bk_hook_before (BkBackup *backup, const char *job, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* When it is due. @taken: the point in time was. */
void bk_hook_after (BkBackup *backup, const char *job, bool taken);
