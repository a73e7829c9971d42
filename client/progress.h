/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Progress of a job on stderr: a bar for each disk on a terminal; else a line when its state or step changes,
 * and every ten seconds.
 */
#pragma once

#include "bk-types.h"

typedef struct BkProgress BkProgress;

BkProgress *bk_progress_new (bool quiet);
void bk_progress_free (BkProgress *progress);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkProgress, bk_progress_free)

/* Whether it is known how much of what it reads is different, and new: of a pull into a repository. */
bool bk_progress_knows_changes (const BkJobInfo *job);

void bk_progress_show (BkProgress *progress, const BkJobInfo *job);
/* Says @note (or NULL to take it back) with the job: the daemon is away. */
void bk_progress_note (BkProgress *progress, const BkJobInfo *job, const char *note);
