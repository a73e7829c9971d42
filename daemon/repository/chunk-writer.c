/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "chunk-store-private.h"

#include <string.h>

#define MAX_SEALING 3u /* packs that wait for the disk */

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
  g_mutex_unlock (&writer->mutex);
}

static void
seal (BkChunkWriter *writer, BkPackWriter *pack)
{
  g_autoptr (GError) failure = NULL;
  bool ok = bk_pack_writer_finish (pack, &failure);
  if (ok)
    publish (writer, pack);
  g_mutex_lock (&writer->mutex);
  g_ptr_array_remove (writer->sealing, pack);
  if (!ok)
    g_ptr_array_add (writer->broken, pack);
  if (writer->error == NULL)
    writer->error = g_steal_pointer (&failure);
  g_cond_broadcast (&writer->sealed);
  g_mutex_unlock (&writer->mutex);
  if (!ok)
    return;
  bk_pack_writer_free (pack);
  bk_chunk_store_merge_index (writer->store);
}

/* A thread of its own, for it waits for the disk: those who put chunks go on with the next pack. */
static gpointer
seal_all (gpointer data)
{
  BkChunkWriter *writer = data;
  for (gpointer pack; (pack = g_async_queue_pop (writer->full)) != writer;)
    seal (writer, pack);
  return NULL;
}

/* With the writer's mutex. */
static void
begin_sealing (BkChunkWriter *writer)
{
  BkPackWriter *pack = g_steal_pointer (&writer->open);
  if (writer->sealer == NULL)
    writer->sealer = g_thread_new ("sealer", seal_all, writer);
  g_ptr_array_add (writer->sealing, pack);
  g_async_queue_push (writer->full, pack);
}

static void
end_sealer (BkChunkWriter *writer)
{
  if (writer->sealer == NULL)
    return;
  g_async_queue_push (writer->full, writer);
  g_thread_join (writer->sealer);
}

/* With the writer's mutex: until less than @limit packs are being sealed. FALSE when one could not be. */
static gboolean
wait_for_sealing (BkChunkWriter *writer, unsigned limit, GError **error)
{
  while (writer->sealing->len >= limit && writer->error == NULL)
    g_cond_wait (&writer->sealed, &writer->mutex);
  if (writer->error)
    g_propagate_error (error, g_error_copy (writer->error));
  return writer->error == NULL;
}

BkChunkWriter *
bk_chunk_writer_new (BkChunkStore *store)
{
  BkChunkWriter *writer = g_new0 (BkChunkWriter, 1);
  writer->store = store;
  g_mutex_init (&writer->mutex);
  writer->pending = g_hash_table_new_full (hash_id, equal_ids, NULL, g_free);
  writer->sealing = g_ptr_array_new ();
  writer->broken = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_pack_writer_free);
  writer->full = g_async_queue_new ();
  g_cond_init (&writer->sealed);
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
  end_sealer (writer);
  g_mutex_lock (&store->mutex);
  g_hash_table_iter_init (&iter, writer->held);
  while (g_hash_table_iter_next (&iter, &number, NULL))
    ((BkStorePack *)store->packs->pdata[GPOINTER_TO_UINT (number) - 1])->holders--;
  g_ptr_array_remove_fast (store->writers, writer);
  g_mutex_unlock (&store->mutex);
  g_hash_table_unref (writer->held);
  g_hash_table_unref (writer->pending);
  g_ptr_array_unref (writer->sealing);
  g_ptr_array_unref (writer->broken);
  g_async_queue_unref (writer->full);
  g_clear_error (&writer->error);
  g_cond_clear (&writer->sealed);
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

/* With the writer's mutex. Nothing is done, and *@stored is 0, when another worker was faster. */
static gboolean
append (BkChunkWriter *writer, const BkChunkId *id, const uint8_t *record, size_t size, size_t length, uint32_t *stored, GError **error)
{
  if (!wait_for_sealing (writer, MAX_SEALING, error))
    return FALSE;
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
  if (bk_pack_writer_size (writer->open) >= BK_PACK_TARGET)
    begin_sealing (writer);
  return TRUE;
}

gboolean
bk_chunk_writer_put (BkChunkWriter *writer, BkChunkType type, const void *data, size_t length, BkChunkId *id, uint32_t *stored, GError **error)
{
  BkChunkStore *store = writer->store;
  *stored = 0;
  bk_crypto_id (store->crypto, (uint8_t)type, data, length, id->id);
  if (find_published (writer, id) || find_pending (writer, id))
    return TRUE;
  uint8_t *record = bk_chunk_store_buffer ();
  size_t size = bk_chunk_encode (store->crypto, type, id, data, length, store->level, record);
  g_mutex_lock (&writer->mutex);
  gboolean ok = append (writer, id, record, size, length, stored, error);
  g_mutex_unlock (&writer->mutex);
  return ok;
}

gboolean
bk_chunk_writer_flush (BkChunkWriter *writer, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&writer->mutex);
  if (writer->open)
    begin_sealing (writer);
  return wait_for_sealing (writer, 1, error);
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
