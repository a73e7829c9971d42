/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The youngest part of the index, in memory: a hash table that may hold several copies of a chunk. 32 bytes a copy, at most
 * three quarters full. No locks: its owner has them.
 */
#pragma once

#include "index-entry.h"

typedef struct BkIndexTable BkIndexTable;

BkIndexTable *bk_index_table_new (void);
void bk_index_table_free (BkIndexTable *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkIndexTable, bk_index_table_free)

/* @entry: its length is not 0. */
void bk_index_table_put (BkIndexTable *table, const BkIndexEntry *entry);
/* The copies with @key one by one, in the order in which they were put: the first for @previous NULL; NULL behind the last.
 * Theirs is the caller's to change but for key and length, until the next put. */
BkIndexEntry *bk_index_table_next (BkIndexTable *table, const uint64_t key[2], BkIndexEntry *previous);

uint64_t bk_index_table_size (BkIndexTable *table);
/* All, by key; copies of one chunk in the order in which they were put. (transfer full), BkIndexEntry. */
GArray *bk_index_table_sort (BkIndexTable *table);
void bk_index_table_clear (BkIndexTable *table);
void bk_index_table_clear_marks (BkIndexTable *table);
