/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image-map.h"

#include <string.h>

#define MAX_LEVELS 8
/* Pages that are kept of each level: 8 MiB. A copy in ascending order needs one, and some for what overtakes. */
#define MAX_OPEN 1024

typedef struct {
  uint64_t number; /* of the page on its level; the key */
  BkPage page;
  bool dirty;
  GList link; /* in the order of use */
} OpenPage;

typedef struct {
  GHashTable *pages; /* OpenPage by number */
  GQueue recent;     /* last used first */
} Level;

struct BkImageMap {
  BkChunkStore *store;
  BkChunkWriter *writer;
  uint64_t chunks;
  unsigned height;
  BkChunkId root;
  Level levels[MAX_LEVELS];
  uint64_t stored;
};

unsigned
bk_image_map_height (uint64_t chunks)
{
  unsigned height = 1;
  for (uint64_t reach = BK_PAGE_IDS; reach < chunks; reach *= BK_PAGE_IDS)
    height++;
  return height;
}

uint64_t
bk_image_map_span (unsigned level)
{
  return (uint64_t)1 << (8 * level);
}

gboolean
bk_image_map_read_page (BkChunkStore *store, const BkChunkId *id, BkPage *page, GError **error)
{
  if (!bk_chunk_id_is_none (id))
    return bk_chunk_store_get (store, NULL, BK_CHUNK_PAGE, id, page, sizeof *page, error);
  memset (page, 0, sizeof *page);
  return TRUE;
}

/* --- open pages --- */

static gboolean put_id (BkImageMap *map, unsigned level, uint64_t number, const BkChunkId *id, GError **error);
static OpenPage *get_page (BkImageMap *map, unsigned level, uint64_t number, GError **error);

static bool
is_all_zero (const BkPage *page)
{
  for (unsigned i = 0; i < BK_PAGE_IDS; i++)
    if (!bk_chunk_id_is_none (&page->ids[i]))
      return false;
  return true;
}

static gboolean
store_page (BkImageMap *map, const BkPage *page, BkChunkId *id, GError **error)
{
  uint32_t stored = 0;
  *id = bk_chunk_none;
  if (is_all_zero (page))
    return TRUE;
  if (!bk_chunk_writer_put (map->writer, BK_CHUNK_PAGE, page, sizeof *page, id, &stored, error))
    return FALSE;
  map->stored += stored;
  return TRUE;
}

/* Stores the page if it has changed, tells the page above, and forgets it. */
static gboolean
close_page (BkImageMap *map, unsigned level, OpenPage *open, GError **error)
{
  Level *at = &map->levels[level];
  BkChunkId id;
  uint64_t number = open->number;
  if (open->dirty && (!store_page (map, &open->page, &id, error) || !put_id (map, level + 1, number, &id, error)))
    return FALSE;
  g_queue_unlink (&at->recent, &open->link);
  g_hash_table_remove (at->pages, &open->number);
  return TRUE;
}

static gboolean
make_room (BkImageMap *map, unsigned level, GError **error)
{
  Level *at = &map->levels[level];
  return at->recent.length < MAX_OPEN || close_page (map, level, g_queue_peek_tail (&at->recent), error);
}

/* What the page above says of page @number of @level. */
static gboolean
get_id (BkImageMap *map, unsigned level, uint64_t number, BkChunkId *id, GError **error)
{
  *id = map->root;
  if (level == map->height)
    return TRUE;
  const OpenPage *above = get_page (map, level, number / BK_PAGE_IDS, error);
  if (above == NULL)
    return FALSE;
  *id = above->page.ids[number % BK_PAGE_IDS];
  return TRUE;
}

static gboolean
put_id (BkImageMap *map, unsigned level, uint64_t number, const BkChunkId *id, GError **error)
{
  if (level == map->height) {
    map->root = *id;
    return TRUE;
  }
  OpenPage *above = get_page (map, level, number / BK_PAGE_IDS, error);
  if (above == NULL)
    return FALSE;
  above->page.ids[number % BK_PAGE_IDS] = *id;
  above->dirty = true;
  return TRUE;
}

static gboolean
read_own_page (BkImageMap *map, const BkChunkId *id, BkPage *page, GError **error)
{
  if (!bk_chunk_id_is_none (id))
    return bk_chunk_store_get (map->store, map->writer, BK_CHUNK_PAGE, id, page, sizeof *page, error);
  memset (page, 0, sizeof *page);
  return TRUE;
}

/* Page @number of @level, 0 = leaves. Valid until the next call for that level or one below. */
static OpenPage *
get_page (BkImageMap *map, unsigned level, uint64_t number, GError **error)
{
  Level *at = &map->levels[level];
  OpenPage *open = g_hash_table_lookup (at->pages, &number);
  if (open) {
    g_queue_unlink (&at->recent, &open->link);
    g_queue_push_head_link (&at->recent, &open->link);
    return open;
  }
  BkChunkId id;
  if (!make_room (map, level, error) || !get_id (map, level + 1, number, &id, error))
    return NULL;
  open = g_new0 (OpenPage, 1);
  open->number = number;
  open->link.data = open;
  if (!read_own_page (map, &id, &open->page, error)) {
    g_free (open);
    return NULL;
  }
  g_hash_table_insert (at->pages, &open->number, open);
  g_queue_push_head_link (&at->recent, &open->link);
  return open;
}

/* --- another size --- */

/* A taller map: the old root becomes the first ID of a new page above it. */
static gboolean
grow (BkImageMap *map, unsigned old_height, GError **error)
{
  for (unsigned height = old_height; height < map->height && !bk_chunk_id_is_none (&map->root); height++) {
    BkPage page = { 0 };
    page.ids[0] = map->root;
    if (!store_page (map, &page, &map->root, error))
      return FALSE;
  }
  return TRUE;
}

/* A lower one: down along the first IDs. */
static gboolean
shrink (BkImageMap *map, unsigned old_height, GError **error)
{
  for (unsigned height = old_height; height > map->height; height--) {
    BkPage page;
    if (!read_own_page (map, &map->root, &page, error))
      return FALSE;
    map->root = page.ids[0];
  }
  return TRUE;
}

/* IDs behind the end go, on each level, so that they do not come back when the disk grows again. */
static gboolean
cut (BkImageMap *map, GError **error)
{
  uint64_t count = map->chunks; /* IDs of the level that are left */
  for (unsigned level = 0; level < map->height; level++) {
    uint64_t pages = (count + BK_PAGE_IDS - 1) / BK_PAGE_IDS;
    OpenPage *last = pages ? get_page (map, level, pages - 1, error) : NULL;
    if (pages && last == NULL)
      return FALSE;
    for (uint64_t i = count % BK_PAGE_IDS; last && i > 0 && i < BK_PAGE_IDS; i++) {
      last->dirty = last->dirty || !bk_chunk_id_is_none (&last->page.ids[i]);
      last->page.ids[i] = bk_chunk_none;
    }
    count = pages;
  }
  return TRUE;
}

static gboolean
fit (BkImageMap *map, uint64_t old_chunks, GError **error)
{
  unsigned old_height = bk_image_map_height (old_chunks);
  if (old_height < map->height)
    return grow (map, old_height, error);
  return shrink (map, old_height, error) && (map->chunks >= old_chunks || cut (map, error));
}

BkImageMap *
bk_image_map_new (BkChunkStore *store, BkChunkWriter *writer, const BkChunkId *root, uint64_t old_chunks, uint64_t chunks, GError **error)
{
  BkImageMap *map = g_new0 (BkImageMap, 1);
  map->store = store;
  map->writer = writer;
  map->chunks = chunks;
  map->height = bk_image_map_height (chunks);
  map->root = root ? *root : bk_chunk_none;
  for (unsigned i = 0; i < MAX_LEVELS; i++) {
    map->levels[i].pages = g_hash_table_new_full (g_int64_hash, g_int64_equal, NULL, g_free);
    g_queue_init (&map->levels[i].recent);
  }
  if (chunks == 0)
    map->root = bk_chunk_none;
  else if (root && !fit (map, old_chunks, error)) {
    bk_image_map_free (map);
    return NULL;
  }
  return map;
}

void
bk_image_map_free (BkImageMap *map)
{
  for (unsigned i = 0; i < MAX_LEVELS; i++)
    g_hash_table_unref (map->levels[i].pages);
  g_free (map);
}

/* --- changes --- */

gboolean
bk_image_map_set (BkImageMap *map, uint64_t chunk, const BkChunkId *id, BkChunkId *old, GError **error)
{
  OpenPage *leaf = get_page (map, 0, chunk / BK_PAGE_IDS, error);
  if (leaf == NULL)
    return FALSE;
  BkChunkId *slot = &leaf->page.ids[chunk % BK_PAGE_IDS];
  *old = *slot;
  if (!bk_chunk_id_equal (slot, id)) {
    *slot = *id;
    leaf->dirty = true;
  }
  return TRUE;
}

/* True for a leaf that is not open and zero: nothing is to be done for it. */
static gboolean
is_zero_leaf (BkImageMap *map, uint64_t number, bool *zero, GError **error)
{
  BkChunkId id;
  *zero = false;
  if (g_hash_table_contains (map->levels[0].pages, &number))
    return TRUE;
  if (!get_id (map, 1, number, &id, error))
    return FALSE;
  *zero = bk_chunk_id_is_none (&id);
  return TRUE;
}

static gboolean
clear_leaf (BkImageMap *map, uint64_t from, uint64_t to, uint64_t *changed, GError **error)
{
  BkChunkId old;
  for (uint64_t chunk = from; chunk < to; chunk++) {
    if (!bk_image_map_set (map, chunk, &bk_chunk_none, &old, error))
      return FALSE;
    *changed += !bk_chunk_id_is_none (&old);
  }
  return TRUE;
}

gboolean
bk_image_map_clear (BkImageMap *map, uint64_t from, uint64_t to, uint64_t *changed, GError **error)
{
  *changed = 0;
  while (from < to) {
    uint64_t end = MIN (to, (from / BK_PAGE_IDS + 1) * BK_PAGE_IDS);
    bool zero = false;
    if (!is_zero_leaf (map, from / BK_PAGE_IDS, &zero, error) || (!zero && !clear_leaf (map, from, end, changed, error)))
      return FALSE;
    from = end;
  }
  return TRUE;
}

gboolean
bk_image_map_finish (BkImageMap *map, BkChunkId *root, uint64_t *stored, GError **error)
{
  for (unsigned level = 0; level < map->height; level++) {
    OpenPage *open;
    while ((open = g_queue_peek_tail (&map->levels[level].recent)) != NULL)
      if (!close_page (map, level, open, error))
        return FALSE;
  }
  *root = map->root;
  *stored = map->stored;
  return TRUE;
}

/* --- the walk --- */

static gboolean walk_id (BkChunkStore *store, const BkChunkId *id, unsigned level, uint64_t first, uint64_t count, const BkWalk *walk, GError **error);

static gboolean
walk_page (BkChunkStore *store, const BkChunkId *id, unsigned level, uint64_t first, uint64_t count, const BkWalk *walk, GError **error)
{
  g_autofree BkPage *page = g_new (BkPage, 1);
  g_autoptr (GError) failure = NULL;
  if (!bk_image_map_read_page (store, id, page, &failure)) {
    if (walk->damaged && g_error_matches (failure, BK_ERROR, BK_ERROR_CORRUPT))
      return walk->damaged (first, count, failure, walk->user_data);
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  uint64_t span = bk_image_map_span (level - 1);
  for (uint64_t done = 0, i = 0; done < count; done += span, i++)
    if (!walk_id (store, &page->ids[i], level - 1, first + done, MIN (span, count - done), walk, error))
      return FALSE;
  return TRUE;
}

static gboolean
walk_id (BkChunkStore *store, const BkChunkId *id, unsigned level, uint64_t first, uint64_t count, const BkWalk *walk, GError **error)
{
  switch (walk->visit (id, level, first, count, walk->user_data, error)) {
  case BK_WALK_STOP:
    return FALSE;
  case BK_WALK_PASS:
    return TRUE;
  case BK_WALK_DOWN:
    return level == 0 || bk_chunk_id_is_none (id) || walk_page (store, id, level, first, count, walk, error);
  }
  g_assert_not_reached ();
}

gboolean
bk_image_map_walk (BkChunkStore *store, const BkChunkId *root, uint64_t chunks, const BkWalk *walk, GError **error)
{
  return chunks == 0 || walk_id (store, root, bk_image_map_height (chunks), 0, chunks, walk, error);
}
