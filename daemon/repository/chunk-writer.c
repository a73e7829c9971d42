/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "chunk-store-private.h"

#include <string.h>

/* The entry comes first in it, and is the key. */
typedef struct {
  BkPackEntry entry;
  BkPackWriter *pack;
} Pending;

static unsigned
hash_id (gconstpointer key)
{
  unsigned hash;
  memcpy (&hash, key, sizeof hash);
  return hash;
}

static gboolean
equal_ids (gconstpointer a, gconstpointer b)
{
  return bk_chunk_id_equal (a, b);
}

BkChunkWriter *
bk_chunk_writer_new (BkChunkStore *store)
{
  BkChunkWriter *writer = g_new0 (BkChunkWriter, 1);
  writer->store = store;
  g_mutex_init (&writer->mutex);
  writer->pending = g_hash_table_new_full (hash_id, equal_ids, NULL, g_free);
  writer->sealing = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_pack_writer_free);
  writer->held = g_hash_table_new (NULL, NULL);
  g_mutex_lock (&store->mutex);
  g_ptr_array_add (store->writers, writer);
  g_mutex_unlock (&store->mutex);
  return writer;
}

void
bk_chunk_writer_free (BkChunkWriter *writer)
{
  BkChunkStore *store = writer->store;
  GHashTableIter iter;
  gpointer number;
  g_mutex_lock (&store->mutex);
  g_hash_table_iter_init (&iter, writer->held);
  while (g_hash_table_iter_next (&iter, &number, NULL))
    ((BkStorePack *)store->packs->pdata[GPOINTER_TO_UINT (number) - 1])->holders--;
  g_ptr_array_remove_fast (store->writers, writer);
  g_mutex_unlock (&store->mutex);
  g_hash_table_unref (writer->held);
  g_hash_table_unref (writer->pending);
  g_ptr_array_unref (writer->sealing);
  g_clear_pointer (&writer->open, bk_pack_writer_free);
  g_mutex_clear (&writer->mutex);
  g_free (writer);
}

/* With the store's mutex. */
void
bk_chunk_writer_hold (BkChunkWriter *writer, uint32_t number)
{
  BkStorePack *pack = writer->store->packs->pdata[number];
  pack->exempt = true;
  if (g_hash_table_add (writer->held, GUINT_TO_POINTER (number + 1)))
    pack->holders++;
}

static bool
find_published (BkChunkWriter *writer, const BkChunkId *id)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&writer->store->mutex);
  BkIndexEntry entry;
  if (!bk_chunk_store_find (writer->store, id, &entry))
    return false;
  bk_chunk_writer_hold (writer, entry.pack);
  return true;
}

static bool
find_pending (BkChunkWriter *writer, const BkChunkId *id)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&writer->mutex);
  return g_hash_table_contains (writer->pending, id);
}

/* Its chunks are everybody's from here on, and held by the writer still. Another writer may have published the same content
 * meanwhile: then there are two copies, each held by those who count on it. */
static void
publish (BkChunkWriter *writer, BkPackWriter *pack)
{
  BkChunkStore *store = writer->store;
  GArray *entries = bk_pack_writer_entries (pack);
  g_mutex_lock (&store->mutex);
  uint32_t number = bk_chunk_store_add_pack (store, bk_pack_writer_name (pack), bk_pack_writer_size (pack));
  bk_chunk_writer_hold (writer, number);
  bk_chunk_store_index (store, number, entries);
  g_mutex_unlock (&store->mutex);
  g_mutex_lock (&writer->mutex);
  for (unsigned i = 0; i < entries->len; i++)
    g_hash_table_remove (writer->pending, &g_array_index (entries, BkPackEntry, i).id);
  g_ptr_array_remove (writer->sealing, pack);
  g_mutex_unlock (&writer->mutex);
}

/* Without locks: the others write into the next pack meanwhile. */
static gboolean
seal (BkChunkWriter *writer, BkPackWriter *pack, GError **error)
{
  if (!bk_pack_writer_finish (pack, error))
    return FALSE; /* it stays in sealing, and its file goes with the writer */
  publish (writer, pack);
  bk_chunk_store_merge_index (writer->store);
  return TRUE;
}

/* With the writer's mutex. *@full: a pack that is to be sealed. FALSE also when another worker was faster (*@stored = 0). */
static gboolean
append (BkChunkWriter *writer, const BkChunkId *id, const uint8_t *record, size_t size, size_t length, uint32_t *stored, BkPackWriter **full, GError **error)
{
  *full = NULL;
  if (g_hash_table_contains (writer->pending, id))
    return TRUE;
  if (writer->open == NULL && (writer->open = bk_pack_writer_new (writer->store->storage, error)) == NULL)
    return FALSE;
  Pending *pending = g_new0 (Pending, 1);
  if (!bk_pack_writer_append (writer->open, id, record, size, (uint32_t)length, &pending->entry, error)) {
    g_free (pending);
    return FALSE;
  }
  pending->pack = writer->open;
  g_hash_table_add (writer->pending, pending);
  *stored = (uint32_t)size;
  if (bk_pack_writer_size (writer->open) >= BK_PACK_TARGET) {
    *full = g_steal_pointer (&writer->open);
    g_ptr_array_add (writer->sealing, *full);
  }
  return TRUE;
}

gboolean
bk_chunk_writer_put (BkChunkWriter *writer, BkChunkType type, const void *data, size_t length, BkChunkId *id, uint32_t *stored, GError **error)
{
  BkChunkStore *store = writer->store;
  BkPackWriter *full = NULL;
  *stored = 0;
  bk_crypto_id (store->crypto, (uint8_t)type, data, length, id->id);
  if (find_published (writer, id) || find_pending (writer, id))
    return TRUE;
  uint8_t *record = bk_chunk_store_buffer ();
  size_t size = bk_chunk_encode (store->crypto, type, id, data, length, store->level, record);
  g_mutex_lock (&writer->mutex);
  gboolean ok = append (writer, id, record, size, length, stored, &full, error);
  g_mutex_unlock (&writer->mutex);
  return ok && (full == NULL || seal (writer, full, error));
}

gboolean
bk_chunk_writer_flush (BkChunkWriter *writer, GError **error)
{
  g_mutex_lock (&writer->mutex);
  BkPackWriter *last = g_steal_pointer (&writer->open);
  bool broken = writer->sealing->len > 0;
  if (last)
    g_ptr_array_add (writer->sealing, last);
  g_mutex_unlock (&writer->mutex);
  if (broken) {
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "a pack could not be completed");
    return FALSE;
  }
  return last == NULL || seal (writer, last, error);
}

gboolean
bk_chunk_writer_read (BkChunkWriter *writer, BkChunkType type, const BkChunkId *id, void *out, size_t length, bool *found, GError **error)
{
  uint8_t *record = bk_chunk_store_buffer ();
  g_mutex_lock (&writer->mutex);
  const Pending *pending = g_hash_table_lookup (writer->pending, id);
  *found = pending != NULL;
  uint32_t stored = pending ? pending->entry.stored : 0;
  gboolean ok = pending == NULL || bk_pack_writer_read (pending->pack, &pending->entry, record, error);
  g_mutex_unlock (&writer->mutex);
  if (!*found || !ok)
    return ok;
  const char *problem = bk_chunk_decode (writer->store->crypto, type, id, record, stored, out, length);
  if (problem)
    g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT, "a chunk that was just written is damaged: %s", problem);
  return problem == NULL;
}
