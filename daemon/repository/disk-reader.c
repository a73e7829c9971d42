/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A disk of a backup, as a reader. Each worker keeps the chunk and the leaf that it read last.
 */
#include "repository-private.h"

#include <string.h>

typedef struct {
  uint64_t chunk; /* of data; none: G_MAXUINT64 */
  uint8_t *data;
  uint64_t leaf; /* number; likewise */
  BkPage page;
} Worker;

typedef struct {
  BkReader reader;
  BkRepository *repository;
  BkLease *lease, *base_lease;
  char *backup, *disk;
  uint32_t chunk_size;
  uint64_t chunks;
  BkChunkId root, base_root;
  uint64_t base_chunks;
  bool has_base;
  Worker *workers;
} DiskReader;

static gboolean
reader_open (BkReader *reader, unsigned workers, GCancellable *cancellable G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
  DiskReader *self = (DiskReader *)reader;
  self->workers = g_new0 (Worker, workers);
  for (unsigned i = 0; i < workers; i++)
    self->workers[i].chunk = self->workers[i].leaf = G_MAXUINT64;
  return TRUE;
}

/* --- extents --- */

typedef struct {
  DiskReader *self;
  BkExtentFunc func;
  gpointer user_data;
} Extents;

static gboolean
tell (const Extents *extents, uint64_t first, uint64_t count, BkExtentKind kind, GError **error)
{
  const DiskReader *self = extents->self;
  uint64_t offset = first * self->chunk_size;
  uint64_t length = MIN (count * self->chunk_size, self->reader.size - offset);
  return extents->func (offset, length, kind, extents->user_data, error);
}

static BkWalkAction
visit (const BkChunkId *id, unsigned level, uint64_t first, uint64_t count, gpointer user_data, GError **error)
{
  bool none = bk_chunk_id_is_none (id);
  if (level > 0 && !none)
    return BK_WALK_DOWN;
  return tell (user_data, first, count, none ? BK_EXTENT_ZERO : BK_EXTENT_DATA, error) ? BK_WALK_PASS : BK_WALK_STOP;
}

/* Both maps at once, of one height: what has the same ID in both is not looked into. */
static gboolean
compare (const Extents *extents, const BkChunkId *id, const BkChunkId *base, unsigned level, uint64_t first, uint64_t count, GError **error)
{
  BkChunkStore *store = extents->self->repository->store;
  bool none = bk_chunk_id_is_none (id);
  if (bk_chunk_id_equal (id, base))
    return tell (extents, first, count, BK_EXTENT_CLEAN, error);
  if (level == 0 || none)
    return tell (extents, first, count, none ? BK_EXTENT_ZERO : BK_EXTENT_DATA, error);
  g_autofree BkPage *page = g_new (BkPage, 2);
  if (!bk_image_map_read_page (store, id, &page[0], error) || !bk_image_map_read_page (store, base, &page[1], error))
    return FALSE;
  uint64_t span = bk_image_map_span (level - 1);
  for (uint64_t done = 0, i = 0; done < count; done += span, i++)
    if (!compare (extents, &page[0].ids[i], &page[1].ids[i], level - 1, first + done, MIN (span, count - done), error))
      return FALSE;
  return TRUE;
}

static gboolean
reader_extents (BkReader *reader, BkExtentFunc func, gpointer user_data, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  DiskReader *self = (DiskReader *)reader;
  Extents extents = { self, func, user_data };
  const BkWalk walk = { .visit = visit, .user_data = &extents };
  if (self->chunks == 0)
    return TRUE;
  if (self->has_base && self->base_chunks == self->chunks)
    return compare (&extents, &self->root, &self->base_root, bk_image_map_height (self->chunks), 0, self->chunks, error);
  return bk_image_map_walk (self->repository->store, &self->root, self->chunks, &walk, error);
}

/* --- reading --- */

static gboolean
find_leaf (DiskReader *self, Worker *worker, uint64_t number, GError **error)
{
  if (worker->leaf == number)
    return TRUE;
  worker->leaf = G_MAXUINT64;
  BkChunkId id = self->root;
  for (unsigned level = bk_image_map_height (self->chunks); level > 0; level--) {
    if (!bk_image_map_read_page (self->repository->store, &id, &worker->page, error))
      return FALSE;
    if (level > 1)
      id = worker->page.ids[number / bk_image_map_span (level - 2) % BK_PAGE_IDS];
  }
  worker->leaf = number;
  return TRUE;
}

static gboolean
read_chunk (DiskReader *self, Worker *worker, uint64_t chunk, void *out, GError **error)
{
  if (!find_leaf (self, worker, chunk / BK_PAGE_IDS, error))
    return FALSE;
  const BkChunkId *id = &worker->page.ids[chunk % BK_PAGE_IDS];
  if (!bk_chunk_id_is_none (id))
    return bk_chunk_store_get (self->repository->store, NULL, BK_CHUNK_DATA, id, out, self->chunk_size, error);
  memset (out, 0, self->chunk_size);
  return TRUE;
}

static gboolean
keep_chunk (DiskReader *self, Worker *worker, uint64_t chunk, GError **error)
{
  if (worker->chunk == chunk)
    return TRUE;
  if (worker->data == NULL)
    worker->data = g_malloc (self->chunk_size);
  worker->chunk = G_MAXUINT64;
  if (!read_chunk (self, worker, chunk, worker->data, error))
    return FALSE;
  worker->chunk = chunk;
  return TRUE;
}

static gboolean
read_part (DiskReader *self, Worker *worker, uint64_t offset, void *data, size_t length, GError **error)
{
  uint64_t chunk = offset / self->chunk_size;
  size_t within = offset % self->chunk_size;
  gboolean ok = TRUE;
  if (length == self->chunk_size)
    ok = read_chunk (self, worker, chunk, data, error);
  else if ((ok = keep_chunk (self, worker, chunk, error)))
    memcpy (data, worker->data + within, length);
  if (!ok)
    g_prefix_error (error, "backup '%s', disk '%s', offset %" G_GUINT64_FORMAT ": ", self->backup, self->disk, offset);
  return ok;
}

static gboolean
reader_read (BkReader *reader, unsigned worker, uint64_t offset, void *data, size_t length, GError **error)
{
  DiskReader *self = (DiskReader *)reader;
  for (size_t done = 0; done < length;) {
    size_t part = MIN (length - done, self->chunk_size - (offset + done) % self->chunk_size);
    if (!read_part (self, &self->workers[worker], offset + done, (char *)data + done, part, error))
      return FALSE;
    done += part;
  }
  return TRUE;
}

static void
reader_free (BkReader *reader)
{
  DiskReader *self = (DiskReader *)reader;
  for (unsigned i = 0; self->workers && i < reader->workers; i++)
    g_free (self->workers[i].data);
  g_free (self->workers);
  bk_lease_free (self->repository, self->lease);
  if (self->base_lease)
    bk_lease_free (self->repository, self->base_lease);
  bk_repository_unref (self->repository);
  g_free (self->backup);
  g_free (self->disk);
  g_free (self);
}

static const BkReaderOps ops = {
  .name = "repository",
  .open = reader_open,
  .extents = reader_extents,
  .read = reader_read,
  .free = reader_free,
};

BkReader *
bk_disk_reader_new (BkRepository *repository, const char *backup, const BkRecordDisk *disk, const BkRecordDisk *base)
{
  DiskReader *self = g_new0 (DiskReader, 1);
  self->reader = (BkReader){ .ops = &ops, .size = disk->size };
  self->repository = bk_repository_ref (repository);
  self->backup = g_strdup (backup);
  self->disk = g_strdup (disk->name);
  self->chunk_size = (uint32_t)disk->chunk_size;
  self->chunks = bk_disk_chunks (disk->size, self->chunk_size);
  self->root = bk_record_disk_root (disk);
  self->lease = bk_lease_new (repository, &self->root, self->chunks);
  /* Chunks of the last ID may end elsewhere in a disk of another size. */
  if (base && base->chunk_size == disk->chunk_size && base->size == disk->size) {
    self->has_base = true;
    self->base_chunks = self->chunks;
    self->base_root = bk_record_disk_root (base);
    self->base_lease = bk_lease_new (repository, &self->base_root, self->base_chunks);
  }
  return &self->reader;
}
