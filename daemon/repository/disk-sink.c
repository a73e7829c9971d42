/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A disk of a backup to be, as a sink. Workers hash, compress and store chunks side by side; the map is changed under a lock.
 */
#include "repository-private.h"

#include <string.h>

struct BkDiskWriter {
  gatomicrefcount references;
  BkRepository *repository;
  BkChunkWriter *chunks; /* outlives it */
  char *name;
  uint64_t size;
  uint32_t chunk_size;
  bool finished;
  BkLease *lease; /* of the base: what is not written is in that, until there is a manifest; or NULL */
  GMutex mutex;   /* the map */
  BkImageMap *map;
  BkChunkId root;
  uint64_t bytes_in, bytes_changed, bytes_new, bytes_stored; /* atomic */
};

typedef struct {
  BkSink sink;
  BkDiskWriter *writer;
  uint8_t **padded; /* for each worker: the last chunk, where the disk ends in its middle */
} DiskSink;

static void
count (uint64_t *counter, uint64_t bytes)
{
  __atomic_add_fetch (counter, bytes, __ATOMIC_RELAXED);
}

static uint64_t
counted (const uint64_t *counter)
{
  return __atomic_load_n (counter, __ATOMIC_RELAXED);
}

uint64_t
bk_disk_chunks (uint64_t size, uint32_t chunk_size)
{
  return size / chunk_size + (size % chunk_size != 0);
}

/* --- writing --- */

static bool
is_zero (const char *data, size_t length)
{
  return data[0] == 0 && memcmp (data, data + 1, length - 1) == 0;
}

static gboolean
put_in_map (BkDiskWriter *self, uint64_t chunk, const BkChunkId *id, GError **error)
{
  BkChunkId old;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->mutex);
  if (!bk_image_map_set (self->map, chunk, id, &old, error))
    return FALSE;
  if (!bk_chunk_id_equal (&old, id))
    count (&self->bytes_changed, self->chunk_size);
  return TRUE;
}

static gboolean
write_chunk (BkDiskWriter *self, uint64_t chunk, const void *data, GError **error)
{
  BkChunkId id = bk_chunk_none;
  uint32_t stored = 0;
  if (!is_zero (data, self->chunk_size) &&
      !bk_chunk_writer_put (self->chunks, BK_CHUNK_DATA, data, self->chunk_size, &id, &stored, error))
    return FALSE;
  if (stored) {
    count (&self->bytes_new, self->chunk_size);
    count (&self->bytes_stored, stored);
  }
  return put_in_map (self, chunk, &id, error);
}

/* Chunks are whole; behind the end of the disk they are zero. */
static const void *
pad (DiskSink *sink, unsigned worker, const char *data, size_t length)
{
  uint32_t chunk_size = sink->writer->chunk_size;
  if (length >= chunk_size)
    return data;
  if (sink->padded[worker] == NULL)
    sink->padded[worker] = g_malloc0 (chunk_size);
  memcpy (sink->padded[worker], data, length);
  return sink->padded[worker];
}

static gboolean
sink_open (BkSink *sink, unsigned workers, GCancellable *cancellable G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
  ((DiskSink *)sink)->padded = g_new0 (uint8_t *, workers);
  return TRUE;
}

static gboolean
sink_write (BkSink *sink, unsigned worker, uint64_t offset, const void *data, size_t length, GError **error)
{
  DiskSink *self = (DiskSink *)sink;
  uint32_t chunk_size = self->writer->chunk_size;
  for (size_t done = 0; done < length; done += chunk_size) {
    const void *chunk = pad (self, worker, (const char *)data + done, length - done);
    if (!write_chunk (self->writer, (offset + done) / chunk_size, chunk, error))
      return FALSE;
  }
  count (&self->writer->bytes_in, length);
  return TRUE;
}

static gboolean
sink_zero (BkSink *sink, unsigned worker G_GNUC_UNUSED, uint64_t offset, uint64_t length, GError **error)
{
  BkDiskWriter *self = ((DiskSink *)sink)->writer;
  uint64_t changed = 0;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->mutex);
  if (!bk_image_map_clear (self->map, offset / self->chunk_size, bk_disk_chunks (offset + length, self->chunk_size), &changed, error))
    return FALSE;
  count (&self->bytes_changed, changed * self->chunk_size);
  count (&self->bytes_in, length);
  return TRUE;
}

static gboolean
sink_finish (BkSink *sink, GCancellable *cancellable G_GNUC_UNUSED, GError **error)
{
  BkDiskWriter *self = ((DiskSink *)sink)->writer;
  uint64_t stored = 0;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->mutex);
  /* Stable storage is the commit's: other disks are still being written into the same packs. */
  if (!bk_image_map_finish (self->map, &self->root, &stored, error))
    return FALSE;
  count (&self->bytes_stored, stored);
  __atomic_store_n (&self->finished, true, __ATOMIC_RELEASE);
  return TRUE;
}

static void
sink_free (BkSink *sink)
{
  DiskSink *self = (DiskSink *)sink;
  BkDiskWriter *writer = self->writer;
  for (unsigned i = 0; self->padded && i < sink->workers; i++)
    g_free (self->padded[i]);
  g_free (self->padded);
  g_clear_pointer (&writer->map, bk_image_map_free);
  bk_disk_writer_unref (writer);
  g_free (self);
}

static const BkSinkOps ops = {
  .name = "repository",
  .open = sink_open,
  .write = sink_write,
  .zero = sink_zero,
  .finish = sink_finish,
  .free = sink_free,
};

/* --- with a base --- */

/* The base's chunk in which the disk ends now may hold what was behind; it must not come back when the disk grows again. */
static gboolean
cut_last_chunk (BkDiskWriter *self, const BkRecordDisk *base, GError **error)
{
  uint64_t last = self->size / self->chunk_size;
  size_t keep = self->size % self->chunk_size;
  BkChunkId id;
  if (keep == 0 || base->size <= self->size)
    return TRUE;
  g_autofree uint8_t *data = g_malloc (self->chunk_size);
  if (!bk_image_map_set (self->map, last, &bk_chunk_none, &id, error))
    return FALSE;
  if (bk_chunk_id_is_none (&id))
    return TRUE;
  if (!bk_chunk_store_get (self->repository->store, NULL, BK_CHUNK_DATA, &id, data, self->chunk_size, error))
    return FALSE;
  memset (data + keep, 0, self->chunk_size - keep);
  return write_chunk (self, last, data, error);
}

static gboolean
begin_map (BkDiskWriter *self, const BkRecordDisk *base, GError **error)
{
  uint64_t chunks = bk_disk_chunks (self->size, self->chunk_size);
  BkChunkId root = base ? bk_record_disk_root (base) : bk_chunk_none;
  uint64_t old_chunks = base ? bk_disk_chunks (base->size, self->chunk_size) : 0;
  if (base)
    self->lease = bk_lease_new (self->repository, &root, old_chunks);
  self->map = bk_image_map_new (self->repository->store, self->chunks, base ? &root : NULL, old_chunks, chunks, error);
  return self->map && (base == NULL || cut_last_chunk (self, base, error));
}

BkSink *
bk_disk_sink_new (BkRepository *repository, BkChunkWriter *chunks, const char *name, uint64_t size, uint32_t chunk_size,
                  const BkRecordDisk *base, BkDiskWriter **writer, GError **error)
{
  DiskSink *sink = g_new0 (DiskSink, 1);
  BkDiskWriter *self = g_new0 (BkDiskWriter, 1);
  g_atomic_ref_count_init (&self->references);
  g_mutex_init (&self->mutex);
  self->repository = bk_repository_ref (repository);
  self->chunks = chunks;
  self->name = g_strdup (name);
  self->size = size;
  self->chunk_size = chunk_size;
  sink->writer = self;
  sink->sink = (BkSink){ .ops = &ops, .size = size, .block = chunk_size, .wants_zeroes = base != NULL };
  if (!begin_map (self, base, error)) {
    bk_sink_free (&sink->sink);
    return NULL;
  }
  self->bytes_changed = 0; /* what was cut off is no change of the guest's */
  *writer = bk_disk_writer_ref (self);
  return &sink->sink;
}

/* --- what has come of it --- */

BkDiskWriter *
bk_disk_writer_ref (BkDiskWriter *writer)
{
  g_atomic_ref_count_inc (&writer->references);
  return writer;
}

void
bk_disk_writer_unref (BkDiskWriter *writer)
{
  if (!g_atomic_ref_count_dec (&writer->references))
    return;
  g_assert (writer->map == NULL);
  if (writer->lease)
    bk_lease_free (writer->repository, writer->lease);
  bk_repository_unref (writer->repository);
  g_mutex_clear (&writer->mutex);
  g_free (writer->name);
  g_free (writer);
}

const char *
bk_disk_writer_name (BkDiskWriter *writer)
{
  return writer->name;
}

bool
bk_disk_writer_is_finished (BkDiskWriter *writer)
{
  return __atomic_load_n (&writer->finished, __ATOMIC_ACQUIRE);
}

void
bk_disk_writer_read (BkDiskWriter *writer, BkRecordDisk *disk)
{
  bool whole = bk_disk_writer_is_finished (writer) && !bk_chunk_id_is_none (&writer->root);
  *disk = (BkRecordDisk){
    .name = g_strdup (writer->name),
    .size = writer->size,
    .chunk_size = writer->chunk_size,
    .root = whole ? bk_hex_encode (writer->root.id, sizeof writer->root.id) : g_strdup (""),
    .bytes_in = counted (&writer->bytes_in),
    .bytes_changed = counted (&writer->bytes_changed),
    .bytes_new = counted (&writer->bytes_new),
    .bytes_stored = counted (&writer->bytes_stored),
  };
}
