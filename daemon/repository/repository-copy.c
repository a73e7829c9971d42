/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repository-private.h"

#include <string.h>

struct BkRepositoryCopy {
  BkRepository *from, *to;
  BkBackupRecord *record;     /* of the original */
  BkRepositoryWriter *writer; /* of the copy */
  char *id, *base, *base_there;
};

void
bk_repository_copy_free (BkRepositoryCopy *copy)
{
  g_clear_pointer (&copy->writer, bk_repository_writer_free);
  g_clear_pointer (&copy->record, bk_backup_record_free);
  bk_repository_unref (copy->from);
  bk_repository_unref (copy->to);
  g_free (copy->id);
  g_free (copy->base);
  g_free (copy->base_there);
  g_free (copy);
}

BkRepositoryCopy *
bk_repository_copy_begin (BkRepository *from, BkRepository *to, const BkRepositoryCopyOf *of, GError **error)
{
  g_autoptr (BkRepositoryCopy) copy = g_new0 (BkRepositoryCopy, 1);
  copy->from = bk_repository_ref (from);
  copy->to = bk_repository_ref (to);
  copy->id = g_strdup (of->id);
  copy->base = g_strdup (of->base);
  copy->base_there = g_strdup (of->base_there);
  copy->record = bk_repository_read_record (from, of->vm, of->backup, error);
  copy->writer = copy->record ? bk_repository_begin (to, of->vm, of->id, error) : NULL;
  return copy->writer ? g_steal_pointer (&copy) : NULL;
}

/* --- disks --- */

static const BkRecordDisk *
disk_at (BkRepositoryCopy *copy, unsigned index)
{
  return copy->record->disks->pdata[index];
}

unsigned
bk_repository_copy_disks (BkRepositoryCopy *copy)
{
  return copy->record->disks ? copy->record->disks->len : 0;
}

const char *
bk_repository_copy_disk (BkRepositoryCopy *copy, unsigned index, uint64_t *size)
{
  *size = disk_at (copy, index)->size;
  return disk_at (copy, index)->name;
}

/* What both have of the disk in the base, alike, need not be read: its chunk size must be one. */
static bool
has_base (BkRepositoryCopy *copy, const BkRecordDisk *disk)
{
  BkRepositoryDisk here, there;
  const char *vm = copy->record->backup->vm;
  if (copy->base == NULL || !bk_repository_read_disk (copy->from, vm, copy->base, disk->name, &here, NULL) ||
      !bk_repository_read_disk (copy->to, vm, copy->base_there, disk->name, &there, NULL))
    return false;
  return here.chunk_size == there.chunk_size && here.chunk_size == disk->chunk_size && here.size == there.size;
}

gboolean
bk_repository_copy_open (BkRepositoryCopy *copy, unsigned index, BkReader **reader, BkSink **sink, GError **error)
{
  const BkRecordDisk *disk = disk_at (copy, index);
  const BkBackupInfo *backup = copy->record->backup;
  bool based = has_base (copy, disk);
  g_autoptr (BkReader) opened = bk_repository_open_disk (copy->from, backup->vm, backup->id, disk->name, based ? copy->base : NULL, error);
  *sink = opened ? bk_repository_writer_add_disk (copy->writer, disk->name, disk->size, (uint32_t)disk->chunk_size,
                                                  based ? copy->base_there : NULL, error) : NULL;
  *reader = *sink ? g_steal_pointer (&opened) : NULL;
  return *sink != NULL;
}

/* --- the end --- */

static gboolean
copy_blobs (BkRepositoryCopy *copy, GError **error)
{
  const BkBackupRecord *record = copy->record;
  for (unsigned i = 0; record->blobs && i < record->blobs->len; i++) {
    size_t length = 0;
    const char *name = ((const BkRecordBlob *)record->blobs->pdata[i])->name;
    g_autofree char *data = bk_repository_read_blob (copy->from, record->backup->vm, record->backup->id, name, &length, error);
    if (data == NULL || !bk_repository_writer_add_blob (copy->writer, name, data, length, error))
      return FALSE;
  }
  return TRUE;
}

/* What it takes here is counted anew. A copy of a copy is one of the original. */
static BkBackupInfo *
describe (BkRepositoryCopy *copy)
{
  BkBackupInfo *info = bk_struct_copy (&bk_backup_info_struct, copy->record->backup);
  if (info->copy_of == NULL)
    info->copy_of = g_steal_pointer (&info->id);
  g_free (info->id);
  info->id = g_strdup (copy->id);
  info->completed_at = g_get_real_time ();
  info->bytes_stored = 0;
  for (unsigned i = 0; i < info->disks->len; i++)
    ((BkBackupDisk *)info->disks->pdata[i])->bytes_stored = 0;
  return info;
}

gboolean
bk_repository_copy_commit (BkRepositoryCopy *copy, GError **error)
{
  g_autoptr (BkBackupInfo) manifest = describe (copy);
  return copy_blobs (copy, error) && bk_repository_writer_commit (copy->writer, manifest, error);
}
