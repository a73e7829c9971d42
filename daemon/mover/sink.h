/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Where the bytes of one disk go: a disk of a backup to be in a repository, a file or device, an NBD server. A sink
 * fills a BkSinkOps; callers use the bk_sink_*() wrappers, which check ranges, alignment and order, and count.
 *
 * What is neither written nor zeroed stays as it was: in the backup before, or zero where there is none.
 *
 * Threads: as for readers (reader.h): write and zero of different workers may run at once for ranges that do not overlap.
 * finish is called once, when all workers are back.
 */
#pragma once

#include "bk-error.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct BkSink BkSink;

typedef struct {
  const char *name; /* "repository" */
  gboolean (*open) (BkSink *sink, unsigned workers, GCancellable *cancellable, GError **error); /* may be NULL */
  gboolean (*write) (BkSink *sink, unsigned worker, uint64_t offset, const void *data, size_t length, GError **error);
  gboolean (*zero) (BkSink *sink, unsigned worker, uint64_t offset, uint64_t length, GError **error);
  gboolean (*finish) (BkSink *sink, GCancellable *cancellable, GError **error); /* complete, and on stable storage where the sink can know */
  void (*interrupt) (BkSink *sink); /* any thread; may be NULL */
  void (*free) (BkSink *sink);      /* without finish: what was written is given up */
} BkSinkOps;

/* The first member of each sink's own struct. */
struct BkSink {
  const BkSinkOps *ops;
  uint64_t size;  /* bytes; any number */
  uint32_t block; /* writes and zeroes begin at multiples of it, and end at one or at the size; a power of two */
  bool wants_zeroes; /* false: it is zero where nothing is written, and zero() need not be called */
  unsigned workers;  /* set by bk_sink_open() */
  bool finished;
};

gboolean bk_sink_open (BkSink *sink, unsigned workers, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* NO_SPACE, UNREACHABLE, FAILED, CANCELLED. @data may be reused when it returns. */
gboolean bk_sink_write (BkSink *sink, unsigned worker, uint64_t offset, const void *data, size_t length, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_sink_zero (BkSink *sink, unsigned worker, uint64_t offset, uint64_t length, GError **error) G_GNUC_WARN_UNUSED_RESULT;
gboolean bk_sink_finish (BkSink *sink, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void bk_sink_interrupt (BkSink *sink);
void bk_sink_free (BkSink *sink);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkSink, bk_sink_free)
