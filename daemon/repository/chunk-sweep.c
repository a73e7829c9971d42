/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "chunk-store-private.h"

#include <string.h>

/* --- marks --- */

bool
bk_chunk_store_begin_marks (BkChunkStore *store)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  if (store->marking)
    return false;
  store->marking = true;
  store->marks_lost = false;
  bk_chunk_index_begin_marks (store->index);
  for (unsigned i = 0; i < store->packs->len; i++) {
    BkStorePack *pack = store->packs->pdata[i];
    pack->exempt = pack->holders > 0;
    pack->live = 0;
  }
  return true;
}

void
bk_chunk_store_end_marks (BkChunkStore *store)
{
  g_mutex_lock (&store->mutex);
  store->marking = false;
  bk_chunk_index_end_marks (store->index);
  g_mutex_unlock (&store->mutex);
  bk_chunk_store_merge_index (store);
}

bool
bk_chunk_store_marks_lost (BkChunkStore *store)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  return store->marks_lost;
}

bool
bk_chunk_store_mark (BkChunkStore *store, const BkChunkId *id, uint32_t *stored, uint32_t *length)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  BkIndexEntry entry;
  bool was = false;
  if (!bk_chunk_index_mark (store->index, id, &entry, &was) && !(bk_chunk_store_mend_index (store) && bk_chunk_index_mark (store->index, id, &entry, &was)))
    return false;
  if (was)
    return false;
  ((BkStorePack *)store->packs->pdata[entry.pack])->live += entry.stored;
  *stored = entry.stored;
  *length = entry.length;
  return true;
}

static bool
is_sparse (const BkStorePack *pack)
{
  return pack->live > 0 && pack->live < pack->size / 2;
}

void
bk_chunk_store_usage (BkChunkStore *store, BkChunkUsage *usage)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  *usage = (BkChunkUsage){ 0 };
  for (unsigned i = 0; i < store->packs->len; i++) {
    const BkStorePack *pack = store->packs->pdata[i];
    if (pack->gone)
      continue;
    usage->packs++;
    usage->bytes += pack->size;
    bool dead = pack->live == 0, sparse = is_sparse (pack);
    usage->held += (dead || sparse) && pack->exempt;
    if (pack->exempt)
      continue;
    usage->dead_packs += dead;
    usage->dead_bytes += dead ? pack->size : 0;
    usage->sparse_packs += sparse;
    usage->sparse_bytes += sparse ? pack->size - pack->live : 0;
    usage->sparse_live += sparse ? pack->live : 0;
  }
}

/* --- sweep --- */

/* Takes pack @number out, unless a writer has come to count on it. From here on nobody finds anything in it. */
static bool
take_out (BkChunkStore *store, uint32_t number)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  BkStorePack *pack = store->packs->pdata[number];
  if (pack->exempt)
    return false;
  pack->gone = true;
  return true;
}

/* What is known of bad copies in it is of no use any more. */
static void
forget_bad (BkChunkStore *store, const BkStorePack *pack)
{
  GHashTableIter iter;
  gpointer name;
  g_autofree char *prefix = g_strconcat (pack->name, ".", NULL);
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  g_hash_table_iter_init (&iter, store->bad);
  while (g_hash_table_iter_next (&iter, &name, NULL)) {
    if (!g_str_has_prefix (name, prefix))
      continue;
    g_autofree char *object = bk_chunk_store_damage_object (name);
    if (bk_storage_remove (store->storage, object, NULL))
      g_hash_table_iter_remove (&iter);
  }
}

/* Its records by its own table; NULL: it cannot be read. What is removed must not hang on a cache alone: an index that lacks one
 * of them may have left live chunks unmarked. */
static GArray *
read_indexed (BkChunkStore *store, uint32_t number, GError **error)
{
  const BkStorePack *pack = bk_chunk_store_pack (store, number);
  g_autoptr (GArray) entries = bk_pack_read_entries (store->storage, pack->name, pack->size, error);
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  for (unsigned i = 0; entries && i < entries->len; i++) {
    const BkPackEntry *entry = &g_array_index (entries, BkPackEntry, i);
    if (bk_chunk_index_has (store->index, &entry->id, number, entry->offset))
      continue;
    bk_chunk_index_distrust (store->index);
    bk_chunk_store_mend_index (store);
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "the index was damaged and has been made anew; nothing is lost, and nothing more is freed this time: try again");
    return NULL;
  }
  return g_steal_pointer (&entries);
}

static gboolean
drop_pack (BkChunkStore *store, uint32_t number, BkChunkSweep *sweep, GError **error)
{
  BkStorePack *pack = bk_chunk_store_pack (store, number);
  g_autofree char *object = bk_pack_object (pack->name);
  if (!take_out (store, number)) {
    sweep->held++;
    return TRUE;
  }
  if (!bk_storage_remove (store->storage, object, error))
    return FALSE;
  forget_bad (store, pack);
  sweep->removed++;
  sweep->freed += pack->size;
  return TRUE;
}

/* One that is no pack any more, as far as can be seen, has nothing to lose. */
static gboolean
remove_dead_pack (BkChunkStore *store, uint32_t number, BkChunkSweep *sweep, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (GArray) entries = read_indexed (store, number, &failure);
  if (entries == NULL && !g_error_matches (failure, BK_ERROR, BK_ERROR_CORRUPT) && !g_error_matches (failure, BK_ERROR, BK_ERROR_NOT_FOUND)) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  return drop_pack (store, number, sweep, error);
}

static int
compare_offsets (gconstpointer a, gconstpointer b)
{
  const BkPackEntry *left = a, *right = b;
  return left->offset < right->offset ? -1 : left->offset > right->offset;
}

/* Copies live records as they are: a damaged one is found by whoever reads it, as before. */
static gboolean
copy_records (BkPackWriter *into, BkStorage *storage, const BkStorePack *from, GArray *live, GError **error)
{
  uint8_t *record = bk_chunk_store_buffer ();
  g_autofree char *object = bk_pack_object (from->name);
  g_array_sort (live, compare_offsets);
  for (unsigned i = 0; i < live->len; i++) {
    const BkPackEntry *entry = &g_array_index (live, BkPackEntry, i);
    BkPackEntry placed;
    if (!bk_storage_read (storage, object, entry->offset, record, entry->stored, error) ||
        !bk_pack_writer_append (into, &entry->id, record, entry->stored, entry->length, &placed, error))
      return FALSE;
  }
  return TRUE;
}

/* Keeps those that are marked. FALSE: these are not all that were found to be live in the pack. */
static bool
keep_live (BkChunkStore *store, uint32_t number, GArray *entries)
{
  uint64_t bytes = 0;
  unsigned kept = 0;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  for (unsigned i = 0; i < entries->len; i++) {
    const BkPackEntry entry = g_array_index (entries, BkPackEntry, i);
    if (!bk_chunk_index_is_marked (store->index, &entry.id, number, entry.offset))
      continue;
    bytes += entry.stored;
    g_array_index (entries, BkPackEntry, kept++) = entry;
  }
  g_array_set_size (entries, kept);
  return bytes == ((const BkStorePack *)store->packs->pdata[number])->live;
}

/* The index leads to pack @into instead of @number, unless a writer has come to hold that: what it counts on must not lie in a
 * pack that it does not hold. */
static bool
move_entries (BkChunkWriter *writer, uint32_t number, BkPackWriter *into)
{
  BkChunkStore *store = writer->store;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  if (((const BkStorePack *)store->packs->pdata[number])->exempt)
    return false;
  uint32_t place = bk_chunk_store_add_pack (store, bk_pack_writer_name (into), bk_pack_writer_size (into));
  bk_chunk_writer_hold (writer, place);
  bk_chunk_store_index (store, place, bk_pack_writer_entries (into));
  return true;
}

/* The live part of a pack moves into @writer, which holds it until the old pack has gone. */
static gboolean
rewrite_pack (BkChunkStore *store, BkChunkWriter *writer, uint32_t number, BkChunkSweep *sweep, GError **error)
{
  BkStorePack *pack = bk_chunk_store_pack (store, number);
  g_autoptr (GArray) live = read_indexed (store, number, error);
  if (live == NULL)
    return FALSE;
  if (!keep_live (store, number, live)) {
    g_warning ("pack '%s' stays as it is: its table is damaged; verify the repository", pack->name);
    return TRUE;
  }
  g_autoptr (BkPackWriter) into = bk_pack_writer_new (store->storage, error);
  if (into == NULL || !copy_records (into, store->storage, pack, live, error) || !bk_pack_writer_finish (into, error))
    return FALSE;
  uint64_t moved = bk_pack_writer_size (into);
  if (!move_entries (writer, number, into)) {
    g_autofree char *object = bk_pack_object (bk_pack_writer_name (into));
    sweep->held++;
    return bk_storage_remove (store->storage, object, error);
  }
  /* The youngest copies of live chunks are in the new pack now. */
  uint64_t freed = sweep->freed, removed = sweep->removed;
  if (!drop_pack (store, number, sweep, error))
    return FALSE;
  if (sweep->freed == freed)
    return TRUE; /* a writer came to hold the old one: both stay for now */
  sweep->removed = removed;
  sweep->rewritten++;
  sweep->moved += moved;
  sweep->freed = freed + (pack->size > moved ? pack->size - moved : 0);
  return TRUE;
}

static gboolean
check_sweep (BkChunkStore *store, GCancellable *cancellable, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  bool cancelled = g_cancellable_is_cancelled (cancellable);
  if (cancelled)
    g_set_error_literal (error, BK_ERROR, BK_ERROR_CANCELLED, "cancelled");
  else if (store->marks_lost)
    g_set_error_literal (error, BK_ERROR, BK_ERROR_FAILED, "the index was damaged and has been made anew; nothing is lost, and nothing more is freed this time: try again");
  return !cancelled && !store->marks_lost;
}

gboolean
bk_chunk_store_sweep (BkChunkStore *store, GCancellable *cancellable, BkChunkSweep *sweep, GError **error)
{
  g_autoptr (BkChunkWriter) writer = bk_chunk_writer_new (store);
  g_mutex_lock (&store->mutex);
  unsigned count = store->packs->len;
  g_mutex_unlock (&store->mutex);
  /* Dead ones first: rewriting needs space. */
  for (unsigned rewrite = 0; rewrite < 2; rewrite++)
    for (unsigned i = 0; i < count; i++) {
      const BkStorePack *pack = bk_chunk_store_pack (store, i);
      if (!check_sweep (store, cancellable, error))
        return FALSE;
      if (pack->gone || (rewrite ? !is_sparse (pack) : pack->live > 0))
        continue;
      if (pack->exempt)
        sweep->held++;
      else if (!(rewrite ? rewrite_pack (store, writer, i, sweep, error) : remove_dead_pack (store, i, sweep, error)))
        return FALSE;
    }
  return TRUE;
}
