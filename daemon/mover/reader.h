/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Where the bytes of one disk come from: an NBD export, a file, a disk of a backup in a repository. A reader fills a
 * BkReaderOps; callers use the bk_reader_*() wrappers, which check ranges and order for all of them.
 *
 * What a reader shows does not change while it is open: it is a point in time.
 *
 * Threads: a reader is shared by a fixed number of workers (bk_reader_open()), each of which names itself by its number
 * in each call; calls of different workers may run at once, calls of one worker may not. extents() is called
 * from one thread only, beside the workers.
 */
#pragma once

#include "bk-error.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct BkReader BkReader;

typedef enum {
  BK_EXTENT_DATA,  /* to be read */
  BK_EXTENT_ZERO,  /* known to read as zeroes, and to be recorded as such */
  BK_EXTENT_CLEAN, /* as in the backup before: not to be copied. Only readers that were given a list of changes tell it */
} BkExtentKind;

/* Extents come in ascending order, without gap or overlap, neighbours differ in kind. FALSE stops the walk with the error
 * that the function has set. */
typedef gboolean (*BkExtentFunc) (uint64_t offset, uint64_t length, BkExtentKind kind, gpointer user_data, GError **error);

/* A read that may be in flight with others of the same worker. The caller owns it, and data, until it comes back. */
typedef struct {
  uint64_t offset;
  size_t length;
  void *data;
  GError *error; /* set when it comes back failed; the caller frees it */
} BkRequest;

typedef struct {
  const char *name; /* "nbd" */
  gboolean (*open) (BkReader *reader, unsigned workers, GCancellable *cancellable, GError **error); /* may be NULL */
  gboolean (*extents) (BkReader *reader, BkExtentFunc func, gpointer user_data, GCancellable *cancellable, GError **error);
  gboolean (*read) (BkReader *reader, unsigned worker, uint64_t offset, void *data, size_t length, GError **error);
  /* Many in flight; both NULL where read() is all there is: the caller looks, and uses read() then. */
  gboolean (*start) (BkReader *reader, unsigned worker, BkRequest *request, GError **error);
  BkRequest *(*wait) (BkReader *reader, unsigned worker, GError **error);
  void (*interrupt) (BkReader *reader); /* any thread: calls that wait for the source fail with CANCELLED; may be NULL */
  void (*free) (BkReader *reader);
} BkReaderOps;

/* The first member of each reader's own struct. */
struct BkReader {
  const BkReaderOps *ops;
  uint64_t size;      /* bytes; any number */
  size_t max_request; /* no larger ones are sent: a power of two, and requests do not cross a multiple of it; 0 = any */
  uint32_t block;     /* reads begin at multiples of it, and end at one or at the size: a power of two; 0 = any do */
  unsigned workers;   /* set by bk_reader_open() */
};

/* Makes it ready for @workers. UNREACHABLE, FAILED, CANCELLED. */
gboolean bk_reader_open (BkReader *reader, unsigned workers, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Walks all extents from 0 to the size. */
gboolean bk_reader_extents (BkReader *reader, BkExtentFunc func, gpointer user_data, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Reads exactly @length bytes. FAILED, UNREACHABLE, CANCELLED; CORRUPT from a repository, which names disk and offset. */
gboolean bk_reader_read (BkReader *reader, unsigned worker, uint64_t offset, void *data, size_t length, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Puts @request in flight (transfer none; it comes back from wait). FALSE: it was not. */
gboolean bk_reader_start (BkReader *reader, unsigned worker, BkRequest *request, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Waits for one of the worker's requests, in any order; its error is in the request. NULL with @error when nothing comes
 * back any more (the connection is gone): then all of the worker's requests are the caller's again. */
BkRequest *bk_reader_wait (BkReader *reader, unsigned worker, GError **error) G_GNUC_WARN_UNUSED_RESULT;

void bk_reader_interrupt (BkReader *reader);
void bk_reader_free (BkReader *reader);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkReader, bk_reader_free)
