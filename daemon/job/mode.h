/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Push or pull: which way the bytes of a backup take out of the VM. Pure; see plan.h for the rules.
 */
#pragma once

#include "plan.h"

/* @reason: (out) (transfer full) why this way, unless it is the one that was asked for. NULL when the mode asked for is not
 * possible: INVALID; NO_SPACE when a pull has no scratch space. */
const char *bk_mode_choose (const BkPlanInput *input, char **reason, GError **error) G_GNUC_WARN_UNUSED_RESULT;
