/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What can be said of a backup request without looking at the VM. Pure.
 */
#pragma once

#include "bk-types.h"

/* INVALID for words that do not exist and for members that do not go together. */
gboolean bk_backup_request_check (const BkBackupRequest *request, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Error actions: those that pause the job make sense only where the guest depends on it anyway.
 * @mode: the one decided on. INVALID. */
gboolean bk_backup_request_check_mode (const BkBackupRequest *request, const char *mode,
                                       GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The name of the repository that the backup goes to; NULL when it has a target of its own. */
const char *bk_backup_request_repository (const BkBackupRequest *request);
