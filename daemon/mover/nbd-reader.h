/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * An NBD export as a reader: the frozen disk of a running QEMU above all. One connection for each worker and one for
 * the extents where the server says that they see the same (multi-conn), else one that all share. Requests are
 * in flight side by side; start() and wait() are there.
 *
 * Extents: with a dirty context, what it does not name is CLEAN; the rest is DATA or ZERO by base:allocation. A server that
 * has no base:allocation has DATA alone. The walk is linear, and its memory bounded by one answer of the server (8 MiB).
 *
 * Errors: what the server answers is FAILED, with offset and reason (a snapshot of QEMU that broke, because its scratch
 * was full or too slow, answers EINVAL to everything). UNREACHABLE: it cannot be connected to, or the connection is
 * lost. DENIED: it refuses, or TLS does not come about. NOT_FOUND: no such export. INVALID: the URI is no URI.
 * CANCELLED: by the cancellable or bk_reader_interrupt().
 */
#pragma once

#include "nbd-address.h"
#include "reader.h"

typedef struct {
  const char *dirty_context; /* "qemu:dirty-bitmap:NAME", or NULL. FAILED when the export does not have it */
  /* Where the dirty context is, when that is another export; its size must be the same. NULL = the export itself. For
   * disks whose content must not be exported where their changes are. */
  const BkNbdAddress *dirty_address;
  bool no_allocation; /* base:allocation is not to be trusted: all is DATA that is not CLEAN */
  size_t max_request; /* a power of two: no larger reads, and none across a multiple of it; 0 = what the server takes.
                       * QEMU 7.2 needs 64 KiB for a snapshot-access node beside a guest that writes */
} BkNbdReaderOptions;

/* Connects, within 10 s, so that the size is known. @options: NULL = none. Worker threads. (transfer full) */
BkReader *bk_nbd_reader_new (const BkNbdAddress *address, const BkNbdReaderOptions *options, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
