/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A raw file, a block device, or a file that QEMU exports by FUSE as a reader. It has no start() and wait().
 *
 * Extents: holes (SEEK_HOLE) are ZERO, the rest is DATA; where the file system knows no holes all is DATA. With a dirty
 * context on an NBD export beside (for a disk whose content must not be exported by NBD: content from a FUSE file,
 * changes from a node of the same size), what that does not name is CLEAN.
 *
 * A read that hangs in the kernel (a FUSE file whose server is stuck) cannot be interrupted; all else can.
 */
#pragma once

#include "nbd-address.h"
#include "reader.h"

typedef struct {
  const BkNbdAddress *dirty_address; /* of an export as large as the file, or NULL */
  const char *dirty_context;         /* on it: "qemu:dirty-bitmap:NAME" */
  bool no_holes;                     /* SEEK_HOLE is not to be trusted: all is DATA that is not CLEAN */
  size_t max_request;                /* as in nbd-reader.h */
} BkFileReaderOptions;

/* Opens @path read-only. @options: NULL = none. NOT_FOUND, DENIED, FAILED; those of nbd-reader.h with a dirty
 * address. Worker threads. (transfer full) */
BkReader *bk_file_reader_new (const char *path, const BkFileReaderOptions *options, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
