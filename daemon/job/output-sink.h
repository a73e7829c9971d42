/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Where users want a disk to be: a raw or qcow2 file, a block device or an NBD server, as a sink. A file appears under its
 * name only when it is complete and on stable storage.
 */
#pragma once

#include "sink.h"

/* @temporary: the name of a file until it is complete, in the same folder; one of an earlier attempt is removed. @force: it
 * may replace a file that is there. Errors of bk_output_check(), and of the sinks of the mover. Worker threads.
 * (transfer full) */
BkSink *bk_output_sink_new (const char *output, const char *temporary, const char *format, uint64_t size, bool force, GError **error) G_GNUC_WARN_UNUSED_RESULT;
