/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a backup says about itself, in its manifest and in its row of the catalog. Pure.
 */
#pragma once

#include "bk-types.h"
#include "run.h"

/* The manifest of backup @id, made by job @job, after @run has come to its end. In a repository it names its images
 * relative to its own folder, with location "". */
BkBackupInfo *bk_backup_manifest_new (const BkRun *run, const BkBackupRequest *request, const char *id, const char *job);

/* Makes a manifest of it the row for the catalog, which names images in full. @folder: of the backup in its
 * repository. */
void bk_backup_manifest_locate (BkBackupInfo *manifest, const char *folder);
