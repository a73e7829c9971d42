/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The chunks of a repository: its packs, the index over them, and the list of copies that are known to be bad.
 * Any thread.
 *
 * A writer is a lease: what it has put, or found to be there, stays until it is freed. Its own new chunks are known to it
 * alone until their pack is on stable storage, so that nobody counts on what may yet be given up.
 */
#pragma once

#include "pack.h"

typedef struct BkChunkStore BkChunkStore;
typedef struct BkChunkWriter BkChunkWriter;

/* @storage, @crypto: (transfer none), outlive it. @index: a local folder for a cache (chunk-index.h). @level: of zstd, 0 = none. Reads the tables of packs that
 * the index does not know yet. Damaged ones are logged, and their chunks missing. */
BkChunkStore *bk_chunk_store_open (BkStorage *storage, const char *index, const BkCrypto *crypto, int level, bool writable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void bk_chunk_store_free (BkChunkStore *store);

/* The content of a chunk, verified. CORRUPT tells why; where the store is writable, the copy is noted as bad and not counted
 * on any more. @writer: whose new chunks are looked through as well, or NULL. */
gboolean bk_chunk_store_get (BkChunkStore *store, BkChunkWriter *writer, BkChunkType type, const BkChunkId *id, void *out, size_t length, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Whether an intact copy is believed to be there; its sizes. */
bool bk_chunk_store_has (BkChunkStore *store, const BkChunkId *id, uint32_t *stored, uint32_t *length);

BkChunkWriter *bk_chunk_writer_new (BkChunkStore *store);
/* New chunks that were not flushed go. */
void bk_chunk_writer_free (BkChunkWriter *writer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkChunkWriter, bk_chunk_writer_free)

/* Stores @data unless it is there, and gives its ID. *@stored: bytes that it took; 0 = it was there. NO_SPACE, FAILED: the
 * writer is good for nothing but to be freed then. */
gboolean bk_chunk_writer_put (BkChunkWriter *writer, BkChunkType type, const void *data, size_t length, BkChunkId *id, uint32_t *stored, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* All of it is on stable storage, and everybody's. */
gboolean bk_chunk_writer_flush (BkChunkWriter *writer, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- for those who look at all of them: one at a time --- */

/* FALSE: another one is at it. */
bool bk_chunk_store_begin_marks (BkChunkStore *store);
void bk_chunk_store_end_marks (BkChunkStore *store);
/* The index was damaged and made anew meanwhile: nothing can be said of what is marked. A sweep ends with FAILED. */
bool bk_chunk_store_marks_lost (BkChunkStore *store);
/* True the first time for each chunk since begin_marks, with its sizes; false for one that is marked, or not there. */
bool bk_chunk_store_mark (BkChunkStore *store, const BkChunkId *id, uint32_t *stored, uint32_t *length);

typedef struct {
  uint64_t packs, bytes;               /* all packs, files as they are */
  uint64_t dead_packs, dead_bytes;     /* packs with nothing that is marked */
  uint64_t sparse_packs, sparse_bytes; /* packs of which less than half is: what rewriting them gives */
  uint64_t sparse_live;                /* and what that moves */
  uint64_t held;                       /* of these, packs that a writer holds */
} BkChunkUsage;
void bk_chunk_store_usage (BkChunkStore *store, BkChunkUsage *usage);

/* Takes away what is not marked: dead packs go, sparse ones are rewritten first. What came or was found since begin_marks is
 * held by its writer, and stays. Adds to the counters. NO_SPACE, CANCELLED: what was freed is free, and nothing is lost. */
typedef struct {
  uint64_t removed, rewritten, freed, moved, held;
} BkChunkSweep;
gboolean bk_chunk_store_sweep (BkChunkStore *store, GCancellable *cancellable, BkChunkSweep *sweep, GError **error) G_GNUC_WARN_UNUSED_RESULT;

uint64_t bk_chunk_store_bytes (BkChunkStore *store); /* of all packs */
uint64_t bk_chunk_store_bad (BkChunkStore *store);   /* copies that are known to be bad */
