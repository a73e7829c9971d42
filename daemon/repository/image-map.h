/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Which chunk is where on a disk: a tree of pages, each of 256 IDs (8192 bytes) and a chunk itself. The IDs of a leaf are
 * those of the disk's chunks, in order; those of a page above are pages. An ID of zeroes stands for a chunk, or a page,
 * of zeroes alone. The root of a disk of n chunks is ceil (log256 (n)) pages above its chunks, one at least.
 */
#pragma once

#include "chunk-store.h"

#define BK_PAGE_IDS 256u
#define BK_PAGE_SIZE (BK_PAGE_IDS * (unsigned)sizeof (BkChunkId))

typedef struct {
  BkChunkId ids[BK_PAGE_IDS];
} BkPage;

/* Levels of pages of a disk of @chunks. */
unsigned bk_image_map_height (uint64_t chunks);
/* How many chunks are below one ID of a page of @level (0 = leaf). */
uint64_t bk_image_map_span (unsigned level);

/* --- changing one: no locks, its owner has them --- */

typedef struct BkImageMap BkImageMap;

/* Begins with the map at @root of a disk of @old_chunks; none: with zeroes. Chunks behind the new end are cut off, those
 * behind the old one are zero. New pages go through @writer (borrowed). CORRUPT. */
BkImageMap *bk_image_map_new (BkChunkStore *store, BkChunkWriter *writer, const BkChunkId *root, uint64_t old_chunks, uint64_t chunks, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void bk_image_map_free (BkImageMap *map);

/* *@old: what was there. Memory is bounded: pages not used for long are stored, and read again when they are needed. */
gboolean bk_image_map_set (BkImageMap *map, uint64_t chunk, const BkChunkId *id, BkChunkId *old, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Zeroes chunks @from to before @to; *@changed counts those that were not. Quick where they were. */
gboolean bk_image_map_clear (BkImageMap *map, uint64_t from, uint64_t to, uint64_t *changed, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Stores all pages, and gives the root. *@stored: bytes that all pages of the map have taken. */
gboolean bk_image_map_finish (BkImageMap *map, BkChunkId *root, uint64_t *stored, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- reading: any thread --- */

/* One page, verified. @id none gives zeroes. */
gboolean bk_image_map_read_page (BkChunkStore *store, const BkChunkId *id, BkPage *page, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* A walk over @chunks from @root. For each ID of each page, @visit is asked first, with the level of what it names (0: a chunk
 * of the disk, 1: a leaf, ...) and the chunks from @first that it stands for (none, too); when it says BK_WALK_DOWN of
 * a page, its IDs follow. A page that cannot be read is told to @damaged; when that is NULL or says FALSE the walk ends. */
typedef enum { BK_WALK_DOWN, BK_WALK_PASS, BK_WALK_STOP } BkWalkAction;
typedef struct {
  BkWalkAction (*visit) (const BkChunkId *id, unsigned level, uint64_t first, uint64_t count, gpointer user_data, GError **error);
  gboolean (*damaged) (uint64_t first, uint64_t count, const GError *why, gpointer user_data);
  gpointer user_data;
} BkWalk;
gboolean bk_image_map_walk (BkChunkStore *store, const BkChunkId *root, uint64_t chunks, const BkWalk *walk, GError **error) G_GNUC_WARN_UNUSED_RESULT;
