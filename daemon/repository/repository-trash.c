/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repository-private.h"

#include "damage-record.h"

#include <string.h>

static gboolean
not_found (BkRepository *repository, const char *vm, const char *backup, const char *where, GError **error)
{
  g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "there is no backup '%s' of VM '%s' in %s'%s'", backup, vm, where, repository->path);
  return FALSE;
}

/* --- pins --- */

bool
bk_repository_is_pinned (BkRepository *repository, const char *vm, const char *backup)
{
  g_autofree char *object = bk_repository_object ("pins", vm, backup);
  return bk_storage_has (repository->storage, object);
}

gboolean
bk_repository_pin (BkRepository *repository, const char *vm, const char *backup, gboolean pinned, GError **error)
{
  g_autofree char *object = bk_repository_object ("pins", vm, backup);
  if (!bk_repository_check_writable (repository, error))
    return FALSE;
  if (!bk_repository_has (repository, vm, backup))
    return not_found (repository, vm, backup, "", error);
  if (!pinned)
    return bk_storage_remove (repository->storage, object, error);
  return bk_storage_put (repository->storage, object, "", 0, true, error);
}

/* --- the trash --- */

static gboolean
move (BkRepository *repository, const char *from, const char *to, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&repository->moving);
  return bk_storage_move (repository->storage, from, to, error);
}

gboolean
bk_repository_delete (BkRepository *repository, const char *vm, const char *backup, GError **error)
{
  if (!bk_repository_check_writable (repository, error))
    return FALSE;
  if (!bk_repository_has (repository, vm, backup))
    return not_found (repository, vm, backup, "", error);
  if (bk_repository_is_pinned (repository, vm, backup)) {
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "backup '%s' is pinned; unpin it first", backup);
    return FALSE;
  }
  g_autofree char *from = bk_repository_object ("backups", vm, backup);
  g_autofree char *name = bk_repository_object ("trash", vm, backup);
  g_autofree char *to = g_strdup_printf ("%s.%" G_GINT64_FORMAT, name, g_get_real_time ());
  return move (repository, from, to, error);
}

/* The latest deletion of it. */
static char *
find_in_trash (BkRepository *repository, const char *vm, const char *backup, GError **error)
{
  g_autoptr (GPtrArray) records = bk_repository_read_trash (repository, false, error);
  g_autofree char *name = bk_repository_object ("trash", vm, backup);
  for (unsigned i = records ? records->len : 0; i > 0; i--) {
    const BkBackupInfo *info = ((const BkBackupRecord *)records->pdata[i - 1])->backup;
    if (strcmp (info->vm, vm) == 0 && strcmp (info->id, backup) == 0)
      return g_strdup_printf ("%s.%" G_GINT64_FORMAT, name, info->deleted_at);
  }
  if (records)
    not_found (repository, vm, backup, "the trash of ", error);
  return NULL;
}

gboolean
bk_repository_undelete (BkRepository *repository, const char *vm, const char *backup, GError **error)
{
  g_autofree char *to = bk_repository_object ("backups", vm, backup);
  if (!bk_repository_check_writable (repository, error))
    return FALSE;
  if (bk_repository_has (repository, vm, backup)) {
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "there is a backup '%s' of VM '%s'; it was not deleted, or made again", backup, vm);
    return FALSE;
  }
  g_autofree char *from = find_in_trash (repository, vm, backup, error);
  return from && move (repository, from, to, error);
}

void
bk_repository_trash_free (BkRepositoryTrash *trash)
{
  g_free (trash->vm);
  g_free (trash->backup);
  if (trash->info)
    bk_backup_info_free (trash->info);
  g_free (trash);
}

GPtrArray *
bk_repository_list_trash (BkRepository *repository, GError **error)
{
  g_autoptr (GPtrArray) records = bk_repository_read_trash (repository, false, error);
  if (records == NULL)
    return NULL;
  GPtrArray *list = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_repository_trash_free);
  for (unsigned i = 0; i < records->len; i++) {
    BkBackupRecord *record = records->pdata[i];
    BkRepositoryTrash *trash = g_new0 (BkRepositoryTrash, 1);
    trash->vm = g_strdup (record->backup->vm);
    trash->backup = g_strdup (record->backup->id);
    trash->deleted_at = record->backup->deleted_at;
    trash->info = g_steal_pointer (&record->backup);
    g_ptr_array_add (list, trash);
  }
  return list;
}
