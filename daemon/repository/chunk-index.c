/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "chunk-index.h"

#include <string.h>

struct BkChunkIndex {
  BkIndexEntry *slots; /* length 0: empty */
  uint64_t capacity;   /* a power of two */
  uint64_t size;
};

static void
allocate (BkChunkIndex *index, uint64_t capacity)
{
  index->slots = g_malloc0_n (capacity, sizeof *index->slots);
  index->capacity = capacity;
  index->size = 0;
}

BkChunkIndex *
bk_chunk_index_new (void)
{
  BkChunkIndex *index = g_new0 (BkChunkIndex, 1);
  allocate (index, 1024);
  return index;
}

void
bk_chunk_index_free (BkChunkIndex *index)
{
  g_free (index->slots);
  g_free (index);
}

/* IDs are hashes: their bytes are as good as random. */
static BkIndexEntry *
slot_of (BkChunkIndex *index, const uint64_t key[2])
{
  for (uint64_t i = key[0] & (index->capacity - 1);; i = (i + 1) & (index->capacity - 1)) {
    BkIndexEntry *slot = &index->slots[i];
    if (slot->length == 0 || (slot->key[0] == key[0] && slot->key[1] == key[1]))
      return slot;
  }
}

/* Takes all entries over into new slots, but those that @keep does not want. */
static void
rebuild (BkChunkIndex *index, uint64_t capacity, BkIndexKeep keep, gpointer user_data)
{
  g_autofree BkIndexEntry *old = index->slots;
  uint64_t count = index->capacity;
  allocate (index, capacity);
  for (uint64_t i = 0; i < count; i++) {
    if (old[i].length == 0 || (keep && !keep (&old[i], user_data)))
      continue;
    *slot_of (index, old[i].key) = old[i];
    index->size++;
  }
}

BkIndexEntry *
bk_chunk_index_find (BkChunkIndex *index, const BkChunkId *id)
{
  uint64_t key[2];
  memcpy (key, id, sizeof key);
  BkIndexEntry *slot = slot_of (index, key);
  return slot->length ? slot : NULL;
}

void
bk_chunk_index_put (BkChunkIndex *index, const BkChunkId *id, uint32_t pack, uint64_t offset, uint32_t stored, uint32_t length)
{
  BkIndexEntry entry = { .offset = offset, .stored = stored, .pack = pack, .length = length };
  memcpy (entry.key, id, sizeof entry.key);
  if ((index->size + 1) * 4 > index->capacity * 3)
    rebuild (index, index->capacity * 2, NULL, NULL);
  BkIndexEntry *slot = slot_of (index, entry.key);
  index->size += slot->length == 0;
  entry.mark = slot->length ? slot->mark : 0;
  *slot = entry;
}

/* Those behind it in its run move up, as they could not be found else. */
void
bk_chunk_index_remove (BkChunkIndex *index, const BkChunkId *id, uint32_t pack, uint64_t offset)
{
  BkIndexEntry *found = bk_chunk_index_find (index, id);
  if (found == NULL || found->pack != pack || found->offset != offset)
    return;
  uint64_t i = (uint64_t)(found - index->slots);
  index->slots[i] = (BkIndexEntry){ 0 };
  index->size--;
  for (i = (i + 1) & (index->capacity - 1); index->slots[i].length; i = (i + 1) & (index->capacity - 1)) {
    BkIndexEntry moved = index->slots[i];
    index->slots[i] = (BkIndexEntry){ 0 };
    *slot_of (index, moved.key) = moved;
  }
}

uint64_t
bk_chunk_index_size (BkChunkIndex *index)
{
  return index->size;
}

void
bk_chunk_index_filter (BkChunkIndex *index, BkIndexKeep keep, gpointer user_data)
{
  rebuild (index, index->capacity, keep, user_data);
}
