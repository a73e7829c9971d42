/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Serves that serve nothing: records alone. Every backup has a disk "vda"; port 1 is taken.
 */
#include "serve-registry.h"

#include "ulid.h"

#include <string.h>

struct BkServeRegistry {
  BkCatalog *catalog;
  BkEventRing *events;
  GPtrArray *serves; /* BkServeInfo */
};

BkServeRegistry *
bk_serve_registry_new (BkCatalog *catalog, BkRepositoryRegistry *repositories G_GNUC_UNUSED, BkQueue *queue G_GNUC_UNUSED,
                       BkEventRing *events, const char *folder G_GNUC_UNUSED)
{
  BkServeRegistry *registry = g_new0 (BkServeRegistry, 1);
  registry->catalog = catalog;
  registry->events = events;
  registry->serves = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_serve_info_free);
  return registry;
}

void
bk_serve_registry_free (BkServeRegistry *registry)
{
  g_ptr_array_unref (registry->serves);
  g_free (registry);
}

static void
publish (BkServeRegistry *registry, const BkServeInfo *serve)
{
  bk_event_ring_publish (registry->events, "serve", NULL, NULL, bk_struct_to_json (&bk_serve_info_struct, serve));
}

static BkServeInfo *
start (BkServeRegistry *registry, const BkServeRequest *request, GError **error)
{
  g_autoptr (BkBackupInfo) backup = bk_catalog_get_backup (registry->catalog, request->backup, error);
  if (backup == NULL)
    return NULL;
  if (!g_str_equal (request->disk, "vda")) {
    g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "backup '%s' has no disk '%s'; it has vda", backup->id, request->disk);
    return NULL;
  }
  if (g_strcmp0 (request->listen, "tcp:127.0.0.1:1") == 0) {
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "cannot listen on '%s': another program does already", request->listen);
    return NULL;
  }
  BkServeInfo *serve = g_new0 (BkServeInfo, 1);
  serve->id = bk_ulid_new ();
  serve->backup = g_strdup (backup->id);
  serve->disk = g_strdup (request->disk);
  serve->uri = g_strdup_printf ("nbd+unix:///?socket=/nowhere/%s", serve->id);
  serve->size = 4096;
  serve->created_at = g_get_real_time ();
  g_ptr_array_add (registry->serves, serve);
  publish (registry, serve);
  return bk_struct_copy (&bk_serve_info_struct, serve);
}

void
bk_serve_registry_start_async (BkServeRegistry *registry, const BkServeRequest *request, GAsyncReadyCallback callback,
                               gpointer user_data)
{
  g_autoptr (GTask) task = g_task_new (NULL, NULL, callback, user_data);
  GError *error = NULL;
  BkServeInfo *serve = start (registry, request, &error);
  if (serve)
    g_task_return_pointer (task, serve, (GDestroyNotify)bk_serve_info_free);
  else
    g_task_return_error (task, error);
}

BkServeInfo *
bk_serve_registry_start_finish (BkServeRegistry *registry G_GNUC_UNUSED, GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer (G_TASK (result), error);
}

GPtrArray *
bk_serve_registry_list (BkServeRegistry *registry)
{
  GPtrArray *all = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_serve_info_free);
  for (unsigned i = 0; i < registry->serves->len; i++)
    g_ptr_array_add (all, bk_struct_copy (&bk_serve_info_struct, registry->serves->pdata[i]));
  return all;
}

static BkServeInfo *
find (BkServeRegistry *registry, const char *id, GError **error)
{
  for (unsigned i = 0; i < registry->serves->len; i++)
    if (g_str_has_prefix (((BkServeInfo *)registry->serves->pdata[i])->id, id))
      return registry->serves->pdata[i];
  g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "nothing is served as '%s'", id);
  return NULL;
}

BkServeInfo *
bk_serve_registry_get (BkServeRegistry *registry, const char *id, GError **error)
{
  return bk_struct_copy (&bk_serve_info_struct, find (registry, id, error));
}

gboolean
bk_serve_registry_stop (BkServeRegistry *registry, const char *id, GError **error)
{
  BkServeInfo *serve = find (registry, id, error);
  if (serve == NULL)
    return FALSE;
  publish (registry, serve);
  return g_ptr_array_remove (registry->serves, serve);
}
