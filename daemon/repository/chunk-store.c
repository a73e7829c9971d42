/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "chunk-store-private.h"

#include <string.h>

#define DAMAGE_FOLDER "damage/chunks"

/* Bytes of one record, for each thread. */
static GPrivate record_buffer = G_PRIVATE_INIT (g_free);

uint8_t *
bk_chunk_store_buffer (void)
{
  uint8_t *buffer = g_private_get (&record_buffer);
  if (buffer == NULL)
    g_private_set (&record_buffer, buffer = g_malloc (bk_chunk_bound (BK_CHUNK_LIMIT)));
  return buffer;
}

/* --- packs --- */

/* With the mutex. Gone until it is seen. */
static uint32_t
number_of (const char *name, gpointer user_data)
{
  BkChunkStore *store = user_data;
  gpointer known = g_hash_table_lookup (store->numbers, name);
  if (known)
    return GPOINTER_TO_UINT (known) - 1;
  BkStorePack *pack = g_new0 (BkStorePack, 1);
  g_strlcpy (pack->name, name, sizeof pack->name);
  pack->gone = true;
  g_ptr_array_add (store->packs, pack);
  g_hash_table_insert (store->numbers, pack->name, GUINT_TO_POINTER (store->packs->len));
  return store->packs->len - 1;
}

uint32_t
bk_chunk_store_add_pack (BkChunkStore *store, const char *name, uint64_t size)
{
  uint32_t number = number_of (name, store);
  BkStorePack *pack = store->packs->pdata[number];
  pack->size = size;
  pack->gone = false;
  return number;
}

BkStorePack *
bk_chunk_store_pack (BkChunkStore *store, uint32_t number)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  return store->packs->pdata[number];
}

static char *
bad_name (const BkStorePack *pack, uint64_t offset)
{
  return g_strdup_printf ("%s.%" G_GUINT64_FORMAT, pack->name, offset);
}

char *
bk_chunk_store_damage_object (const char *name)
{
  return g_strconcat (DAMAGE_FOLDER "/", name, NULL);
}

/* --- the index: all with the mutex --- */

static const char *
name_of (uint32_t number, gpointer user_data)
{
  BkChunkStore *store = user_data;
  return ((const BkStorePack *)store->packs->pdata[number])->name;
}

static bool
is_gone (uint32_t number, gpointer user_data)
{
  BkChunkStore *store = user_data;
  return ((const BkStorePack *)store->packs->pdata[number])->gone;
}

/* What lies behind the end of a pack that was cut is not counted on, nor are copies that are known to be bad. */
static bool
is_usable (const BkIndexEntry *entry, gpointer user_data)
{
  BkChunkStore *store = user_data;
  const BkStorePack *pack = store->packs->pdata[entry->pack];
  if (pack->gone || (uint64_t)entry->offset + entry->stored > pack->size)
    return false;
  if (g_hash_table_size (store->bad) == 0)
    return true;
  g_autofree char *name = bad_name (pack, entry->offset);
  return !g_hash_table_contains (store->bad, name);
}

static void
note_indexed (uint32_t number, gpointer user_data)
{
  BkChunkStore *store = user_data;
  ((BkStorePack *)store->packs->pdata[number])->indexed = true;
}

void
bk_chunk_store_index (BkChunkStore *store, uint32_t number, GArray *entries)
{
  for (unsigned i = 0; i < entries->len; i++) {
    const BkPackEntry *entry = &g_array_index (entries, BkPackEntry, i);
    bk_chunk_index_put (store->index, &entry->id, number, entry->offset, entry->stored, entry->length);
  }
  note_indexed (number, store);
  bk_chunk_index_settle (store->index);
}

/* A damaged pack is logged, and has what can still be found in it. */
static gboolean
index_pack (BkChunkStore *store, uint32_t number, GError **error)
{
  const BkStorePack *pack = store->packs->pdata[number];
  g_autoptr (GError) failure = NULL;
  g_autoptr (GArray) entries = bk_pack_read_entries (store->storage, pack->name, pack->size, &failure);
  if (entries)
    bk_chunk_store_index (store, number, entries);
  else if (g_error_matches (failure, BK_ERROR, BK_ERROR_CORRUPT) || g_error_matches (failure, BK_ERROR, BK_ERROR_NOT_FOUND))
    g_warning ("%s", failure->message);
  else {
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  return TRUE;
}

bool
bk_chunk_store_mend_index (BkChunkStore *store)
{
  if (!bk_chunk_index_is_damaged (store->index))
    return false;
  bk_chunk_index_reset (store->index);
  store->marks_lost |= store->marking;
  for (uint32_t i = 0; i < store->packs->len; i++) {
    g_autoptr (GError) error = NULL;
    BkStorePack *pack = store->packs->pdata[i];
    pack->indexed = false;
    if (!pack->gone && !index_pack (store, i, &error))
      g_warning ("%s", error->message);
  }
  return true;
}

bool
bk_chunk_store_find (BkChunkStore *store, const BkChunkId *id, BkIndexEntry *entry)
{
  return bk_chunk_index_find (store->index, id, entry) || (bk_chunk_store_mend_index (store) && bk_chunk_index_find (store->index, id, entry));
}

/* Of what a backup leads to: before it is called lost, the index is made anew, once. */
static bool
find_surely (BkChunkStore *store, const BkChunkId *id, BkIndexEntry *entry)
{
  if (bk_chunk_store_find (store, id, entry))
    return true;
  if (store->doubted)
    return false;
  store->doubted = true;
  bk_chunk_index_distrust (store->index);
  return bk_chunk_store_find (store, id, entry);
}

void
bk_chunk_store_merge_index (BkChunkStore *store)
{
  g_mutex_lock (&store->mutex);
  BkIndexMerge *merge = bk_chunk_index_begin_merge (store->index);
  g_mutex_unlock (&store->mutex);
  if (merge == NULL)
    return;
  bk_index_merge_run (merge);
  g_mutex_lock (&store->mutex);
  bk_chunk_index_end_merge (store->index, merge);
  g_mutex_unlock (&store->mutex);
}

/* --- which packs there are --- */

/* With the mutex. */
static gboolean
see_pack (BkChunkStore *store, const BkStorageItem *item, GError **error)
{
  if (strlen (item->name) >= sizeof ((BkStorePack *)NULL)->name) {
    g_warning ("'%s' is no pack of a repository; it is left alone", item->name);
    return TRUE;
  }
  uint32_t number = bk_chunk_store_add_pack (store, item->name, item->size);
  BkStorePack *pack = store->packs->pdata[number];
  pack->seen = true;
  return pack->indexed || index_pack (store, number, error);
}

/* With the mutex. Those that are not there any more are gone. */
static gboolean
load_packs (BkChunkStore *store, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (GPtrArray) items = bk_storage_list (store->storage, BK_PACK_FOLDER, &failure);
  if (g_error_matches (failure, BK_ERROR, BK_ERROR_NOT_FOUND)) {
    g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT, "the folder of packs is missing: %s", failure->message);
    return FALSE;
  }
  if (items == NULL) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  for (unsigned i = 0; i < store->packs->len; i++)
    ((BkStorePack *)store->packs->pdata[i])->seen = false;
  for (unsigned i = 0; i < items->len; i++) {
    const BkStorageItem *item = items->pdata[i];
    if (!item->is_folder && g_str_has_suffix (item->name, BK_PACK_SUFFIX) && !see_pack (store, item, error))
      return FALSE;
  }
  for (unsigned i = 0; i < store->packs->len; i++) {
    BkStorePack *pack = store->packs->pdata[i];
    pack->gone |= !pack->seen;
  }
  return TRUE;
}

static void
load_bad (BkChunkStore *store)
{
  g_autoptr (GPtrArray) items = bk_storage_list (store->storage, DAMAGE_FOLDER, NULL);
  for (unsigned i = 0; items && i < items->len; i++)
    g_hash_table_add (store->bad, g_strdup (((const BkStorageItem *)items->pdata[i])->name));
}

/* Begins with what the index has in files, so that only the tables of packs that came since are read. */
static gboolean
open_index (BkChunkStore *store, const char *folder, GError **error)
{
  const BkIndexPacks packs = { name_of, number_of, is_usable, is_gone, store };
  store->index = bk_chunk_index_open (folder, store->writable, &packs);
  bk_chunk_index_foreach_pack (store->index, note_indexed, store);
  g_mutex_lock (&store->mutex);
  gboolean ok = load_packs (store, error);
  g_mutex_unlock (&store->mutex);
  if (ok)
    bk_chunk_store_merge_index (store);
  return ok;
}

BkChunkStore *
bk_chunk_store_open (BkStorage *storage, const char *index, const BkCrypto *crypto, int level, bool writable, GError **error)
{
  BkChunkStore *store = g_new0 (BkChunkStore, 1);
  store->storage = storage;
  store->crypto = crypto;
  store->level = level;
  store->writable = writable;
  g_mutex_init (&store->mutex);
  store->packs = g_ptr_array_new_with_free_func (g_free);
  store->numbers = g_hash_table_new (g_str_hash, g_str_equal);
  store->bad = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  store->writers = g_ptr_array_new ();
  load_bad (store);
  if (open_index (store, index, error))
    return store;
  bk_chunk_store_free (store);
  return NULL;
}

void
bk_chunk_store_free (BkChunkStore *store)
{
  g_assert (store->writers->len == 0);
  g_ptr_array_unref (store->writers);
  bk_chunk_index_free (store->index);
  g_hash_table_unref (store->numbers);
  g_ptr_array_unref (store->packs);
  g_hash_table_unref (store->bad);
  g_mutex_clear (&store->mutex);
  g_free (store);
}

/* --- reading --- */

/* With the mutex. While marks are made, another copy takes the place of one that has lost it. */
static void
mark_instead (BkChunkStore *store, const BkChunkId *id)
{
  BkIndexEntry other;
  bool was = false;
  if (!store->marking || !bk_chunk_index_mark (store->index, id, &other, &was))
    return;
  BkStorePack *pack = store->packs->pdata[other.pack];
  pack->exempt = true;
  pack->live += was ? 0 : other.stored;
}

/* The copy is not counted on any more: the next backup that has the content stores it again. */
static void
condemn (BkChunkStore *store, const BkChunkId *id, const BkIndexEntry *entry)
{
  g_autoptr (GError) error = NULL;
  g_mutex_lock (&store->mutex);
  char *name = bad_name (store->packs->pdata[entry->pack], entry->offset);
  g_autofree char *object = bk_chunk_store_damage_object (name);
  bool is_new = g_hash_table_add (store->bad, name);
  if (is_new)
    mark_instead (store, id);
  g_mutex_unlock (&store->mutex);
  if (is_new && !bk_storage_put (store->storage, object, "", 0, false, &error))
    g_warning ("%s", error->message);
}

/* Where @id is, and in which pack. Another process may have rewritten packs since we looked: what is not found is looked for once
 * more. */
static const BkStorePack *
find_or_reload (BkChunkStore *store, const BkChunkId *id, BkIndexEntry *entry, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  if (find_surely (store, id, entry) || (!store->writable && load_packs (store, NULL) && bk_chunk_store_find (store, id, entry)))
    return store->packs->pdata[entry->pack];
  g_autofree char *name = bk_hex_encode (id->id, 8);
  g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT, "chunk %s is missing", name);
  return NULL;
}

/* One that has vanished is not counted on any more. */
static void
lose_pack (BkChunkStore *store, uint32_t number)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  ((BkStorePack *)store->packs->pdata[number])->gone = true;
}

/* The record of @id as it is stored, and the pack that it is in. Where one pack has vanished, another may have it. FALSE
 * with *@pack: it cannot be read there; without: it is nowhere. */
static gboolean
read_record (BkChunkStore *store, const BkChunkId *id, BkIndexEntry *entry, uint8_t *record, const BkStorePack **pack, GError **error)
{
  while ((*pack = find_or_reload (store, id, entry, error)) != NULL) {
    g_autoptr (GError) failure = NULL;
    g_autofree char *object = bk_pack_object ((*pack)->name);
    if (bk_storage_read (store->storage, object, entry->offset, record, entry->stored, &failure))
      return TRUE;
    if (!g_error_matches (failure, BK_ERROR, BK_ERROR_NOT_FOUND)) {
      g_propagate_error (error, g_steal_pointer (&failure));
      return FALSE;
    }
    lose_pack (store, entry->pack);
  }
  return FALSE;
}

static gboolean
read_published (BkChunkStore *store, BkChunkType type, const BkChunkId *id, void *out, size_t length, GError **error)
{
  BkIndexEntry entry;
  const BkStorePack *pack = NULL;
  g_autoptr (GError) failure = NULL;
  uint8_t *record = bk_chunk_store_buffer ();
  gboolean ok = read_record (store, id, &entry, record, &pack, &failure);
  const char *problem = ok ? bk_chunk_decode (store->crypto, type, id, record, entry.stored, out, length) : failure->message;
  if (problem == NULL)
    return TRUE;
  if (pack == NULL || (!ok && !g_error_matches (failure, BK_ERROR, BK_ERROR_CORRUPT))) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  if (store->writable)
    condemn (store, id, &entry);
  g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT, "the chunk at %" G_GUINT64_FORMAT " of pack '%s' is damaged: %s", (uint64_t)entry.offset, pack->name, problem);
  return FALSE;
}

bool
bk_chunk_store_has (BkChunkStore *store, const BkChunkId *id, uint32_t *stored, uint32_t *length)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  BkIndexEntry entry;
  if (!find_surely (store, id, &entry))
    return false;
  *stored = entry.stored;
  *length = entry.length;
  return true;
}
gboolean
bk_chunk_store_get (BkChunkStore *store, BkChunkWriter *writer, BkChunkType type, const BkChunkId *id, void *out, size_t length, GError **error)
{
  bool found = false;
  if (writer && !bk_chunk_writer_read (writer, type, id, out, length, &found, error))
    return FALSE;
  return found || read_published (store, type, id, out, length, error);
}
uint64_t
bk_chunk_store_bytes (BkChunkStore *store)
{
  uint64_t bytes = 0;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  for (unsigned i = 0; i < store->packs->len; i++) {
    const BkStorePack *pack = store->packs->pdata[i];
    bytes += pack->gone ? 0 : pack->size;
  }
  return bytes;
}

uint64_t
bk_chunk_store_bad (BkChunkStore *store)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  return g_hash_table_size (store->bad);
}
