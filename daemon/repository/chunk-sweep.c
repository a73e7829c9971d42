/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "chunk-store-private.h"

#include "fsio.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
    BkStorePack *pack = store->packs->pdata[i];
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
    ((BkStorePack *)store->packs->pdata[entry->pack])->live += entry->stored;
  return true;
}

/* With the mutex. */
static void
count_all_live (BkChunkStore *store)
{
  for (unsigned i = 0; i < store->packs->len; i++)
    ((BkStorePack *)store->packs->pdata[i])->live = 0;
  bk_chunk_index_filter (store->index, count_live, store);
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
  *usage = (BkChunkUsage){ .chunks = bk_chunk_index_size (store->index) };
  count_all_live (store);
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
  BkStorePack *pack = store->packs->pdata[number];
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
    g_autofree char *path = g_build_filename (store->damage_folder, name, NULL);
    if (bk_fsio_remove (path, NULL))
      g_hash_table_iter_remove (&iter);
  }
}

static gboolean
remove_pack (BkChunkStore *store, uint32_t number, BkChunkSweep *sweep, GError **error)
{
  BkStorePack *pack = bk_chunk_store_pack (store, number);
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
copy_records (BkPackWriter *into, const BkStorePack *from, int fd, GArray *moves, GError **error)
{
  uint8_t *record = bk_chunk_store_buffer ();
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
  if (((const BkStorePack *)store->packs->pdata[number])->exempt)
    return false;
  uint32_t place = bk_chunk_store_add_pack (store, bk_pack_writer_name (into), bk_pack_writer_size (into));
  bk_chunk_store_index (store, place, bk_pack_writer_entries (into));
  bk_chunk_writer_hold (writer, place);
  return true;
}

/* The live part of a pack moves into @writer, which holds it until the old pack has gone. */
static gboolean
rewrite_pack (BkChunkStore *store, BkChunkWriter *writer, uint32_t number, BkChunkSweep *sweep, GError **error)
{
  BkStorePack *pack = bk_chunk_store_pack (store, number);
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
      const BkStorePack *pack = bk_chunk_store_pack (store, i);
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
