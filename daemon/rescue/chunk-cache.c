/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "chunk-cache.h"

#include <string.h>

typedef struct {
  uint64_t number; /* of the piece */
  GBytes *bytes;
  GList link; /* in recent */
} Piece;

struct BkChunkCache {
  BkReader *reader;
  size_t piece;
  unsigned capacity;
  GMutex mutex;
  GHashTable *pieces; /* number to Piece */
  GQueue recent;      /* Piece, last used first */
};

static void
piece_free (gpointer data)
{
  Piece *piece = data;
  g_bytes_unref (piece->bytes);
  g_free (piece);
}

BkChunkCache *
bk_chunk_cache_new (BkReader *reader, size_t piece, unsigned capacity)
{
  BkChunkCache *cache = g_new0 (BkChunkCache, 1);
  g_assert (piece > 0 && capacity > 0);
  cache->reader = reader;
  cache->piece = piece;
  cache->capacity = capacity;
  g_mutex_init (&cache->mutex);
  cache->pieces = g_hash_table_new_full (g_int64_hash, g_int64_equal, NULL, piece_free);
  g_queue_init (&cache->recent);
  return cache;
}

void
bk_chunk_cache_free (BkChunkCache *cache)
{
  g_hash_table_unref (cache->pieces);
  g_mutex_clear (&cache->mutex);
  g_free (cache);
}

static GBytes *
look_up (BkChunkCache *cache, uint64_t number)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&cache->mutex);
  Piece *piece = g_hash_table_lookup (cache->pieces, &number);
  if (piece == NULL)
    return NULL;
  g_queue_unlink (&cache->recent, &piece->link);
  g_queue_push_head_link (&cache->recent, &piece->link);
  return g_bytes_ref (piece->bytes);
}

/* Two readers of one piece may both come with it; the second is not kept. */
static void
keep (BkChunkCache *cache, uint64_t number, GBytes *bytes)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&cache->mutex);
  if (g_hash_table_contains (cache->pieces, &number))
    return;
  if (cache->recent.length >= cache->capacity) {
    Piece *last = g_queue_peek_tail (&cache->recent);
    g_queue_unlink (&cache->recent, &last->link);
    g_hash_table_remove (cache->pieces, &last->number);
  }
  Piece *piece = g_new0 (Piece, 1);
  piece->number = number;
  piece->bytes = g_bytes_ref (bytes);
  piece->link.data = piece;
  g_hash_table_insert (cache->pieces, &piece->number, piece);
  g_queue_push_head_link (&cache->recent, &piece->link);
}

static GBytes *
fetch (BkChunkCache *cache, unsigned worker, uint64_t number, GError **error)
{
  uint64_t start = number * cache->piece;
  size_t length = (size_t)MIN (cache->piece, cache->reader->size - start);
  g_autofree char *data = g_malloc (length);
  if (!bk_reader_read (cache->reader, worker, start, data, length, error))
    return NULL;
  GBytes *bytes = g_bytes_new_take (g_steal_pointer (&data), length);
  keep (cache, number, bytes);
  return bytes;
}

static gboolean
read_part (BkChunkCache *cache, unsigned worker, uint64_t offset, void *data, size_t length, GError **error)
{
  uint64_t number = offset / cache->piece;
  g_autoptr (GBytes) bytes = look_up (cache, number);
  if (bytes == NULL && (bytes = fetch (cache, worker, number, error)) == NULL)
    return FALSE;
  memcpy (data, (const char *)g_bytes_get_data (bytes, NULL) + offset % cache->piece, length);
  return TRUE;
}

gboolean
bk_chunk_cache_read (BkChunkCache *cache, unsigned worker, uint64_t offset, void *data, size_t length, GError **error)
{
  for (size_t done = 0; done < length;) {
    uint64_t at = offset + done;
    size_t left = length - done, within = at % cache->piece;
    size_t whole = within == 0 ? left - left % cache->piece : 0;
    size_t part = whole ? whole : MIN (left, cache->piece - within);
    gboolean ok = whole ? bk_reader_read (cache->reader, worker, at, (char *)data + done, part, error)
                        : read_part (cache, worker, at, (char *)data + done, part, error);
    if (!ok)
      return FALSE;
    done += part;
  }
  return TRUE;
}
