/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Which chunks there are, and where: a cache of the tables of all packs, of bounded memory. What was put lately is in a
 * table in memory (at most some 8 MiB); the rest is in sorted files (index-run.h), of which there are few: four of like size are merged
 * into one. A lookup reads about one block of 4 KiB in each. In memory are 8 bytes for each 127 chunks, and, while there are
 * marks, one bit for each.
 *
 * A chunk may have several copies, in several packs. The youngest that is usable is found; which are usable is for the
 * owner to say, so that nothing need be removed when a pack goes.
 *
 * The files are in a folder of the repository, where only the one process that writes makes and removes them, or, for a
 * process that only reads, in unnamed files in the folder for temporary ones. A failure to write one is logged; the entries stay
 * in memory, and the next attempt comes with the next pack.
 *
 * No locks: its owner has them.
 */
#pragma once

#include "index-entry.h"

/* The owner's packs. A pack's number never changes. */
typedef struct {
  const char *(*name) (uint32_t pack, gpointer user_data);
  uint32_t (*number) (const char *name, gpointer user_data);      /* gives one when it has none */
  bool (*usable) (const BkIndexEntry *entry, gpointer user_data); /* whether to count on that copy */
  bool (*gone) (uint32_t pack, gpointer user_data);               /* never to come back: entries may be dropped */
  gpointer user_data;
} BkIndexPacks;

typedef struct BkChunkIndex BkChunkIndex;

/* Opens what is in @folder. Files that are damaged are ignored, and, if @writable, removed. @packs: (transfer none) */
BkChunkIndex *bk_chunk_index_open (const char *folder, bool writable, const BkIndexPacks *packs);
/* Keeps in files what is still in memory, if it is writable. */
void bk_chunk_index_free (BkChunkIndex *index);

/* Calls @func for each pack whose entries are all in the index. */
typedef void (*BkIndexPackFunc) (uint32_t pack, gpointer user_data);
void bk_chunk_index_foreach_pack (BkChunkIndex *index, BkIndexPackFunc func, gpointer user_data);

/* FALSE: no usable copy is known. Where bk_chunk_index_is_damaged() is true then, that is no proof: reset it. */
bool bk_chunk_index_find (BkChunkIndex *index, const BkChunkId *id, BkIndexEntry *entry);
bool bk_chunk_index_is_damaged (BkChunkIndex *index);
/* Whether that copy of the chunk is known, usable or not. */
bool bk_chunk_index_has (BkChunkIndex *index, const BkChunkId *id, uint32_t pack, uint64_t offset);
/* It is known to be wrong: is_damaged() is true from here on. */
void bk_chunk_index_distrust (BkChunkIndex *index);
/* Forgets everything, and removes the files. */
void bk_chunk_index_reset (BkChunkIndex *index);

/* Adds a copy. Entries of a pack are put one behind the other, and then bk_chunk_index_settle() is called, which may move
 * what is in memory to a file: that file holds whole packs. */
void bk_chunk_index_put (BkChunkIndex *index, const BkChunkId *id, uint32_t pack, uint64_t offset, uint32_t stored, uint32_t length);
void bk_chunk_index_settle (BkChunkIndex *index);

/* Marks: between begin and end. A reset in between loses them. */
void bk_chunk_index_begin_marks (BkChunkIndex *index);
void bk_chunk_index_end_marks (BkChunkIndex *index);
/* Marks the copy that find() gives. *@was: it was marked before. */
bool bk_chunk_index_mark (BkChunkIndex *index, const BkChunkId *id, BkIndexEntry *entry, bool *was);
/* Whether that copy of the chunk is marked. */
bool bk_chunk_index_is_marked (BkChunkIndex *index, const BkChunkId *id, uint32_t pack, uint64_t offset);

/* Copies that are known, with those that are not usable any more. */
uint64_t bk_chunk_index_size (BkChunkIndex *index);

/* Merging reads and writes the whole of several files, so it is done in three steps, of which only the second may go on
 * beside all other calls. NULL: nothing is to be merged, or it is being done. */
typedef struct BkIndexMerge BkIndexMerge;
BkIndexMerge *bk_chunk_index_begin_merge (BkChunkIndex *index);
void bk_index_merge_run (BkIndexMerge *merge);
void bk_chunk_index_end_merge (BkChunkIndex *index, BkIndexMerge *merge);
