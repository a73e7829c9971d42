/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a pull reads from: the frozen disk of a run that bk_backend_export() has offered.
 */
#pragma once

#include "reader.h"
#include "run.h"

/* Connects. Errors of bk_nbd_reader_new() and bk_file_reader_new(). Worker threads. (transfer full) */
BkReader *bk_pull_source_new (const BkRun *run, const BkRunDisk *disk, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
