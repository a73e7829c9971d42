/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repository-private.h"

#include "copy.h"

#include <string.h>

typedef struct {
  BkRepository *from, *to;
  const char *vm, *backup, *base;
  unsigned workers;
  BkRepositoryProgress progress;
  gpointer user_data;
  uint64_t done, total;
} Transfer;

static gboolean
copy_disk (Transfer *transfer, BkRepositoryWriter *writer, const BkRecordDisk *disk, const char *base, GCancellable *cancellable, GError **error)
{
  g_autoptr (BkReader) reader = bk_repository_open_disk (transfer->from, transfer->vm, transfer->backup, disk->name, base, error);
  g_autoptr (BkSink) sink = reader ? bk_repository_writer_add_disk (writer, disk->name, disk->size, (uint32_t)disk->chunk_size, base, error) : NULL;
  if (sink == NULL)
    return FALSE;
  const BkCopyOptions options = { .workers = transfer->workers };
  g_autoptr (BkCopy) copy = bk_copy_new (reader, sink, &options);
  if (!bk_copy_run (copy, cancellable, error))
    return FALSE;
  transfer->done += disk->size;
  if (transfer->progress)
    transfer->progress (transfer->done, transfer->total, transfer->user_data);
  return TRUE;
}

/* What both have of the disk in backup @base, alike, need not be read: its chunk size must be one. */
static const char *
base_of (Transfer *transfer, const BkRecordDisk *disk)
{
  BkRepositoryDisk here, there;
  if (transfer->base == NULL ||
      !bk_repository_read_disk (transfer->from, transfer->vm, transfer->base, disk->name, &here, NULL) ||
      !bk_repository_read_disk (transfer->to, transfer->vm, transfer->base, disk->name, &there, NULL))
    return NULL;
  return here.chunk_size == there.chunk_size && here.chunk_size == disk->chunk_size && here.size == there.size ? transfer->base : NULL;
}

static gboolean
copy_blobs (Transfer *transfer, BkRepositoryWriter *writer, const BkBackupRecord *record, GError **error)
{
  for (unsigned i = 0; record->blobs && i < record->blobs->len; i++) {
    size_t length = 0;
    const char *name = ((const BkRecordBlob *)record->blobs->pdata[i])->name;
    g_autofree char *data = bk_repository_read_blob (transfer->from, transfer->vm, transfer->backup, name, &length, error);
    if (data == NULL || !bk_repository_writer_add_blob (writer, name, data, length, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
run (Transfer *transfer, const BkBackupRecord *record, GCancellable *cancellable, GError **error)
{
  g_autoptr (BkRepositoryWriter) writer = bk_repository_begin (transfer->to, transfer->vm, transfer->backup, error);
  if (writer == NULL)
    return FALSE;
  for (unsigned i = 0; record->disks && i < record->disks->len; i++)
    transfer->total += ((const BkRecordDisk *)record->disks->pdata[i])->size;
  for (unsigned i = 0; record->disks && i < record->disks->len; i++) {
    const BkRecordDisk *disk = record->disks->pdata[i];
    if (!copy_disk (transfer, writer, disk, base_of (transfer, disk), cancellable, error))
      return FALSE;
  }
  return copy_blobs (transfer, writer, record, error) && bk_repository_writer_commit (writer, record->backup, error);
}

gboolean
bk_repository_copy (BkRepository *from, BkRepository *to, const char *vm, const char *backup, const char *base, unsigned workers,
                    BkRepositoryProgress progress, gpointer user_data, GCancellable *cancellable, GError **error)
{
  Transfer transfer = { from, to, vm, backup, base, workers, progress, user_data, 0, 0 };
  g_autoptr (BkBackupRecord) record = bk_repository_read_record (from, vm, backup, error);
  return record && run (&transfer, record, cancellable, error);
}
