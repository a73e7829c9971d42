/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Where images go: the files of a repository, or what --target says. Pure.
 */
#pragma once

#include "bk-types.h"

bool bk_target_is_nbd (const char *target);

/* Neither an absolute path nor an NBD URI is INVALID. */
gboolean bk_target_check (const char *target, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* qcow2 or raw: what the request says, else raw for NBD and qcow2 for all others. */
const char *bk_target_format (const BkBackupRequest *request);

/* The request's target for @disk, one of @n_disks; (transfer full). INVALID when several disks would go to one
 * NBD export. */
char *bk_target_for_disk (const BkBackupRequest *request, const char *disk, unsigned n_disks,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* An image in a repository, and how it is named from a neighbour backup; (transfer full). */
char *bk_target_in_folder (const char *folder, const char *disk);
char *bk_target_backing (const char *parent_backup, const char *disk);
