/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What is served are disks in repositories of type dedup, of which there is none yet: images of type qcow2 are read where
 * they are, and who asks is told how.
 */
#include "serve-registry.h"

struct BkServeRegistry {
  BkCatalog *catalog;
};

BkServeRegistry *
bk_serve_registry_new (BkCatalog *catalog, BkRepositoryRegistry *repositories G_GNUC_UNUSED, BkEventRing *events G_GNUC_UNUSED,
                       const char *folder G_GNUC_UNUSED)
{
  BkServeRegistry *registry = g_new0 (BkServeRegistry, 1);
  registry->catalog = catalog;
  return registry;
}

void
bk_serve_registry_free (BkServeRegistry *registry)
{
  g_free (registry);
}

static void
refuse (BkServeRegistry *registry, const BkServeRequest *request, GError **error)
{
  g_autoptr (BkBackupInfo) backup = bk_catalog_get_backup (registry->catalog, request->backup, error);
  for (unsigned i = 0; backup && i < backup->disks->len; i++) {
    const BkBackupDisk *disk = backup->disks->pdata[i];
    if (g_strcmp0 (disk->name, request->disk) != 0 || disk->file == NULL)
      continue;
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "backup '%s' is made of images, which need not be served: read '%s', or serve it by qemu-nbd --read-only",
                 backup->id, disk->file);
    return;
  }
  if (backup)
    g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "backup '%s' has no disk '%s'", backup->id, request->disk);
}

void
bk_serve_registry_start_async (BkServeRegistry *registry, const BkServeRequest *request, GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr (GTask) task = g_task_new (NULL, NULL, callback, user_data);
  GError *error = NULL;
  refuse (registry, request, &error);
  g_task_return_error (task, error);
}

BkServeInfo *
bk_serve_registry_start_finish (BkServeRegistry *registry G_GNUC_UNUSED, GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer (G_TASK (result), error);
}

GPtrArray *
bk_serve_registry_list (BkServeRegistry *registry G_GNUC_UNUSED)
{
  return g_ptr_array_new_with_free_func ((GDestroyNotify)bk_serve_info_free);
}

BkServeInfo *
bk_serve_registry_get (BkServeRegistry *registry G_GNUC_UNUSED, const char *id, GError **error)
{
  g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "nothing is served under '%s'", id);
  return NULL;
}

gboolean
bk_serve_registry_stop (BkServeRegistry *registry G_GNUC_UNUSED, const char *id, GError **error)
{
  g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "nothing is served under '%s'", id);
  return FALSE;
}

bool
bk_serve_registry_has_backup (BkServeRegistry *registry G_GNUC_UNUSED, const char *backup G_GNUC_UNUSED)
{
  return false;
}
