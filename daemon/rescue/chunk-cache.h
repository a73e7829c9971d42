/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The last pieces of a disk that were read, so that many small reads beside each other do not decompress the same chunk
 * again and again. Any thread.
 */
#pragma once

#include "reader.h"

typedef struct BkChunkCache BkChunkCache;

/* Reads @reader (borrowed, open) in whole pieces of @piece bytes, and keeps the last @capacity of them. */
BkChunkCache *bk_chunk_cache_new (BkReader *reader, size_t piece, unsigned capacity);
void bk_chunk_cache_free (BkChunkCache *cache);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkChunkCache, bk_chunk_cache_free)

/* As bk_reader_read(). What covers whole pieces is not kept: it is read in one go, and will not come again soon. */
gboolean bk_chunk_cache_read (BkChunkCache *cache, unsigned worker, uint64_t offset, void *data, size_t length, GError **error) G_GNUC_WARN_UNUSED_RESULT;
