/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Where one copy of a chunk is: what the index of a repository consists of.
 */
#pragma once

#include "chunk.h"

typedef struct {
  uint64_t key[2]; /* the first half of the ID; no two chunks of an honest repository share it */
  uint64_t offset : 34, stored : 24; /* of the record in its pack, and its size with head */
  uint32_t pack;                     /* number of the pack, by its owner's count */
  uint32_t length : 24, mark : 8;    /* of the content */
} BkIndexEntry;

/* Bytes of an ID, to numbers that are the same on all machines. */
void bk_index_key (const BkChunkId *id, uint64_t key[2]);
int bk_index_key_compare (const uint64_t a[2], const uint64_t b[2]);
/* By key alone, for qsort(). */
int bk_index_entry_compare (const void *a, const void *b);
