/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A backup's manifest.json: schemas/qcow2-repository.md. In the file, images are named without a folder and the
 * location is empty; in memory both are absolute.
 */
#pragma once

#include "bk-types.h"

#define BK_MANIFEST_VERSION 1
#define BK_MANIFEST_LIMIT (1024 * 1024) /* bytes */

/* Reads the manifest in @folder and distrusts it: it must be that of @backup of @vm, and name no file but images of its
 * own disks in @folder. CORRUPT when it is anything else, FAILED when it is of a newer version. */
BkBackupInfo *bk_manifest_read (const char *folder, const char *vm, const char *backup, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Writes it durably. INVALID when bk_manifest_read() would not read it. */
gboolean bk_manifest_write (const char *folder, const BkBackupInfo *manifest, GError **error) G_GNUC_WARN_UNUSED_RESULT;
