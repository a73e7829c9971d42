/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "serve-registry.h"

#include "fsio.h"
#include "serve-process.h"
#include "ulid.h"

#include <string.h>

/* Each is a process; who needs more has forgotten to stop some. */
#define MAX_SERVES 64

typedef struct {
  BkServeRegistry *registry;
  BkServeInfo *info;
  char *vm;
  BkQueueHold *hold;
  BkServeProcess *process;
  GTask *start; /* until it is ready */
} Serve;

struct BkServeRegistry {
  BkCatalog *catalog;
  BkRepositoryRegistry *repositories;
  BkQueue *queue;
  BkEventRing *events;
  char *folder;
  GPtrArray *serves; /* Serve, oldest first */
};

static void
serve_free (gpointer data)
{
  Serve *serve = data;
  g_clear_pointer (&serve->process, bk_serve_process_free);
  g_clear_pointer (&serve->hold, bk_queue_hold_free);
  if (serve->start)
    g_task_return_new_error (serve->start, BK_ERROR, BK_ERROR_UNREACHABLE, "the daemon is stopping");
  g_clear_object (&serve->start);
  bk_serve_info_free (serve->info);
  g_free (serve->vm);
  g_free (serve);
}

BkServeRegistry *
bk_serve_registry_new (BkCatalog *catalog, BkRepositoryRegistry *repositories, BkQueue *queue, BkEventRing *events, const char *folder)
{
  BkServeRegistry *registry = g_new0 (BkServeRegistry, 1);
  registry->catalog = catalog;
  registry->repositories = repositories;
  registry->queue = queue;
  registry->events = events;
  registry->folder = g_canonicalize_filename (folder, NULL);
  registry->serves = g_ptr_array_new_with_free_func (serve_free);
  return registry;
}

void
bk_serve_registry_free (BkServeRegistry *registry)
{
  g_ptr_array_unref (registry->serves);
  g_free (registry->folder);
  g_free (registry);
}

static void
publish (const Serve *serve)
{
  bk_event_ring_publish (serve->registry->events, "serve", serve->vm, NULL, bk_struct_to_json (&bk_serve_info_struct, serve->info));
}

/* --- what is to be served --- */

static const BkBackupDisk *
find_disk (const BkBackupInfo *backup, const char *name, GError **error)
{
  g_autoptr (GString) known = g_string_new (NULL);
  for (unsigned i = 0; i < backup->disks->len; i++) {
    const BkBackupDisk *disk = backup->disks->pdata[i];
    g_string_append_printf (known, "%s%s", i ? ", " : "", disk->name);
    if (strcmp (disk->name, name) != 0)
      continue;
    if (strcmp (disk->state, "completed") == 0)
      return disk;
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "disk '%s' failed in backup '%s'; serve it from another one", name, backup->id);
    return NULL;
  }
  g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "backup '%s' has no disk '%s'; it has %s", backup->id, name, known->str);
  return NULL;
}

/* Words of the program that serves it; (transfer full). */
static GStrv
make_command (BkServeRegistry *registry, const BkBackupInfo *backup, const BkBackupDisk *disk, const BkServeAddress *address, GError **error)
{
  if (backup->repository == NULL) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "backup '%s' is in no repository; what was written is at '%s'", backup->id, disk->file);
    return NULL;
  }
  g_autoptr (BkStore) store = bk_repository_registry_open (registry->repositories, backup->repository, error);
  g_autoptr (BkRepositoryInfo) kept = store ? bk_repository_registry_info (registry->repositories, backup->repository, error) : NULL;
  if (kept == NULL)
    return NULL;
  if (bk_store_is_dedup (store))
    return bk_serve_command_dedup (address, kept, backup->id, disk->name);
  return bk_serve_command_image (address, disk->file, disk->name);
}

/* --- start --- */

static void
forget (Serve *serve)
{
  g_ptr_array_remove (serve->registry->serves, serve);
}

static void
on_ready (const GError *error, gpointer user_data)
{
  Serve *serve = user_data;
  g_autoptr (GTask) task = g_steal_pointer (&serve->start);
  if (error) {
    g_task_return_error (task, g_error_copy (error));
    forget (serve);
    return;
  }
  publish (serve);
  g_task_return_pointer (task, bk_struct_copy (&bk_serve_info_struct, serve->info), (GDestroyNotify)bk_serve_info_free);
}

static void
on_ended (const char *last_words, gpointer user_data)
{
  Serve *serve = user_data;
  g_warning ("what served disk '%s' of backup '%s' has ended: %s", serve->info->disk, serve->info->backup, last_words);
  publish (serve);
  forget (serve);
}

static BkServeInfo *
make_info (const BkBackupInfo *backup, const BkBackupDisk *disk, char *id, const BkServeAddress *address)
{
  BkServeInfo *info = g_new0 (BkServeInfo, 1);
  info->id = id;
  info->backup = g_strdup (backup->id);
  info->disk = g_strdup (disk->name);
  info->uri = bk_serve_address_uri (address, disk->name);
  info->size = disk->size;
  info->created_at = g_get_real_time ();
  return info;
}

static BkQueueHold *
hold (BkServeRegistry *registry, const BkBackupInfo *backup, const BkBackupDisk *disk, const char *id, GError **error)
{
  g_autofree char *why = g_strdup_printf ("disk '%s' of backup '%s' is served; stop that first: backupctl serve stop %s", disk->name, backup->id, id);
  return bk_queue_hold_disk (registry->queue, backup, disk->name, why, error);
}

static gboolean
launch (BkServeRegistry *registry, const BkServeRequest *request, GTask *task, GError **error)
{
  g_autoptr (BkBackupInfo) backup = bk_catalog_get_backup (registry->catalog, request->backup, error);
  const BkBackupDisk *disk = backup ? find_disk (backup, request->disk, error) : NULL;
  if (disk == NULL || !bk_fsio_make_folder (registry->folder, error))
    return FALSE;
  if (registry->serves->len >= MAX_SERVES) {
    g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "%d disks are served already; stop some: backupctl serve list", MAX_SERVES);
    return FALSE;
  }
  BkServeAddress address = { 0 };
  g_autofree char *id = bk_ulid_new ();
  g_autofree char *socket = g_build_filename (registry->folder, id, NULL);
  gboolean ok = bk_serve_address_init (&address, request->listen, socket, error);
  g_auto (GStrv) command = ok ? make_command (registry, backup, disk, &address, error) : NULL;
  BkQueueHold *held = command ? hold (registry, backup, disk, id, error) : NULL;
  if (held) {
    Serve *serve = g_new0 (Serve, 1);
    serve->registry = registry;
    serve->hold = held;
    serve->vm = g_strdup (backup->vm);
    serve->info = make_info (backup, disk, g_steal_pointer (&id), &address);
    g_ptr_array_add (registry->serves, serve);
    serve->process = bk_serve_process_new (command, &address, on_ready, on_ended, serve, error);
    ok = serve->process != NULL;
    if (ok)
      serve->start = g_object_ref (task);
    else
      forget (serve);
  }
  bk_serve_address_clear (&address);
  return held && ok;
}

void
bk_serve_registry_start_async (BkServeRegistry *registry, const BkServeRequest *request, GAsyncReadyCallback callback, gpointer user_data)
{
  g_autoptr (GTask) task = g_task_new (NULL, NULL, callback, user_data);
  GError *error = NULL;
  if (!launch (registry, request, task, &error))
    g_task_return_error (task, error);
}

BkServeInfo *
bk_serve_registry_start_finish (BkServeRegistry *registry G_GNUC_UNUSED, GAsyncResult *result, GError **error)
{
  return g_task_propagate_pointer (G_TASK (result), error);
}

/* --- those that are there --- */

GPtrArray *
bk_serve_registry_list (BkServeRegistry *registry)
{
  GPtrArray *list = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_serve_info_free);
  for (unsigned i = 0; i < registry->serves->len; i++) {
    const Serve *serve = registry->serves->pdata[i];
    if (serve->start == NULL)
      g_ptr_array_add (list, bk_struct_copy (&bk_serve_info_struct, serve->info));
  }
  return list;
}

static Serve *
find (BkServeRegistry *registry, const char *id, GError **error)
{
  Serve *found = NULL;
  unsigned matches = 0;
  for (unsigned i = 0; i < registry->serves->len; i++) {
    Serve *serve = registry->serves->pdata[i];
    if (serve->start || !g_str_has_prefix (serve->info->id, id))
      continue;
    found = serve;
    matches++;
  }
  if (matches == 0)
    g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "nothing is served under '%s'; see backupctl serve list", id);
  else if (matches > 1)
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' is the beginning of %u IDs; write more of it", id, matches);
  return matches == 1 ? found : NULL;
}

BkServeInfo *
bk_serve_registry_get (BkServeRegistry *registry, const char *id, GError **error)
{
  const Serve *serve = find (registry, id, error);
  return serve ? bk_struct_copy (&bk_serve_info_struct, serve->info) : NULL;
}

gboolean
bk_serve_registry_stop (BkServeRegistry *registry, const char *id, GError **error)
{
  Serve *serve = find (registry, id, error);
  if (serve == NULL)
    return FALSE;
  publish (serve);
  forget (serve);
  return TRUE;
}
