/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Whether the targets of a planned backup may be written, told before anything is done. Looks at the file system, and
 * touches nothing.
 */
#pragma once

#include "disk.h"
#include "repository-registry.h"
#include "run.h"

/* For a request with a target of its own; @disks (BkDisk): all that the VM has. INVALID (one of @disks, inside a
 * repository, no NBD URI), else as bk_output_check(). */
gboolean bk_target_check_disks (BkRepositoryRegistry *repositories, const BkBackupRequest *request, const BkRun *run,
                                GPtrArray *disks, GError **error) G_GNUC_WARN_UNUSED_RESULT;
