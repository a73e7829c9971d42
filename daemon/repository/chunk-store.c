/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "chunk-store-private.h"

#include "fsio.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

static void
pack_free (gpointer data)
{
  BkStorePack *pack = data;
  if (pack->fd >= 0)
    close (pack->fd);
  g_free (pack->name);
  g_free (pack->path);
  g_free (pack);
}

/* With the mutex. Returns the number. */
uint32_t
bk_chunk_store_add_pack (BkChunkStore *store, const char *name, uint64_t size)
{
  BkStorePack *pack = g_new0 (BkStorePack, 1);
  pack->name = g_strdup (name);
  pack->path = g_build_filename (store->packs_folder, name, NULL);
  pack->size = size;
  pack->fd = -1;
  g_ptr_array_add (store->packs, pack);
  return store->packs->len - 1;
}

/* Packs stay where they are in memory; their array does not. */
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

/* With the mutex. */
void
bk_chunk_store_index (BkChunkStore *store, uint32_t number, GArray *entries)
{
  const BkStorePack *pack = store->packs->pdata[number];
  for (unsigned i = 0; i < entries->len; i++) {
    const BkPackEntry *entry = &g_array_index (entries, BkPackEntry, i);
    g_autofree char *name = g_hash_table_size (store->bad) > 0 ? bad_name (pack, entry->offset) : NULL;
    if (name == NULL || !g_hash_table_contains (store->bad, name))
      bk_chunk_index_put (store->index, &entry->id, number, entry->offset, entry->stored, entry->length);
  }
}

static gboolean
load_pack (BkChunkStore *store, const char *name, GError **error)
{
  struct stat st;
  g_autofree char *path = g_build_filename (store->packs_folder, name, NULL);
  int fd = open (path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || fstat (fd, &st) < 0) {
    int errsv = errno;
    if (fd >= 0)
      close (fd);
    return bk_error_set_errno (error, errsv, "cannot open '%s'", path);
  }
  g_autoptr (GError) failure = NULL;
  g_autoptr (GArray) entries = bk_pack_read_entries (fd, path, (uint64_t)st.st_size, &failure);
  close (fd);
  uint32_t number = bk_chunk_store_add_pack (store, name, (uint64_t)st.st_size);
  if (entries)
    bk_chunk_store_index (store, number, entries);
  else if (g_error_matches (failure, BK_ERROR, BK_ERROR_CORRUPT))
    g_warning ("%s", failure->message);
  else {
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  return TRUE;
}

static bool
is_known (BkChunkStore *store, const char *name)
{
  for (unsigned i = store->packs->len; i > 0; i--)
    if (strcmp (((const BkStorePack *)store->packs->pdata[i - 1])->name, name) == 0)
      return true;
  return false;
}

/* With the mutex, but at open. Those that are known are left out. */
static gboolean
load_packs (BkChunkStore *store, GError **error)
{
  const char *name;
  bool first = store->packs->len == 0;
  g_autoptr (GDir) folder = g_dir_open (store->packs_folder, 0, NULL);
  if (folder == NULL) {
    g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT, "the folder '%s' is missing", store->packs_folder);
    return FALSE;
  }
  while ((name = g_dir_read_name (folder)) != NULL)
    if (name[0] != '.' && g_str_has_suffix (name, BK_PACK_SUFFIX) && (first || !is_known (store, name)) && !load_pack (store, name, error))
      return FALSE;
  return TRUE;
}

static void
load_bad (BkChunkStore *store)
{
  const char *name;
  g_autoptr (GDir) folder = g_dir_open (store->damage_folder, 0, NULL);
  while (folder && (name = g_dir_read_name (folder)) != NULL)
    if (name[0] != '.')
      g_hash_table_add (store->bad, g_strdup (name));
}

BkChunkStore *
bk_chunk_store_open (const char *root, const BkCrypto *crypto, int level, bool writable, GError **error)
{
  BkChunkStore *store = g_new0 (BkChunkStore, 1);
  store->crypto = crypto;
  store->packs_folder = g_build_filename (root, "packs", NULL);
  store->damage_folder = g_build_filename (root, "damage", "chunks", NULL);
  store->level = level;
  store->writable = writable;
  g_mutex_init (&store->mutex);
  store->packs = g_ptr_array_new_with_free_func (pack_free);
  store->index = bk_chunk_index_new ();
  store->opened_at = g_get_real_time ();
  store->bad = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  store->writers = g_ptr_array_new ();
  load_bad (store);
  if (load_packs (store, error))
    return store;
  bk_chunk_store_free (store);
  return NULL;
}

void
bk_chunk_store_free (BkChunkStore *store)
{
  g_assert (store->writers->len == 0);
  g_ptr_array_unref (store->writers);
  g_ptr_array_unref (store->packs);
  bk_chunk_index_free (store->index);
  g_hash_table_unref (store->bad);
  g_mutex_clear (&store->mutex);
  g_free (store->packs_folder);
  g_free (store->damage_folder);
  g_free (store);
}

/* --- reading --- */

/* With the mutex. The pack stays open, and there, until release_pack(). */
static gboolean
use_pack (BkStorePack *pack, GError **error)
{
  if (pack->fd < 0 && (pack->fd = open (pack->path, O_RDONLY | O_CLOEXEC)) < 0) {
    int errsv = errno;
    if (errsv != ENOENT)
      return bk_error_set_errno (error, errsv, "cannot open '%s'", pack->path);
    g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT, "'%s' is missing", pack->path);
    return FALSE;
  }
  pack->users++;
  return TRUE;
}

#define MAX_OPEN 256 /* descriptors that are kept */

static void
release_pack (BkChunkStore *store, BkStorePack *pack)
{
  g_mutex_lock (&store->mutex);
  pack->users--;
  if (pack->users == 0 && pack->fd >= MAX_OPEN + 64)
    close (g_steal_fd (&pack->fd));
  if (pack->users == 0 && pack->gone && pack->fd >= 0)
    close (g_steal_fd (&pack->fd));
  g_mutex_unlock (&store->mutex);
}

/* With the mutex: where @id is, and its pack in use. */
static BkStorePack *
find_and_use (BkChunkStore *store, const BkChunkId *id, BkIndexEntry *entry, GError **error)
{
  BkIndexEntry *found = bk_chunk_index_find (store->index, id);
  if (found == NULL) {
    g_autofree char *name = bk_hex_encode (id->id, 8);
    g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT, "chunk %s is missing", name);
    return NULL;
  }
  *entry = *found;
  BkStorePack *pack = store->packs->pdata[found->pack];
  return use_pack (pack, error) ? pack : NULL;
}

/* The copy is not counted on any more: the next backup that has the content stores it again. */
static void
condemn (BkChunkStore *store, const BkChunkId *id, const BkIndexEntry *entry)
{
  g_autoptr (GError) error = NULL;
  g_mutex_lock (&store->mutex);
  char *name = bad_name (store->packs->pdata[entry->pack], entry->offset);
  bool is_new = g_hash_table_add (store->bad, name);
  bk_chunk_index_remove (store->index, id, entry->pack, entry->offset);
  g_autofree char *path = is_new ? g_build_filename (store->damage_folder, name, NULL) : NULL;
  g_mutex_unlock (&store->mutex);
  if (path && !bk_fsio_create_file (path, &error))
    g_warning ("%s", error->message);
}

/* Another process may have rewritten packs since we looked: what is not found is looked for once more. */
static BkStorePack *
find_or_reload (BkChunkStore *store, const BkChunkId *id, BkIndexEntry *entry, GError **error)
{
  g_autoptr (GError) failure = NULL;
  BkStorePack *pack = find_and_use (store, id, entry, &failure);
  if (pack == NULL && !store->writable && load_packs (store, NULL)) {
    g_clear_error (&failure);
    pack = find_and_use (store, id, entry, &failure);
  }
  if (failure)
    g_propagate_error (error, g_steal_pointer (&failure));
  return pack;
}

static gboolean
read_published (BkChunkStore *store, BkChunkType type, const BkChunkId *id, void *out, size_t length, GError **error)
{
  BkIndexEntry entry;
  uint8_t *record = bk_chunk_store_buffer ();
  g_mutex_lock (&store->mutex);
  BkStorePack *pack = find_or_reload (store, id, &entry, error);
  g_mutex_unlock (&store->mutex);
  if (pack == NULL)
    return FALSE;
  g_autoptr (GError) failure = NULL;
  gboolean ok = bk_fsio_read_at (pack->fd, pack->path, record, entry.stored, entry.offset, &failure);
  release_pack (store, pack);
  const char *problem = ok ? bk_chunk_decode (store->crypto, type, id, record, entry.stored, out, length) : failure->message;
  if (problem == NULL)
    return TRUE;
  if (!ok && !g_error_matches (failure, BK_ERROR, BK_ERROR_CORRUPT)) {
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
  BkIndexEntry *entry = bk_chunk_index_find (store->index, id);
  if (entry == NULL)
    return false;
  *stored = entry->stored;
  *length = entry->length;
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
