/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Full or increment: the decision for one disk, and what it copies. Pure; see plan.h for the rules.
 */
#pragma once

#include "plan.h"

/* Sets level, reason, sync, base_bitmaps, base_checkpoint, parent_backup and estimated of @planned.
 * @since: the checkpoint that the request names, or NULL. INVALID when the level asked for is not possible. */
gboolean bk_level_decide (const BkPlanInput *input, const BkDisk *disk, const BkCheckpointInfo *since,
                          BkRunDisk *planned, GError **error) G_GNUC_WARN_UNUSED_RESULT;
