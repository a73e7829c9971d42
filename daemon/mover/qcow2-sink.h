/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A qcow2 image as a sink, by a qemu-nbd of its own. That is started by bk_sink_open() and has ended when bk_sink_finish()
 * or bk_sink_free() returns; it does not outlive the daemon either, however that ends. open and finish must be
 * called by one thread, which must live that long (bk_copy_run() does so).
 */
#pragma once

#include "sink.h"

/* @path: an image of qcow2 format without a backing file, just made and still empty, @size bytes large. The sink does not remove
 * it. BACKUPD_QEMU_NBD in the environment names another program than qemu-nbd. bk_sink_open() fails with FAILED when
 * it cannot be started, and says what it said. (transfer full) */
BkSink *bk_qcow2_sink_new (const char *path, uint64_t size);
