/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "chunk-store.h"

#include "chunk-index.h"
#include "fsio.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
  char *name, *path;
  uint64_t size;
  int fd;           /* -1 = not open */
  unsigned users;   /* that read from fd just now */
  unsigned holders; /* writers that count on it */
  bool gone;
  bool exempt;      /* held by a writer at any time since begin_marks: what is not marked may be live all the same */
  uint64_t live;    /* for sweeps: marked bytes */
} Pack;

struct BkChunkStore {
  const BkCrypto *crypto;
  char *packs_folder, *damage_folder;
  int level;
  bool writable;
  GMutex mutex; /* all below */
  GPtrArray *packs; /* Pack, by number; never removed, so that numbers stay */
  BkChunkIndex *index;
  GHashTable *bad; /* set of "PACK.OFFSET" */
  GPtrArray *writers; /* BkChunkWriter */
  bool marking;
  int64_t opened_at; /* microseconds */
};

struct BkChunkWriter {
  BkChunkStore *store;
  GMutex mutex;         /* of the pack that is written */
  BkPackWriter *open;   /* or NULL */
  GHashTable *pending;  /* BkPackEntry by its ID to the BkPackWriter; until the pack is published */
  GPtrArray *sealing;   /* packs that are being finished */
  GHashTable *held;     /* set of pack numbers; under the store's mutex */
};

/* Bytes of one record, for each thread. */
static GPrivate record_buffer = G_PRIVATE_INIT (g_free);

static uint8_t *
get_record_buffer (void)
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
  Pack *pack = data;
  if (pack->fd >= 0)
    close (pack->fd);
  g_free (pack->name);
  g_free (pack->path);
  g_free (pack);
}

/* With the mutex. Returns the number. */
static uint32_t
add_pack (BkChunkStore *store, const char *name, uint64_t size)
{
  Pack *pack = g_new0 (Pack, 1);
  pack->name = g_strdup (name);
  pack->path = g_build_filename (store->packs_folder, name, NULL);
  pack->size = size;
  pack->fd = -1;
  g_ptr_array_add (store->packs, pack);
  return store->packs->len - 1;
}

/* Packs stay where they are in memory; their array does not. */
static Pack *
pack_at (BkChunkStore *store, uint32_t number)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  return store->packs->pdata[number];
}

static char *
bad_name (const Pack *pack, uint64_t offset)
{
  return g_strdup_printf ("%s.%" G_GUINT64_FORMAT, pack->name, offset);
}

/* With the mutex. */
static void
index_entries (BkChunkStore *store, uint32_t number, GArray *entries)
{
  const Pack *pack = store->packs->pdata[number];
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
  uint32_t number = add_pack (store, name, (uint64_t)st.st_size);
  if (entries)
    index_entries (store, number, entries);
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
    if (strcmp (((const Pack *)store->packs->pdata[i - 1])->name, name) == 0)
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
use_pack (Pack *pack, GError **error)
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
release_pack (BkChunkStore *store, Pack *pack)
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
static Pack *
find_and_use (BkChunkStore *store, const BkChunkId *id, BkIndexEntry *entry, GError **error)
{
  BkIndexEntry *found = bk_chunk_index_find (store->index, id);
  if (found == NULL) {
    g_autofree char *name = bk_hex_encode (id->id, 8);
    g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT, "chunk %s is missing", name);
    return NULL;
  }
  *entry = *found;
  Pack *pack = store->packs->pdata[found->pack];
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
static Pack *
find_or_reload (BkChunkStore *store, const BkChunkId *id, BkIndexEntry *entry, GError **error)
{
  g_autoptr (GError) failure = NULL;
  Pack *pack = find_and_use (store, id, entry, &failure);
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
  uint8_t *record = get_record_buffer ();
  g_mutex_lock (&store->mutex);
  Pack *pack = find_or_reload (store, id, &entry, error);
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

/* --- writing --- */

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
    ((Pack *)store->packs->pdata[GPOINTER_TO_UINT (number) - 1])->holders--;
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
static void
hold (BkChunkWriter *writer, uint32_t number)
{
  Pack *pack = writer->store->packs->pdata[number];
  pack->exempt = true;
  if (g_hash_table_add (writer->held, GUINT_TO_POINTER (number + 1)))
    pack->holders++;
}

static bool
find_published (BkChunkWriter *writer, const BkChunkId *id)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&writer->store->mutex);
  BkIndexEntry *entry = bk_chunk_index_find (writer->store->index, id);
  if (entry == NULL)
    return false;
  hold (writer, entry->pack);
  return true;
}

static bool
find_pending (BkChunkWriter *writer, const BkChunkId *id)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&writer->mutex);
  return g_hash_table_contains (writer->pending, id);
}

/* With the store's mutex. A chunk that another writer has published meanwhile stays where it is, since there may be those who
 * hold that pack for it and know nothing of ours. */
static void
index_new_entries (BkChunkWriter *writer, uint32_t number, GArray *entries)
{
  BkChunkStore *store = writer->store;
  for (unsigned i = 0; i < entries->len; i++) {
    const BkPackEntry *entry = &g_array_index (entries, BkPackEntry, i);
    const BkIndexEntry *found = bk_chunk_index_find (store->index, &entry->id);
    if (found)
      hold (writer, found->pack);
    else
      bk_chunk_index_put (store->index, &entry->id, number, entry->offset, entry->stored, entry->length);
  }
}

/* Its chunks are everybody's from here on, and held by the writer still. */
static void
publish (BkChunkWriter *writer, BkPackWriter *pack)
{
  BkChunkStore *store = writer->store;
  GArray *entries = bk_pack_writer_entries (pack);
  g_mutex_lock (&store->mutex);
  uint32_t number = add_pack (store, bk_pack_writer_name (pack), bk_pack_writer_size (pack));
  index_new_entries (writer, number, entries);
  hold (writer, number);
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
  return TRUE;
}

/* With the writer's mutex. *@full: a pack that is to be sealed. FALSE also when another worker was faster (*@stored = 0). */
static gboolean
append (BkChunkWriter *writer, const BkChunkId *id, const uint8_t *record, size_t size, size_t length, uint32_t *stored, BkPackWriter **full, GError **error)
{
  *full = NULL;
  if (g_hash_table_contains (writer->pending, id))
    return TRUE;
  if (writer->open == NULL && (writer->open = bk_pack_writer_new (writer->store->packs_folder, error)) == NULL)
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
  uint8_t *record = get_record_buffer ();
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

static gboolean
read_pending (BkChunkWriter *writer, BkChunkType type, const BkChunkId *id, void *out, size_t length, bool *found, GError **error)
{
  uint8_t *record = get_record_buffer ();
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

gboolean
bk_chunk_store_get (BkChunkStore *store, BkChunkWriter *writer, BkChunkType type, const BkChunkId *id, void *out, size_t length, GError **error)
{
  bool found = false;
  if (writer && !read_pending (writer, type, id, out, length, &found, error))
    return FALSE;
  return found || read_published (store, type, id, out, length, error);
}

/* --- marks --- */

static bool
clear_mark (BkIndexEntry *entry, gpointer user_data G_GNUC_UNUSED)
{
  entry->mark = 0;
  return true;
}

bool
bk_chunk_store_begin_marks (BkChunkStore *store)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  if (store->marking)
    return false;
  store->marking = true;
  bk_chunk_index_filter (store->index, clear_mark, NULL);
  for (unsigned i = 0; i < store->packs->len; i++) {
    Pack *pack = store->packs->pdata[i];
    pack->exempt = pack->holders > 0;
  }
  return true;
}

void
bk_chunk_store_end_marks (BkChunkStore *store)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  store->marking = false;
}

bool
bk_chunk_store_mark (BkChunkStore *store, const BkChunkId *id, uint32_t *stored, uint32_t *length)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  BkIndexEntry *entry = bk_chunk_index_find (store->index, id);
  if (entry == NULL || entry->mark)
    return false;
  entry->mark = 1;
  *stored = entry->stored;
  *length = entry->length;
  return true;
}

static bool
count_live (BkIndexEntry *entry, gpointer user_data)
{
  BkChunkStore *store = user_data;
  if (entry->mark)
    ((Pack *)store->packs->pdata[entry->pack])->live += entry->stored;
  return true;
}

/* With the mutex. */
static void
count_all_live (BkChunkStore *store)
{
  for (unsigned i = 0; i < store->packs->len; i++)
    ((Pack *)store->packs->pdata[i])->live = 0;
  bk_chunk_index_filter (store->index, count_live, store);
}

static bool
is_sparse (const Pack *pack)
{
  return pack->live > 0 && pack->live < pack->size / 2;
}

void
bk_chunk_store_usage (BkChunkStore *store, BkChunkUsage *usage)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  *usage = (BkChunkUsage){ .chunks = bk_chunk_index_size (store->index) };
  count_all_live (store);
  for (unsigned i = 0; i < store->packs->len; i++) {
    const Pack *pack = store->packs->pdata[i];
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

typedef struct {
  uint32_t pack;
  GArray *moved; /* Move; or NULL */
} InPack;

typedef struct {
  BkIndexEntry entry;
} Move;

static bool
not_in_pack (BkIndexEntry *entry, gpointer user_data)
{
  const InPack *in = user_data;
  return entry->pack != in->pack;
}

static bool
collect_live (BkIndexEntry *entry, gpointer user_data)
{
  const InPack *in = user_data;
  if (entry->pack == in->pack && entry->mark) {
    Move move = { *entry };
    g_array_append_val (in->moved, move);
  }
  return true;
}

/* Takes pack @number out, unless a writer has come to count on it. From here on nobody finds anything in it. */
static bool
take_out (BkChunkStore *store, uint32_t number)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  Pack *pack = store->packs->pdata[number];
  InPack in = { number, NULL };
  if (pack->exempt)
    return false;
  bk_chunk_index_filter (store->index, not_in_pack, &in);
  pack->gone = true;
  if (pack->users == 0 && pack->fd >= 0)
    close (g_steal_fd (&pack->fd));
  return true;
}

/* What is known of bad copies in it is of no use any more. */
static void
forget_bad (BkChunkStore *store, const Pack *pack)
{
  GHashTableIter iter;
  gpointer name;
  g_autofree char *prefix = g_strconcat (pack->name, ".", NULL);
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  g_hash_table_iter_init (&iter, store->bad);
  while (g_hash_table_iter_next (&iter, &name, NULL)) {
    if (!g_str_has_prefix (name, prefix))
      continue;
    g_autofree char *path = g_build_filename (store->damage_folder, name, NULL);
    if (bk_fsio_remove (path, NULL))
      g_hash_table_iter_remove (&iter);
  }
}

static gboolean
remove_pack (BkChunkStore *store, uint32_t number, BkChunkSweep *sweep, GError **error)
{
  Pack *pack = pack_at (store, number);
  if (!take_out (store, number)) {
    sweep->held++;
    return TRUE;
  }
  if (!bk_fsio_remove (pack->path, error))
    return FALSE;
  forget_bad (store, pack);
  sweep->removed++;
  sweep->freed += pack->size;
  return TRUE;
}

static int
compare_moves (gconstpointer a, gconstpointer b)
{
  const Move *left = a, *right = b;
  return left->entry.offset < right->entry.offset ? -1 : left->entry.offset > right->entry.offset;
}

/* Copies live records as they are: a damaged one is found by whoever reads it, as before. */
static gboolean
copy_records (BkPackWriter *into, const Pack *from, int fd, GArray *moves, GError **error)
{
  uint8_t *record = get_record_buffer ();
  g_array_sort (moves, compare_moves);
  for (unsigned i = 0; i < moves->len; i++) {
    const BkIndexEntry *entry = &g_array_index (moves, Move, i).entry;
    BkChunkHead head;
    BkPackEntry placed;
    if (!bk_fsio_read_at (fd, from->path, record, entry->stored, entry->offset, error))
      return FALSE;
    if (!bk_chunk_parse_head (record, &head)) {
      g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT, "the chunk at %" G_GUINT64_FORMAT " of pack '%s' is damaged; verify the repository", (uint64_t)entry->offset, from->name);
      return FALSE;
    }
    if (!bk_pack_writer_append (into, &head.id, record, entry->stored, entry->length, &placed, error))
      return FALSE;
  }
  return TRUE;
}

static GArray *
live_records (BkChunkStore *store, uint32_t number)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  GArray *moves = g_array_new (FALSE, FALSE, sizeof (Move));
  InPack in = { number, moves };
  bk_chunk_index_filter (store->index, collect_live, &in);
  return moves;
}

/* The index leads to pack @into instead of @number, unless a writer has come to hold that: what it counts on must not lie in a
 * pack that it does not hold. */
static bool
move_entries (BkChunkWriter *writer, uint32_t number, BkPackWriter *into)
{
  BkChunkStore *store = writer->store;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  if (((const Pack *)store->packs->pdata[number])->exempt)
    return false;
  uint32_t place = add_pack (store, bk_pack_writer_name (into), bk_pack_writer_size (into));
  index_entries (store, place, bk_pack_writer_entries (into));
  hold (writer, place);
  return true;
}

/* The live part of a pack moves into @writer, which holds it until the old pack has gone. */
static gboolean
rewrite_pack (BkChunkStore *store, BkChunkWriter *writer, uint32_t number, BkChunkSweep *sweep, GError **error)
{
  Pack *pack = pack_at (store, number);
  g_autoptr (GArray) moves = live_records (store, number);
  g_autoptr (BkPackWriter) into = bk_pack_writer_new (store->packs_folder, error);
  int fd = into ? open (pack->path, O_RDONLY | O_CLOEXEC) : -1;
  if (into == NULL)
    return FALSE;
  if (fd < 0)
    return bk_error_set_errno (error, errno, "cannot open '%s'", pack->path);
  gboolean ok = copy_records (into, pack, fd, moves, error);
  close (fd);
  if (!ok || !bk_pack_writer_finish (into, error))
    return FALSE;
  uint64_t moved = bk_pack_writer_size (into);
  if (!move_entries (writer, number, into)) {
    g_autofree char *path = g_build_filename (store->packs_folder, bk_pack_writer_name (into), NULL);
    sweep->held++;
    return bk_fsio_remove (path, error);
  }
  /* The entries of live chunks lead to the new pack now. */
  uint64_t freed = sweep->freed, removed = sweep->removed;
  if (!remove_pack (store, number, sweep, error))
    return FALSE;
  if (sweep->freed == freed)
    return TRUE; /* a writer came to hold the old one: both stay for now */
  sweep->removed = removed;
  sweep->rewritten++;
  sweep->moved += moved;
  sweep->freed = freed + (pack->size > moved ? pack->size - moved : 0);
  return TRUE;
}

static int64_t
modified_at (const struct stat *st)
{
  return (int64_t)st->st_mtim.tv_sec * G_USEC_PER_SEC + st->st_mtim.tv_nsec / 1000;
}

/* Files of packs that a crash left; those of running writers are spared. */
static gboolean
remove_debris (BkChunkStore *store, BkChunkSweep *sweep, GError **error)
{
  const char *name;
  g_mutex_lock (&store->mutex);
  bool writing = store->writers->len > 1; /* besides our own */
  g_mutex_unlock (&store->mutex);
  g_autoptr (GDir) folder = writing ? NULL : g_dir_open (store->packs_folder, 0, NULL);
  while (folder && (name = g_dir_read_name (folder)) != NULL) {
    g_autofree char *path = g_build_filename (store->packs_folder, name, NULL);
    struct stat st;
    if (name[0] != '.' || !g_str_has_suffix (name, ".tmp") || lstat (path, &st) < 0 || modified_at (&st) >= store->opened_at)
      continue;
    if (!bk_fsio_remove (path, error))
      return FALSE;
    sweep->debris++;
  }
  return TRUE;
}

gboolean
bk_chunk_store_sweep (BkChunkStore *store, GCancellable *cancellable, BkChunkSweep *sweep, GError **error)
{
  g_autoptr (BkChunkWriter) writer = bk_chunk_writer_new (store);
  g_mutex_lock (&store->mutex);
  count_all_live (store);
  unsigned count = store->packs->len;
  g_mutex_unlock (&store->mutex);
  if (!remove_debris (store, sweep, error))
    return FALSE;
  /* Dead ones first: rewriting needs space. */
  for (unsigned rewrite = 0; rewrite < 2; rewrite++)
    for (unsigned i = 0; i < count; i++) {
      const Pack *pack = pack_at (store, i);
      if (g_cancellable_is_cancelled (cancellable)) {
        g_set_error_literal (error, BK_ERROR, BK_ERROR_CANCELLED, "cancelled");
        return FALSE;
      }
      if (pack->gone || (rewrite ? !is_sparse (pack) : pack->live > 0))
        continue;
      if (pack->exempt)
        sweep->held++;
      else if (!(rewrite ? rewrite_pack (store, writer, i, sweep, error) : remove_pack (store, i, sweep, error)))
        return FALSE;
    }
  return TRUE;
}

uint64_t
bk_chunk_store_bytes (BkChunkStore *store)
{
  uint64_t bytes = 0;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&store->mutex);
  for (unsigned i = 0; i < store->packs->len; i++) {
    const Pack *pack = store->packs->pdata[i];
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
