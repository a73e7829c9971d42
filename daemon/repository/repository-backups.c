/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repository-private.h"

#include "damage-record.h"

#include <string.h>

char *
bk_repository_object (const char *kind, const char *vm, const char *backup)
{
  g_autofree char *vm_name = bk_path_component_escape (vm);
  g_autofree char *backup_name = bk_path_component_escape (backup);
  return g_strjoin ("/", kind, vm_name, backup_name, NULL);
}

/* --- records --- */

/* A file under another's name is as wrong as one with another's content. */
static BkBackupRecord *
read_named (BkRepository *repository, const char *object, const char *vm, const char *backup, GError **error)
{
  g_autoptr (BkBackupRecord) record = bk_backup_record_read (repository->crypto, repository->storage, object, error);
  if (record == NULL || (strcmp (record->backup->vm, vm) == 0 && strcmp (record->backup->id, backup) == 0))
    return g_steal_pointer (&record);
  g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT, "'%s' is the manifest of backup '%s' of VM '%s'", object, record->backup->id, record->backup->vm);
  return NULL;
}

BkBackupRecord *
bk_repository_read_record (BkRepository *repository, const char *vm, const char *backup, GError **error)
{
  g_autofree char *object = bk_repository_object ("backups", vm, backup);
  g_autoptr (GError) failure = NULL;
  BkBackupRecord *record = read_named (repository, object, vm, backup, &failure);
  if (g_error_matches (failure, BK_ERROR, BK_ERROR_NOT_FOUND))
    g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "there is no backup '%s' of VM '%s' in the repository", backup, vm);
  else if (failure)
    g_propagate_error (error, g_steal_pointer (&failure));
  return record;
}

/* --- all of them --- */

typedef struct {
  BkRepository *repository;
  bool trash, strict;
  GPtrArray *records;
} Listing;

/* In the trash the time stands behind the last dot; elsewhere there is none. */
static char *
split_name (const char *name, bool trash, int64_t *deleted_at)
{
  const char *dot = strrchr (name, '.');
  *deleted_at = 0;
  if (!trash)
    return g_strdup (name);
  if (dot == NULL || !g_ascii_string_to_signed (dot + 1, 10, 1, G_MAXINT64, deleted_at, NULL))
    return NULL;
  return g_strndup (name, (size_t)(dot - name));
}

static gboolean
list_file (Listing *listing, const char *kind, const char *vm_name, const char *name, GError **error)
{
  int64_t deleted_at = 0;
  g_autoptr (GError) failure = NULL;
  g_autofree char *object = g_strjoin ("/", kind, vm_name, name, NULL);
  g_autofree char *backup_name = split_name (name, listing->trash, &deleted_at);
  g_autoptr (BkBackupRecord) record = backup_name ? bk_backup_record_read (listing->repository->crypto, listing->repository->storage, object, &failure) : NULL;
  g_autofree char *vm = record ? bk_path_component_escape (record->backup->vm) : NULL;
  g_autofree char *backup = record ? bk_path_component_escape (record->backup->id) : NULL;
  if (record && strcmp (vm, vm_name) == 0 && strcmp (backup, backup_name) == 0) {
    record->backup->deleted_at = deleted_at;
    g_ptr_array_add (listing->records, g_steal_pointer (&record));
    return TRUE;
  }
  if (g_error_matches (failure, BK_ERROR, BK_ERROR_NOT_FOUND)) /* it went meanwhile */
    return TRUE;
  if (listing->strict && failure) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  if (listing->strict) {
    g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT, "'%s' is no manifest of a backup of that name", object);
    return FALSE;
  }
  g_warning ("'%s' is left out: %s", object, failure ? failure->message : "it is no manifest of that name");
  return TRUE;
}

/* GC must not take what it cannot see for nothing: an error is one, but for a folder that went meanwhile. */
static gboolean
list_vm (Listing *listing, const char *kind, const char *vm_name, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autofree char *folder = g_strjoin ("/", kind, vm_name, NULL);
  g_autoptr (GPtrArray) items = bk_storage_list (listing->repository->storage, folder, &failure);
  if (items == NULL && !g_error_matches (failure, BK_ERROR, BK_ERROR_NOT_FOUND)) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return FALSE;
  }
  for (unsigned i = 0; items && i < items->len; i++) {
    const BkStorageItem *item = items->pdata[i];
    if (!list_file (listing, kind, vm_name, item->name, error))
      return FALSE;
  }
  return TRUE;
}

static int
compare_times (gconstpointer a, gconstpointer b)
{
  const BkBackupRecord *left = *(BkBackupRecord *const *)a, *right = *(BkBackupRecord *const *)b;
  int64_t x = left->backup->deleted_at ? left->backup->deleted_at : left->backup->point_in_time;
  int64_t y = right->backup->deleted_at ? right->backup->deleted_at : right->backup->point_in_time;
  return x < y ? -1 : x > y ? 1 : strcmp (left->backup->id, right->backup->id);
}

static GPtrArray *
list (BkRepository *repository, const char *kind, bool trash, bool strict, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (GPtrArray) vms = bk_storage_list (repository->storage, kind, &failure);
  g_autoptr (GPtrArray) records = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_backup_record_free);
  Listing listing = { repository, trash, strict, records };
  if (vms == NULL) {
    g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "%s", failure->message);
    return NULL;
  }
  for (unsigned i = 0; i < vms->len; i++) {
    const BkStorageItem *vm = vms->pdata[i];
    if (vm->is_folder && !list_vm (&listing, kind, vm->name, error))
      return NULL;
  }
  g_ptr_array_sort (records, compare_times);
  return g_steal_pointer (&records);
}

GPtrArray *
bk_repository_read_records (BkRepository *repository, bool strict, GError **error)
{
  return list (repository, "backups", false, strict, error);
}

GPtrArray *
bk_repository_read_trash (BkRepository *repository, bool strict, GError **error)
{
  return list (repository, "trash", true, strict, error);
}

/* --- for others --- */

void
bk_repository_complete (BkRepository *repository, BkBackupInfo *info)
{
  g_autofree char *object = bk_repository_object ("backups", info->vm, info->id);
  g_free (info->location);
  info->location = g_build_filename (repository->path, object, NULL);
  info->pinned = bk_repository_is_pinned (repository, info->vm, info->id);
  g_autoptr (BkDamageRecord) damage = bk_damage_record_read (repository, info->vm, info->id);
  info->damaged = damage && damage->ranges && damage->ranges->len > 0;
  info->verified_at = damage && !info->damaged ? damage->verified_at : 0;
}

GPtrArray *
bk_repository_list (BkRepository *repository, GError **error)
{
  g_autoptr (GPtrArray) records = bk_repository_read_records (repository, false, error);
  if (records == NULL)
    return NULL;
  GPtrArray *backups = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_backup_info_free);
  for (unsigned i = 0; i < records->len; i++) {
    BkBackupRecord *record = records->pdata[i];
    bk_repository_complete (repository, record->backup);
    g_ptr_array_add (backups, g_steal_pointer (&record->backup));
  }
  return backups;
}

bool
bk_repository_has (BkRepository *repository, const char *vm, const char *backup)
{
  g_autofree char *object = bk_repository_object ("backups", vm, backup);
  return bk_storage_has (repository->storage, object);
}

BkBackupInfo *
bk_repository_read (BkRepository *repository, const char *vm, const char *backup, GError **error)
{
  g_autoptr (BkBackupRecord) record = bk_repository_read_record (repository, vm, backup, error);
  if (record == NULL)
    return NULL;
  bk_repository_complete (repository, record->backup);
  return g_steal_pointer (&record->backup);
}

static const BkRecordDisk *
find_disk (const BkBackupRecord *record, const char *disk, GError **error)
{
  const BkRecordDisk *found = bk_backup_record_find (record, disk);
  if (found)
    return found;
  g_autoptr (GString) known = g_string_new (NULL);
  for (unsigned i = 0; record->disks && i < record->disks->len; i++)
    g_string_append_printf (known, "%s%s", i ? ", " : "", ((const BkRecordDisk *)record->disks->pdata[i])->name);
  g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "backup '%s' has no disk '%s'; it has %s", record->backup->id, disk, known->len ? known->str : "none");
  return NULL;
}

gboolean
bk_repository_read_disk (BkRepository *repository, const char *vm, const char *backup, const char *disk, BkRepositoryDisk *result, GError **error)
{
  g_autoptr (BkBackupRecord) record = bk_repository_read_record (repository, vm, backup, error);
  const BkRecordDisk *found = record ? find_disk (record, disk, error) : NULL;
  if (found == NULL)
    return FALSE;
  *result = (BkRepositoryDisk){
    .size = found->size,
    .chunk_size = (uint32_t)found->chunk_size,
    .bytes_in = found->bytes_in,
    .bytes_changed = found->bytes_changed,
    .bytes_new = found->bytes_new,
    .bytes_stored = found->bytes_stored,
  };
  g_strlcpy (result->root, found->root, sizeof result->root);
  return TRUE;
}

BkReader *
bk_repository_open_disk (BkRepository *repository, const char *vm, const char *backup, const char *disk, const char *base, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&repository->moving); /* from the manifest to the lease */
  g_autoptr (BkBackupRecord) record = bk_repository_read_record (repository, vm, backup, error);
  const BkRecordDisk *found = record ? find_disk (record, disk, error) : NULL;
  if (found == NULL)
    return NULL;
  g_autoptr (BkBackupRecord) base_record = base ? bk_repository_read_record (repository, vm, base, error) : NULL;
  if (base && base_record == NULL)
    return NULL;
  return bk_disk_reader_new (repository, backup, found, base ? bk_backup_record_find (base_record, disk) : NULL);
}

/* --- blobs --- */

char *
bk_repository_read_blob (BkRepository *repository, const char *vm, const char *backup, const char *name, size_t *length, GError **error)
{
  g_autoptr (BkBackupRecord) record = bk_repository_read_record (repository, vm, backup, error);
  for (unsigned i = 0; record && record->blobs && i < record->blobs->len; i++) {
    const BkRecordBlob *blob = record->blobs->pdata[i];
    if (strcmp (blob->name, name) != 0)
      continue;
    BkChunkId id;
    g_autofree char *data = g_malloc0 (blob->length + 1);
    if (!bk_hex_decode (blob->id, id.id, sizeof id.id) ||
        !bk_chunk_store_get (repository->store, NULL, BK_CHUNK_BLOB, &id, data, blob->length, error))
      return NULL;
    *length = blob->length;
    return g_steal_pointer (&data);
  }
  if (record)
    g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "backup '%s' has no '%s'", backup, name);
  return NULL;
}

GStrv
bk_repository_list_blobs (BkRepository *repository, const char *vm, const char *backup, GError **error)
{
  g_autoptr (BkBackupRecord) record = bk_repository_read_record (repository, vm, backup, error);
  if (record == NULL)
    return NULL;
  GPtrArray *names = g_ptr_array_new ();
  for (unsigned i = 0; record->blobs && i < record->blobs->len; i++)
    g_ptr_array_add (names, g_strdup (((const BkRecordBlob *)record->blobs->pdata[i])->name));
  g_ptr_array_add (names, NULL);
  return (GStrv)g_ptr_array_free (names, FALSE);
}
