/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A raw file or a block device as a sink. Names, and renaming when all is there, are the caller's.
 */
#pragma once

#include "sink.h"

/* A new file of @size bytes, mode 0600: sparse, and zero where nothing is written. CONFLICT when @path exists. It is locked
 * (flock) as long as the sink is there: who finds one that is not knows that it was left.
 * bk_sink_free() without a successful finish removes it. (transfer full) */
BkSink *bk_file_sink_new (const char *path, uint64_t size, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* A file or block device that is there: zeroes are written, as holes where it can have them. Its size is what it is,
 * and its old content is good for nothing from the first write. CONFLICT when the device is in use (mounted).
 * (transfer full) */
BkSink *bk_file_sink_open (const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;
