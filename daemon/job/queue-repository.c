/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What only repositories of type dedup can do. There is none yet: each is told so, once it is clear what is meant.
 */
#include "queue-private.h"

static void
refuse (GError **error, const char *repository, const char *what)
{
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "repository '%s' is of type qcow2: %s goes with type dedup only", repository, what);
}

static void
refuse_repository (BkQueue *queue, const char *name, const char *what, GError **error)
{
  g_autoptr (BkRepositoryInfo) repository = bk_repository_registry_info (queue->repositories, name ? name : "default", error);
  if (repository)
    refuse (error, repository->name, what);
}

static void
refuse_backup (BkQueue *queue, const char *id, const char *what, GError **error)
{
  g_autoptr (BkBackupInfo) backup = bk_catalog_get_backup (queue->catalog, id, error);
  if (backup && backup->repository)
    refuse (error, backup->repository, what);
  else if (backup)
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "backup '%s' went to a target of its own: %s goes with a repository of type dedup only",
                 backup->id, what);
}

BkJobInfo *
bk_queue_submit_verify (BkQueue *queue, const BkVerifyRequest *request, GError **error)
{
  if ((request->backup == NULL) == (request->repository == NULL))
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "name a backup or a repository to verify%s", request->backup ? ", not both" : "");
  else if (request->backup)
    refuse_backup (queue, request->backup, "verify", error);
  else
    refuse_repository (queue, request->repository, "verify", error);
  return NULL;
}

BkJobInfo *
bk_queue_submit_gc (BkQueue *queue, const BkGcRequest *request, GError **error)
{
  refuse_repository (queue, request->repository, "gc", error);
  return NULL;
}

BkJobInfo *
bk_queue_submit_copy (BkQueue *queue, const BkCopyRequest *request, GError **error)
{
  refuse_backup (queue, request->backup, "copy", error);
  return NULL;
}

BkBackupInfo *
bk_queue_pin_backup (BkQueue *queue, const char *id, bool pinned, GError **error)
{
  refuse_backup (queue, id, pinned ? "pin" : "unpin", error);
  return NULL;
}

GPtrArray *
bk_queue_list_trash (BkQueue *queue G_GNUC_UNUSED, const char *vm G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
  return g_ptr_array_new_with_free_func ((GDestroyNotify)bk_backup_info_free);
}

BkBackupInfo *
bk_queue_undelete_backup (BkQueue *queue G_GNUC_UNUSED, const char *id, GError **error)
{
  g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "no backup '%s' is in the trash; only repositories of type dedup have one", id);
  return NULL;
}
