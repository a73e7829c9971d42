/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The images that a backup is written to: files of a repository, or what --target says. NBD servers bring their
 * own. Blocks on the file system: worker threads, but for what is marked otherwise.
 */
#pragma once

#include "bk-types.h"
#include "run.h"
#include "sink.h"

/* Which files of --target are not there yet: noted with the plan, so that undo removes no file of the user's. For a
 * repository none, as its folder is removed as a whole. (transfer full) Main thread too. */
GStrv bk_backup_target_new_files (const BkRun *run, const BkBackupRequest *request);

/* Makes the empty images; those that get an increment of a raw copy stay as they are. A target that turns out to be
 * a block device gets the driver for it. Errors of bk_output_check() and bk_image_create(). */
gboolean bk_backup_target_make (BkRun *run, const BkBackupRequest *request, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* For a pull: the folder that several disks go to, and the place of one. Errors of bk_output_sink_new(); (transfer full). */
gboolean bk_backup_target_make_folder (const BkRun *run, const BkBackupRequest *request, GError **error) G_GNUC_WARN_UNUSED_RESULT;
BkSink *bk_backup_target_sink (const BkRunDisk *disk, const BkBackupRequest *request, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Removes what a killed daemon has left of that. */
gboolean bk_backup_target_clean (const BkRunDisk *disk, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Brings the image onto stable storage, and checks and measures it. */
gboolean bk_backup_target_sync (BkRunDisk *disk, GError **error) G_GNUC_WARN_UNUSED_RESULT;
