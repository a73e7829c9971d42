/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The checkpoint that a backup makes: provisional before QEMU hears of its bitmaps, committed with the backup, gone
 * when that is undone. Its ID is the backup's. Main thread; the caller may hold a change open.
 */
#pragma once

#include "backup.h"

/* Writes its row, in @state, for the disks of the run that have not failed, and names it in the job's info. Nothing when
 * there is no such disk. */
gboolean bk_backup_checkpoint_put (BkJob *job, const BkBackup *backup, const char *state, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Commits it. Where it begins a new chain, older checkpoints can serve no increment of that disk any more, and go. */
gboolean bk_backup_checkpoint_commit (BkJob *job, const BkBackup *backup, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Takes its row away. */
void bk_backup_checkpoint_remove (BkJob *job, const BkBackup *backup);
