/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repository-private.h"


#include <string.h>

struct BkRepositoryWriter {
  BkRepository *repository;
  char *vm, *backup, *key; /* key: in writing */
  BkChunkWriter *chunks;
  GMutex mutex;
  GPtrArray *disks; /* BkDiskWriter */
  GPtrArray *blobs; /* BkRecordBlob */
  bool over;
};

/* --- begin --- */

static bool
take_name (BkRepository *repository, char *key)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&repository->mutex);
  if (g_hash_table_contains (repository->writing, key)) {
    g_free (key);
    return false;
  }
  return g_hash_table_add (repository->writing, key);
}

BkRepositoryWriter *
bk_repository_begin (BkRepository *repository, const char *vm, const char *backup, GError **error)
{
  if (!bk_repository_check_writable (repository, error))
    return NULL;
  if (!bk_name_is_valid (vm) || !bk_id_is_valid (backup)) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' of '%s' cannot be the name of a backup", backup, vm);
    return NULL;
  }
  g_autofree char *key = g_strdup_printf ("%s/%s", vm, backup);
  if (bk_repository_has (repository, vm, backup) || !take_name (repository, g_strdup (key))) {
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "there is a backup '%s' of VM '%s' already", backup, vm);
    return NULL;
  }
  BkRepositoryWriter *writer = g_new0 (BkRepositoryWriter, 1);
  writer->repository = bk_repository_ref (repository);
  writer->vm = g_strdup (vm);
  writer->backup = g_strdup (backup);
  writer->key = g_steal_pointer (&key);
  writer->chunks = bk_chunk_writer_new (repository->store);
  g_mutex_init (&writer->mutex);
  writer->disks = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_disk_writer_unref);
  writer->blobs = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_record_blob_free);
  return writer;
}

void
bk_repository_writer_free (BkRepositoryWriter *writer)
{
  BkRepository *repository = writer->repository;
  g_ptr_array_unref (writer->disks);
  g_ptr_array_unref (writer->blobs);
  bk_chunk_writer_free (writer->chunks);
  g_mutex_lock (&repository->mutex);
  g_hash_table_remove (repository->writing, writer->key);
  g_mutex_unlock (&repository->mutex);
  g_mutex_clear (&writer->mutex);
  g_free (writer->vm);
  g_free (writer->backup);
  g_free (writer->key);
  g_free (writer);
  bk_repository_unref (repository);
}

/* --- disks --- */

/* With the mutex. */
static BkDiskWriter *
find_disk (BkRepositoryWriter *writer, const char *name)
{
  for (unsigned i = 0; i < writer->disks->len; i++)
    if (strcmp (bk_disk_writer_name (writer->disks->pdata[i]), name) == 0)
      return writer->disks->pdata[i];
  return NULL;
}

static bool
has_disk (BkRepositoryWriter *writer, const char *name)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&writer->mutex);
  return find_disk (writer, name) != NULL;
}

static const BkRecordDisk *
find_base (const BkBackupRecord *record, const char *name, GError **error)
{
  const BkRecordDisk *base = bk_backup_record_find (record, name);
  if (base == NULL)
    g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "backup '%s' has no disk '%s' to begin with", record->backup->id, name);
  return base;
}

BkSink *
bk_repository_writer_add_disk (BkRepositoryWriter *writer, const char *name, uint64_t size, uint32_t chunk_size, const char *base, GError **error)
{
  BkDiskWriter *disk = NULL;
  if (has_disk (writer, name)) {
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "disk '%s' is in the backup already", name);
    return NULL;
  }
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&writer->repository->moving); /* from the manifest to the lease */
  g_autoptr (BkBackupRecord) record = base ? bk_repository_read_record (writer->repository, writer->vm, base, error) : NULL;
  const BkRecordDisk *from = record ? find_base (record, name, error) : NULL;
  if (base && from == NULL)
    return NULL;
  uint32_t wanted = from ? (uint32_t)from->chunk_size : chunk_size ? chunk_size : writer->repository->chunk_size;
  if (wanted < BK_REPOSITORY_CHUNK_MIN || wanted > BK_REPOSITORY_CHUNK_MAX || (wanted & (wanted - 1)) || size > G_MAXINT64) {
    g_set_error_literal (error, BK_ERROR, BK_ERROR_INVALID, "the chunk size must be a power of two from 64 KiB to 4 MiB");
    return NULL;
  }
  BkSink *sink = bk_disk_sink_new (writer->repository, writer->chunks, name, size, wanted, from, &disk, error);
  if (sink == NULL)
    return NULL;
  g_mutex_lock (&writer->mutex);
  g_ptr_array_add (writer->disks, disk);
  g_mutex_unlock (&writer->mutex);
  return sink;
}

bool
bk_repository_writer_disk (BkRepositoryWriter *writer, const char *name, BkRepositoryDisk *result)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&writer->mutex);
  BkDiskWriter *disk = find_disk (writer, name);
  BkRecordDisk read;
  if (disk == NULL)
    return false;
  bk_disk_writer_read (disk, &read);
  *result = (BkRepositoryDisk){
    .size = read.size,
    .chunk_size = (uint32_t)read.chunk_size,
    .bytes_in = read.bytes_in,
    .bytes_changed = read.bytes_changed,
    .bytes_new = read.bytes_new,
    .bytes_stored = read.bytes_stored,
  };
  g_strlcpy (result->root, read.root, sizeof result->root);
  g_free (read.name);
  g_free (read.root);
  return true;
}

gboolean
bk_repository_writer_add_blob (BkRepositoryWriter *writer, const char *name, const void *data, size_t length, GError **error)
{
  BkChunkId id;
  uint32_t stored = 0;
  if (length == 0 || length > BK_CHUNK_LIMIT || name[0] == '\0') {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' must have 1 byte to 4 MiB", name);
    return FALSE;
  }
  for (unsigned i = 0; i < writer->blobs->len; i++)
    if (strcmp (((const BkRecordBlob *)writer->blobs->pdata[i])->name, name) == 0) {
      g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "'%s' is in the backup already", name);
      return FALSE;
    }
  if (!bk_chunk_writer_put (writer->chunks, BK_CHUNK_BLOB, data, length, &id, &stored, error))
    return FALSE;
  BkRecordBlob *blob = g_new0 (BkRecordBlob, 1);
  blob->name = g_strdup (name);
  blob->id = bk_hex_encode (id.id, sizeof id.id);
  blob->length = length;
  g_ptr_array_add (writer->blobs, blob);
  return TRUE;
}

/* --- commit --- */

/* Puts the disk into @record, and what it took into the manifest's row. */
static gboolean
record_disk (BkRepositoryWriter *writer, BkBackupRecord *record, BkBackupDisk *row, GError **error)
{
  if (strcmp (row->state, "completed") != 0)
    return TRUE;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&writer->mutex);
  BkDiskWriter *disk = find_disk (writer, row->name);
  if (disk == NULL || !bk_disk_writer_is_finished (disk)) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "disk '%s' is told to be complete, and is not", row->name);
    return FALSE;
  }
  BkRecordDisk *entry = g_new0 (BkRecordDisk, 1);
  bk_disk_writer_read (disk, entry);
  g_ptr_array_add (record->disks, entry);
  if (entry->size != row->size) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "disk '%s' is told to have another size than was written", row->name);
    return FALSE;
  }
  row->bytes_stored = row->bytes_stored ? row->bytes_stored : entry->bytes_stored;
  return TRUE;
}

static BkBackupRecord *
make_record (BkRepositoryWriter *writer, const BkBackupInfo *manifest, GError **error)
{
  g_autoptr (BkBackupRecord) record = g_new0 (BkBackupRecord, 1);
  uint64_t sum = 0;
  record->version = 1;
  record->backup = bk_struct_copy (&bk_backup_info_struct, manifest);
  record->disks = g_ptr_array_new ();
  record->blobs = g_ptr_array_new ();
  g_free (record->backup->location);
  record->backup->location = NULL;
  if (strcmp (manifest->vm, writer->vm) != 0 || strcmp (manifest->id, writer->backup) != 0) {
    g_set_error_literal (error, BK_ERROR, BK_ERROR_INVALID, "the manifest is that of another backup");
    return NULL;
  }
  for (unsigned i = 0; i < record->backup->disks->len; i++) {
    if (!record_disk (writer, record, record->backup->disks->pdata[i], error))
      return NULL;
    sum += ((const BkBackupDisk *)record->backup->disks->pdata[i])->bytes_stored;
  }
  record->backup->bytes_stored = record->backup->bytes_stored ? record->backup->bytes_stored : sum;
  for (unsigned i = 0; i < writer->blobs->len; i++)
    g_ptr_array_add (record->blobs, bk_struct_copy (&bk_record_blob_struct, writer->blobs->pdata[i]));
  return g_steal_pointer (&record);
}

gboolean
bk_repository_writer_commit (BkRepositoryWriter *writer, const BkBackupInfo *manifest, GError **error)
{
  BkRepository *repository = writer->repository;
  g_assert (!writer->over);
  writer->over = true;
  g_autoptr (BkBackupRecord) record = make_record (writer, manifest, error);
  g_autofree char *object = bk_repository_object ("backups", writer->vm, writer->backup);
  return record && bk_repository_check_writable (repository, error) && bk_chunk_writer_flush (writer->chunks, error) &&
         bk_backup_record_write (repository->crypto, record, repository->storage, object, error);
}
