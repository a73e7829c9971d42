/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "serve-registry.h"

#include "fsio.h"
#include "serve-process.h"
#include "ulid.h"

#include <string.h>

/* Each is a process; who needs more has forgotten to stop some. */
#define MAX_SERVES 64
/* A port that was free is taken by another program before the server has it: that is tried so often. */
#define PORT_TRIES 5

typedef struct {
  BkServeRegistry *registry;
  BkServeInfo *info;
  BkBackupInfo *backup;
  char *listen; /* as it was asked for */
  BkQueueHold *hold;
  BkServeProcess *process;
  unsigned tries;
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
  bk_backup_info_free (serve->backup);
  g_free (serve->listen);
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
  bk_event_ring_publish (serve->registry->events, "serve", serve->backup->vm, NULL, bk_struct_to_json (&bk_serve_info_struct, serve->info));
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

static gboolean start_process (Serve *serve, GError **error);

/* Another port may be had, when any would do. */
static bool
try_again (Serve *serve, const GError *why)
{
  g_autoptr (GError) error = NULL;
  if (!g_error_matches (why, BK_ERROR, BK_ERROR_CONFLICT) || serve->tries >= PORT_TRIES || !g_str_has_suffix (serve->listen, ":0"))
    return false;
  g_message ("disk '%s' of backup '%s' is served on another port: %s", serve->info->disk, serve->info->backup, why->message);
  g_clear_pointer (&serve->process, bk_serve_process_free);
  return start_process (serve, &error);
}

static void
on_ready (const GError *error, gpointer user_data)
{
  Serve *serve = user_data;
  if (error && try_again (serve, error))
    return;
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

static gboolean
start_process_at (Serve *serve, const BkServeAddress *address, GError **error)
{
  const BkBackupDisk *disk = find_disk (serve->backup, serve->info->disk, error);
  g_auto (GStrv) command = disk ? make_command (serve->registry, serve->backup, disk, address, error) : NULL;
  serve->process = command ? bk_serve_process_new (command, address, on_ready, on_ended, serve, error) : NULL;
  g_free (serve->info->uri);
  serve->info->uri = bk_serve_address_uri (address, serve->info->disk);
  return serve->process != NULL;
}

static gboolean
start_process (Serve *serve, GError **error)
{
  BkServeAddress address = { 0 };
  g_autofree char *socket = g_build_filename (serve->registry->folder, serve->info->id, NULL);
  serve->tries++;
  gboolean ok = bk_serve_address_init (&address, serve->listen, socket, error) && start_process_at (serve, &address, error);
  bk_serve_address_clear (&address);
  return ok;
}

static BkServeInfo *
make_info (const BkBackupInfo *backup, const BkBackupDisk *disk)
{
  BkServeInfo *info = g_new0 (BkServeInfo, 1);
  info->id = bk_ulid_new ();
  info->backup = g_strdup (backup->id);
  info->disk = g_strdup (disk->name);
  info->size = disk->size;
  info->created_at = g_get_real_time ();
  return info;
}

/* Nothing is deleted any more that it reads. */
static gboolean
hold (Serve *serve, GError **error)
{
  const BkServeInfo *info = serve->info;
  g_autofree char *why = g_strdup_printf ("disk '%s' of backup '%s' is served; stop that first: backupctl serve stop %s", info->disk, info->backup, info->id);
  serve->hold = bk_queue_hold_disk (serve->registry->queue, serve->backup, info->disk, why, error);
  return serve->hold != NULL;
}

static gboolean
check_room (BkServeRegistry *registry, GError **error)
{
  if (registry->serves->len < MAX_SERVES)
    return bk_fsio_make_folder (registry->folder, error);
  g_set_error (error, BK_ERROR, BK_ERROR_CONFLICT, "%d disks are served already; stop some: backupctl serve list", MAX_SERVES);
  return FALSE;
}

static gboolean
launch (BkServeRegistry *registry, const BkServeRequest *request, GTask *task, GError **error)
{
  g_autoptr (BkBackupInfo) backup = bk_catalog_get_backup (registry->catalog, request->backup, error);
  const BkBackupDisk *disk = backup ? find_disk (backup, request->disk, error) : NULL;
  if (disk == NULL || !check_room (registry, error))
    return FALSE;
  Serve *serve = g_new0 (Serve, 1);
  serve->registry = registry;
  serve->info = make_info (backup, disk);
  serve->backup = g_steal_pointer (&backup);
  serve->listen = g_strdup (request->listen ? request->listen : "unix");
  g_ptr_array_add (registry->serves, serve);
  gboolean ok = hold (serve, error) && start_process (serve, error);
  if (ok)
    serve->start = g_object_ref (task);
  else
    forget (serve);
  return ok;
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
