/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Which chunks there are, and where: a table in memory, made from the tables of the packs. 32 bytes a chunk, at most three
 * quarters full. No locks: its owner has them.
 */
#pragma once

#include "chunk.h"

typedef struct {
  uint64_t key[2]; /* the first half of the ID; no two chunks of an honest repository share it */
  uint64_t offset : 34, stored : 24;
  uint32_t pack;
  uint32_t length : 24, mark : 8;
} BkIndexEntry;

typedef struct BkChunkIndex BkChunkIndex;

BkChunkIndex *bk_chunk_index_new (void);
void bk_chunk_index_free (BkChunkIndex *index);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkChunkIndex, bk_chunk_index_free)

/* NULL, or the entry of @id, which is the caller's to change until the next add or remove. */
BkIndexEntry *bk_chunk_index_find (BkChunkIndex *index, const BkChunkId *id);
/* Adds it, or moves it to this place. The mark of a new entry is 0. */
void bk_chunk_index_put (BkChunkIndex *index, const BkChunkId *id, uint32_t pack, uint64_t offset, uint32_t stored, uint32_t length);
/* Nothing when it is not there, or is at another place. */
void bk_chunk_index_remove (BkChunkIndex *index, const BkChunkId *id, uint32_t pack, uint64_t offset);
uint64_t bk_chunk_index_size (BkChunkIndex *index);

/* Calls @func for all; those for which it says false are removed. */
typedef bool (*BkIndexKeep) (BkIndexEntry *entry, gpointer user_data);
void bk_chunk_index_filter (BkChunkIndex *index, BkIndexKeep keep, gpointer user_data);
