/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Carries a disk from a reader to a sink. The thread that calls bk_copy_run() walks the extents, and its workers take piece
 * by piece, in about ascending order:
 *
 *   reader's extents -> widened to whole blocks -> queue of runs -> workers: read, several in flight -> look for zeroes -> sink
 *
 * A block (the larger of the sink's and the reader's) that is clean all over is left out, one that is zero all over is zeroed,
 * any other is read whole. Runs of zeroes go to the sink in one call of any length.
 *
 * Memory: workers x in_flight x piece, a piece being the request or one block, what is larger (by default
 * 4 x 8 x 256 KiB = 8 MiB); with large blocks fewer are in flight (copy.c); and 2 MiB for the queue. A sink that
 * is slow makes the reader wait.
 */
#pragma once

#include "rate.h"
#include "reader.h"
#include "sink.h"

typedef struct BkCopy BkCopy;

/* Zero in a field stands for the default. */
typedef struct {
  unsigned workers;   /* 4 */
  unsigned in_flight; /* pieces that a worker has in flight: 8 */
  size_t request;     /* bytes: 256 KiB; larger reads than the reader takes are sent in parts */
  BkRate *rate;       /* one that is shared with other copies (transfer none: a reference is taken) */
} BkCopyOptions;

typedef struct {
  uint64_t total;       /* bytes to be carried, as far as the extents are known: they are walked ahead of the copying */
  bool total_is_known;  /* all of them are */
  uint64_t transferred; /* bytes that the sink has, never more than the total */
  uint64_t read;        /* of these, bytes that were read from the reader */
  uint64_t zero;        /* of these, bytes that are zero, by the extents or by looking */
  uint64_t clean;       /* bytes left out */
} BkCopyCounters;

/* Borrows both, which must not have been opened, until bk_copy_free(). @options: NULL = defaults. (transfer full) */
BkCopy *bk_copy_new (BkReader *reader, BkSink *sink, const BkCopyOptions *options);

/* Opens reader and sink, copies, and finishes the sink. Blocking, once, in a worker thread. The first error of any part stops
 * all, within a second, also when the source or the target hangs; both can only be freed then.
 * INVALID when the sink is smaller than the reader (a larger one keeps what it has behind the end); errors of reader and
 * sink; CANCELLED. */
gboolean bk_copy_run (BkCopy *copy, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- any thread, also before and after bk_copy_run() --- */

/* Paused, no more reads are begun; what is in flight is still carried through. */
void bk_copy_pause (BkCopy *copy);
void bk_copy_resume (BkCopy *copy);
/* Bytes read a second, 0 = no limit; of the shared rate, where one was given. */
void bk_copy_set_speed (BkCopy *copy, uint64_t bytes_per_second);
BkCopyCounters bk_copy_counters (BkCopy *copy);

void bk_copy_free (BkCopy *copy);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkCopy, bk_copy_free)
